# ruff: noqa: TID253 - queries of Airflow's models; only the reader of Airflow's database imports them
"""
Airflow's own database: its models, sessions and stored DAGs. The words of its audit log are in ``audit_log``.

For processes that have this database (the reconciler's, ``airflow dags test``); whoever imports this module pays for the
models. The models stand on ``airflow.models`` (3.3.2): :data:`COLUMNS` names what of them is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.errors import ParseImportError
from airflow.models.log import Log
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.taskreschedule import TaskReschedule
from airflow.utils.session import create_session
from sqlalchemy import select

from provider.airflow_internals.dags import Unsaid

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = [
    "COLUMNS",
    "DagModel",
    "DagRun",
    "Log",
    "ParseImportError",
    "TaskInstance",
    "TaskInstanceHistory",
    "TaskReschedule",
    "TaskStateStoreModel",
    "airflow_session",
    "next_retry",
    "operator_of_task",
    "parents_of_run",
]

_TRY = ("dag_id", "run_id", "task_id", "map_index", "try_number", "state", "start_date", "end_date", "updated_at", "max_tries")
_RUN = ("dag_id", "run_id", "state", "run_type", "triggered_by", "conf", "created_at", "run_after", "start_date", "end_date")
#: Model → the columns of it that are read.
COLUMNS: Mapping[Any, tuple[str, ...]] = {
    DagModel: ("dag_id", "is_paused", "is_stale", "relative_fileloc", "bundle_name", "max_active_runs"),
    DagRun: (*_RUN, "logical_date", "updated_at"),
    TaskInstance: ("id", "operator", "pool", "pool_slots", "queue", "executor", "queued_dttm", *_TRY),
    TaskInstanceHistory: _TRY,
    TaskReschedule: ("ti_id", "start_date", "reschedule_date"),
    ParseImportError: ("filename", "bundle_name", "stacktrace"),
    TaskStateStoreModel: ("dag_id", "run_id", "task_id", "map_index", "key", "value"),
    Log: ("dag_id", "run_id", "task_id", "map_index", "try_number", "event", "dttm", "owner", "extra"),
}


def airflow_session() -> AbstractContextManager[Session]:
    """
    Return a session of Airflow's database that is nobody else's, for a ``with`` statement; it commits at the end.

    Stands on ``airflow.utils.session.create_session`` (3.3.2). ``scoped=False``, because the scheduler's own session, which is
    the scoped one of its thread, forbids commits while hooks run.
    """
    return create_session(scoped=False)


def next_retry(session: Session, dag_id: str, run_id: str, task_id: str, map_index: int) -> datetime | None:
    """
    Return when a task instance that is up for retry is due, by the DAG version of its run; None where that is gone.

    Stands on ``airflow.models.taskinstance.TaskInstance.next_retry_datetime``, by which the scheduler decides, and on ``task``,
    which has to be set before (3.3.2).
    """
    dag = _dag_of_run(session, dag_id, run_id)
    key = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    instance = session.scalar(select(TaskInstance).filter_by(**key))
    if dag is None or instance is None or instance.end_date is None or task_id not in dag.task_dict:
        return None
    instance.task = dag.task_dict[task_id]
    due: datetime = instance.next_retry_datetime()
    return due


def parents_of_run(session: Session, dag_id: str, run_id: str) -> dict[str, Collection[str]]:
    """
    Return task id → ids of its direct parents, by the DAG version of that run; empty where it is gone.

    Stands on ``airflow.models.dagbag.DBDagBag.get_dag_for_run`` and on the tasks of the DAG that it reads (3.3.2).
    """
    dag = _dag_of_run(session, dag_id, run_id)
    return {} if dag is None else {task.task_id: task.upstream_task_ids for task in dag.tasks}


def operator_of_task(session: Session, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
    """
    Return the templated parameters of a task's operator, as the DAG has them before they are rendered.

    By the DAG version of that run; where the run is gone by the latest one.

    Stands on ``airflow.models.dagbag.DBDagBag`` and on serialized operators, which keep their ``template_fields``, mapped ones in
    ``partial_kwargs`` (3.3.2).

    :return: None where the DAG or the task is gone.
    """
    dag = _dag_of_run(session, dag_id, run_id)
    if dag is None:
        dag = DBDagBag(load_op_links=False).get_latest_version_of_dag(dag_id, session=session)
    task = None if dag is None else dag.task_dict.get(task_id)
    return None if dag is None or task is None else templated_parameters(task, dag.default_args)


def templated_parameters(task: Any, default_args: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what a serialized operator keeps of its ``template_fields``; of a mapped one also what it does not say.

    Stands on ``airflow.serialization.serialized_objects.DagSerialization`` and the operators that it reads: a mapped one keeps
    neither its class nor the defaults of its parameters, and ``expand_input.value`` is a mapping for ``expand``, a list for
    ``expand_kwargs`` with a literal (3.3.2).

    :param default_args: of the DAG: those of a mapped operator are applied to the instances that are made of it.
    """
    if not task.is_mapped:
        return {name: vars(task)[name] for name in task.template_fields if name in vars(task)}
    expanded = _expanded_names(task.expand_input.value)
    unsaid = {name: Unsaid.EXPANDED if expanded is None or name in expanded else Unsaid.DEFAULT for name in task.template_fields}
    said = {name: value for name, value in default_args.items() if unsaid.get(name) is Unsaid.DEFAULT}
    return {name: task.partial_kwargs.get(name, said.get(name, unsaid[name])) for name in task.template_fields}


def _expanded_names(values: Any) -> set[str] | None:
    """Return the parameters that differ from map index to map index; None where another task's result decides."""
    if isinstance(values, Mapping):
        return set(values)
    if isinstance(values, Sequence) and all(isinstance(one, Mapping) for one in values):
        return {name for one in values for name in one}
    return None


def _dag_of_run(session: Session, dag_id: str, run_id: str) -> Any | None:
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return DBDagBag(load_op_links=False).get_dag_for_run(run, session=session) if run is not None else None
