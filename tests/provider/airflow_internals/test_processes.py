"""What listeners meet in Airflow's processes, and how each is recognized."""

from __future__ import annotations

import inspect
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.cli.commands.task_command import _generate_temporary_run_id
from airflow.jobs import job as airflow_job
from airflow.jobs.base_job_runner import BaseJobRunner
from airflow.jobs.dag_processor_job_runner import DagProcessorJobRunner
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.jobs.triggerer_job_runner import TriggererJobRunner
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG
from airflow.sdk.execution_time import comms, supervisor, task_runner
from airflow.utils.types import DagRunTriggeredByType

from provider.airflow_internals import processes
from provider.batch_ids import TEMPORARY_RUN_PREFIX


class HeardAtStart:
    """In place of Airflow's manager of listeners: keeps what ``on_starting`` was called with, and the type it had then."""

    def __init__(self) -> None:
        self.component: object = None
        self.kind: str | None = "never called"
        self.hook = self

    def on_starting(self, component: object) -> None:
        self.component, self.kind = component, processes.job_type(component)


def test_a_job_says_that_it_starts_and_has_its_type_soon_after(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = HeardAtStart()
    monkeypatch.setattr(airflow_job, "get_listener_manager", lambda: heard)
    job = airflow_job.Job()
    assert heard.component is job
    assert heard.kind is None
    assert processes.is_job(job)

    class Runner(BaseJobRunner):
        job_type = "SomeJob"

    Runner(job)
    assert processes.job_type(job) == "SomeJob"


def test_the_types_of_jobs_are_known() -> None:
    assert SchedulerJobRunner.job_type == processes.SCHEDULER
    assert {TriggererJobRunner.job_type, DagProcessorJobRunner.job_type} == processes.OTHER_JOBS


def test_a_task_process_is_no_job(caplog: pytest.LogCaptureFixture) -> None:
    assert not processes.is_job(task_runner.TaskRunnerMarker())
    assert caplog.records == []


def test_a_process_of_a_kind_that_is_not_known_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert not processes.is_job(SimpleNamespace())
    assert "starts a process as SimpleNamespace, which this version of the provider does not know" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize("kind", ["Scheduler", None])
def test_a_job_of_a_type_that_is_not_known_is_told(caplog: pytest.LogCaptureFixture, kind: str | None) -> None:
    assert not processes.is_scheduler(kind)
    assert f"has a job of type {kind}" in caplog.text
    assert "no task logs are reconciled" in caplog.text


def test_known_types_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    assert processes.is_scheduler("SchedulerJob")
    assert not processes.is_scheduler("TriggererJob")
    assert caplog.records == []


def test_a_task_process_s_instance_is_told_from_the_scheduler_s_row() -> None:
    task_instance: Any = task_runner.RuntimeTaskInstance
    assert processes.is_in_task_process(task_instance.model_construct())
    assert not processes.is_in_task_process(TaskInstance.__new__(TaskInstance))
    used = {"dag_id", "run_id", "task_id", "map_index", "try_number", "start_date", "end_date", "state", "task"}
    assert used <= set(task_runner.RuntimeTaskInstance.model_fields)


def test_a_row_has_its_loaded_columns_in_its_dict() -> None:
    row = TaskInstance.__new__(TaskInstance)
    TaskInstance.__mapper__.class_manager.setup_instance(row)
    row.dag_id, row.run_id, row.task_id, row.map_index, row.try_number = "sales", "b1", "load", -1, 2
    columns = {name: value for name, value in processes.loaded_columns(row).items() if not name.startswith("_")}
    assert columns == {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": -1, "try_number": 2}


def test_a_task_in_the_process_of_its_supervisor_is_recognized(caplog: pytest.LogCaptureFixture) -> None:
    unused: Any = None
    with supervisor.set_supervisor_comms(supervisor.InProcessSupervisorComms(supervisor=unused)):
        assert processes.is_supervised_in_process()
    with supervisor.set_supervisor_comms(object.__new__(comms.CommsDecoder)):
        assert not processes.is_supervised_in_process()
    assert caplog.records == []
    assert "SUPERVISOR_COMMS = CommsDecoder[" in inspect.getsource(task_runner.main)


def test_a_supervisor_that_is_not_known_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with supervisor.set_supervisor_comms(SimpleNamespace()):
        assert not processes.is_supervised_in_process()
    assert "lets tasks talk to their supervisor by SimpleNamespace" in caplog.text


def test_a_run_of_dags_test_is_recognized() -> None:
    assert processes.is_of_dags_test(SimpleNamespace(triggered_by=DagRunTriggeredByType.TEST))
    assert not processes.is_of_dags_test(SimpleNamespace(triggered_by=DagRunTriggeredByType.UI))
    assert not processes.is_of_dags_test(SimpleNamespace(triggered_by=None))
    assert "triggered_by=DagRunTriggeredByType.TEST" in inspect.getsource(DAG.test)


def test_a_run_of_tasks_test_has_the_known_prefix() -> None:
    assert _generate_temporary_run_id().startswith(TEMPORARY_RUN_PREFIX)


def test_this_airflow_has_no_problems() -> None:
    assert processes.problems() == []


def test_what_would_cost_something_in_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(supervisor, "InProcessSupervisorComms")
    monkeypatch.setattr(task_runner.RuntimeTaskInstance, "__module__", "airflow.tasks")
    monkeypatch.setattr(processes, "TRIGGERED_BY_TEST", "dag_test")
    monkeypatch.setattr(processes, "PIPED_COMMS", "Pipe")
    assert [problem.partition(";")[0] for problem in processes.problems()] == [
        "task instances of task processes are elsewhere",
        "a task in the process of its supervisor is not recognized",
        "there is no Pipe",
        "runs of `airflow dags test` are not recognized",
    ]


def test_a_command_finds_connections_of_airflows_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT", raising=False)
    monkeypatch.delattr(task_runner, "SUPERVISOR_COMMS", raising=False)

    def looked_in() -> set[str]:
        return {type(backend).__name__ for backend in supervisor.ensure_secrets_backend_loaded()}

    assert "MetastoreBackend" not in looked_in()
    processes.find_connections_of_database()
    assert "MetastoreBackend" in looked_in()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", object(), raising=False)
    assert "MetastoreBackend" not in looked_in()
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
