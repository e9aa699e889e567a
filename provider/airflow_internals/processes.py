"""
What a listener meets in Airflow's processes: jobs, task instances, runs, and who supervises a task.

Airflow tells listeners of all of these with one set of hooks, in which only names and attributes tell which is which. A name
that is not known is said in the log, because the alternative is a TaskLog that nobody writes. Nothing of Airflow is imported
here: these functions run in every process of it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

#: ``airflow.jobs.scheduler_job_runner.SchedulerJobRunner.job_type`` (3.3.2)
SCHEDULER = "SchedulerJob"
#: Job types of the other processes that have a Job (3.3.2).
OTHER_JOBS = frozenset({"TriggererJob", "DagProcessorJob"})
#: Class of a Job, ``airflow.jobs.job.Job`` (3.3.2).
JOB = "Job"
#: What hooks are given for a task process, ``airflow.sdk.execution_time.task_runner.TaskRunnerMarker`` (3.3.2).
TASK_PROCESS = "TaskRunnerMarker"
#: Class by which a task in the same process talks to its supervisor, in ``airflow.sdk.execution_time.supervisor`` (3.3.2).
IN_PROCESS_COMMS = "InProcessSupervisorComms"
#: Class by which a task in a process of its own does, in ``airflow.sdk.execution_time.comms`` (3.3.2).
PIPED_COMMS = "CommsDecoder"
#: Value of ``airflow.utils.types.DagRunTriggeredByType.TEST`` (3.3.2).
TRIGGERED_BY_TEST = "test"
#: Package of the class of a task instance in a task process, ``airflow.sdk.execution_time.task_runner`` (3.3.2).
_TASK_SDK = "airflow.sdk."


def find_connections_of_database() -> None:
    """
    Let a command of a person find connections that are in Airflow's database, too, as ``airflow connections`` does.

    Stands on the variable ``_AIRFLOW_PROCESS_CONTEXT``, which ``airflow.sdk.execution_time.supervisor`` asks for where to look
    (3.3.2): without it only in variables and secrets backends. A process that has a supervisor asks that all the same.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def is_job(component: object) -> bool:
    """
    Tell whether a hook of a process's life is about a Job; the log says so where it is neither that nor a task process.

    Stands on ``airflow.jobs.job.Job``, which calls ``on_starting`` and ``before_stopping`` with itself (3.3.2). By its name,
    since importing it takes longer than most task processes have to do.
    """
    kind = type(component).__name__
    if kind not in (JOB, TASK_PROCESS):
        log.error("%s. If this is the scheduler, no task logs are reconciled.", _unknown("starts a process as", kind))
    return kind == JOB


def job_type(job: object) -> str | None:
    """
    Return the type of a Job; None as long as it has none, which is so when ``on_starting`` is called.

    Stands on the attribute ``airflow.jobs.job.Job.job_type`` (3.3.2), read past SQLAlchemy, which might query for it.
    """
    kind = vars(job).get("job_type")
    return None if kind is None else str(kind)


def is_scheduler(kind: str | None) -> bool:
    """
    Tell whether a type of Job is the scheduler's; the log says so where a type is not known.

    Stands on ``airflow.jobs.scheduler_job_runner.SchedulerJobRunner.job_type`` and the types of the other jobs (3.3.2).

    :param kind: see :func:`job_type`; None where it did not come in time.
    """
    if kind != SCHEDULER and kind not in OTHER_JOBS:
        log.error("%s. If this is the scheduler, no task logs are reconciled.", _unknown("has a job of type", str(kind)))
    return kind == SCHEDULER


def is_in_task_process(task_instance: object) -> bool:
    """
    Tell whether a hook was called with the task SDK's task instance and not with the scheduler's row.

    Stands on the module of ``airflow.sdk.execution_time.task_runner.RuntimeTaskInstance`` (3.3.2).
    """
    return type(task_instance).__module__.startswith(_TASK_SDK)


def loaded_columns(row: object) -> Mapping[str, Any]:
    """
    Return the columns of the scheduler's row that are loaded. Asking the row itself could query, which a hook must not.

    Stands on ``airflow.models.taskinstance.TaskInstance`` being a SQLAlchemy model with the columns of its key (3.3.2).
    """
    return vars(row)


def is_supervised_in_process() -> bool:
    """
    Tell whether this task runs in the process of its supervisor, as in ``airflow dags test``, which has no scheduler.

    Stands on ``airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS``, which is set in every process that runs a task, and
    on the names of what it is set to (3.3.2). The log says so where that name is not known.
    """
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    kind = type(comms).__name__
    if comms is not None and kind not in (IN_PROCESS_COMMS, PIPED_COMMS):
        what = _unknown("lets tasks talk to their supervisor by", kind)
        log.error("%s. If this is `airflow dags test`, nobody reconciles its task logs.", what)
    return kind == IN_PROCESS_COMMS


def is_of_dags_test(dag_run: Any) -> bool:
    """
    Tell whether a run is one of ``airflow dags test``.

    Stands on ``airflow.models.dagrun.DagRun.triggered_by`` and ``airflow.utils.types.DagRunTriggeredByType.TEST`` (3.3.2).

    :param dag_run: Airflow's ORM DagRun, as hooks are given it.
    """
    return getattr(dag_run.triggered_by, "value", None) == TRIGGERED_BY_TEST


def problems() -> list[str]:
    """Return what a task process or ``airflow dags test`` would not find in this Airflow and never mention."""
    from airflow.sdk.execution_time import comms, supervisor, task_runner
    from airflow.utils.types import DagRunTriggeredByType

    found = []
    if not task_runner.RuntimeTaskInstance.__module__.startswith(_TASK_SDK):
        found.append("task instances of task processes are elsewhere; these write no task logs")
    if "SUPERVISOR_COMMS" not in task_runner.__annotations__ or not hasattr(supervisor, IN_PROCESS_COMMS):
        found.append("a task in the process of its supervisor is not recognized; `airflow dags test` leaves no whole task logs")
    if not hasattr(comms, PIPED_COMMS):
        found.append(f"there is no {PIPED_COMMS}; every task will complain of its supervisor")
    if TRIGGERED_BY_TEST not in {member.value for member in DagRunTriggeredByType}:
        found.append("runs of `airflow dags test` are not recognized; their end is mirrored only when the command exits")
    return found


def _unknown(what: str, kind: str) -> str:
    from provider.airflow_internals import airflow_version

    return f"Airflow {airflow_version()} {what} {kind}, which this version of the provider does not know"
