from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from provider import settings
from provider.listeners import task_log, task_process
from provider.listeners.task_process import TryRecorder
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import TaskLogRow
from provider.metadata.tables import TaskBatch, TaskLog
from provider.reconciler import host
from tests.waiting import wait_for

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)


JOB = {"id": "projects/p/inv/1", "url": "https://console/1"}
SERVICE = {"name": "dataform", "conn_id": "google_cloud_default"}
#: As a task's ledger says of its job.
LEDGER = {"service": SERVICE, "job": JOB, "intent": None, "outcome": "running", "chain": 0, "tries": {"1": JOB}}


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_process, "recorder", TryRecorder(budget=30))


def instance(start_operator: str = "StartBatchOperator", **values: Any) -> Any:
    """A task instance as the task SDK has it: what matters to the hooks is where its class comes from."""
    kind = type("RuntimeTaskInstance", (SimpleNamespace,), {"__module__": "airflow.sdk.execution_time.task_runner"})
    dag = SimpleNamespace(task_dict={"start_batch": SimpleNamespace(task_type=start_operator)})
    methods = {"execute": lambda context: None, "resume_execution": lambda **_: None}
    task = SimpleNamespace(dag=dag, template_fields=("sql", "api_key"), sql="SELECT 1", api_key="hunter2", **methods)
    defaults = {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": None, "try_number": 1, "state": None}
    return kind(**{**defaults, "start_date": AT, "end_date": None, "task": task, **values})


def run_at(run_after: datetime) -> Any:
    """What the server tells of the run of a task."""
    return SimpleNamespace(dag_run=SimpleNamespace(run_after=run_after))


def stored() -> TaskLog | None:
    with read_session() as session:
        return session.query(TaskLog).one_or_none()


def locked_at_first() -> Callable[[Any, Any], None]:
    """Return what fails to write the first row, and writes the second one."""
    outcomes = iter([ConnectionError("locked"), None])

    def write(row: Any, run_after: Any) -> None:
        if error := next(outcomes):
            raise error
        task_process.write(row, run_after)

    return write


@pytest.mark.usefixtures("application_database")
class TestRows:
    def test_running_then_success(self) -> None:
        ti = instance()
        task_log.on_task_instance_running(task_instance=ti)
        row = stored()
        assert row is not None
        assert (row.status, row.airflow_state, row.map_index, row.started_at, row.ended_at) == (
            "PROCESSING",
            "running",
            -1,
            AT,
            None,
        )
        assert row.config == {"sql": "SELECT 1", "api_key": "***"}
        ti.task.remote_job = JOB
        ti.end_date = AT
        task_log.on_task_instance_success(task_instance=ti)
        row = stored()
        assert row is not None
        assert (row.status, row.ended_at, row.remote_job_id, row.remote_job_url) == (
            "SUCCESS",
            AT,
            "projects/p/inv/1",
            "https://console/1",
        )
        assert row.config == {"sql": "SELECT 1", "api_key": "***"}

    @pytest.mark.parametrize(
        ("entry", "handle"),
        [
            (LEDGER, {"service": SERVICE, "job": JOB, "intent": None}),
            ({**LEDGER, "service": None}, None),
            ({**LEDGER, "job": {**JOB, "adopted": True}}, None),
            ({**LEDGER, "job": {**JOB, "password": "hunter2"}}, None),
        ],
    )
    def test_a_remote_job_is_recorded_when_it_is_known(self, entry: dict[str, Any], handle: dict[str, Any] | None) -> None:
        ti = instance()
        ti.task.remote_job = ti.task.tell_remote_job = None
        task_log.on_task_instance_running(task_instance=ti)
        ti.task.remote_job = JOB
        ti.task.tell_remote_job(entry)
        row = stored()
        assert row is not None
        assert (row.status, row.remote_job_id, row.remote_job_url) == ("PROCESSING", JOB["id"], JOB["url"])
        assert (row.remote_job, row.config) == (handle, {"sql": "SELECT 1", "api_key": "***"})

    def test_a_task_of_a_deleted_run_writes_nothing_into_the_batch_of_the_next_one(self) -> None:
        """Airflow lets its process go on for some seconds, and calls the hooks at its end."""
        with write_session() as session:
            of_run = {"status": "PROCESSING", "run_after": AT, "created_at": AT, "updated_at": AT}
            session.add(TaskBatch(workflow_id="sales", batch_id="b1", **of_run))
        deleted = instance(_ti_context_from_server=run_at(AT - timedelta(hours=1)))
        deleted.task.remote_job = deleted.task.tell_remote_job = None
        task_log.on_task_instance_running(task_instance=deleted)
        deleted.task.remote_job = JOB
        deleted.task.tell_remote_job(LEDGER)
        task_log.on_task_instance_failed(task_instance=deleted, error=ValueError("of the deleted run"))
        assert stored() is None
        task_log.on_task_instance_failed(task_instance=instance(_ti_context_from_server=run_at(AT)), error=ValueError("its own"))
        row = stored()
        assert row is not None
        assert (row.error_message, row.remote_job_id) == ("its own", None)

    def test_a_task_of_a_deleted_run_begins_no_row_that_nobody_would_end(self) -> None:
        with write_session() as session:
            ended = {"status": "ERROR", "end_cause": "deleted", "run_after": AT, "created_at": AT, "updated_at": AT}
            session.add(TaskBatch(workflow_id="sales", batch_id="b1", **ended))
        task_log.on_task_instance_running(task_instance=instance())
        assert stored() is None
        task_log.on_task_instance_failed(task_instance=instance(), error=ValueError("its own"))
        row = stored()
        assert row is not None
        assert (row.status, row.error_message) == ("ERROR", "its own")

    def test_a_remote_job_goes_on_where_it_cannot_be_recorded(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        written: list[TaskLogRow] = []
        monkeypatch.setattr(task_process, "recorder", TryRecorder(lambda row, _run_after: written.append(row), budget=30))
        ti = instance()
        ti.task.remote_job = ti.task.tell_remote_job = None
        task_log.on_task_instance_running(task_instance=ti)

        def away(*_row: Any) -> None:
            raise ConnectionError("away")

        monkeypatch.setattr(task_process.recorder, "_write", away)
        for _ in range(2):
            ti.task.tell_remote_job(LEDGER)
        assert [record.message.partition(";")[0] for record in caplog.records] == [
            "The remote job was not recorded in the application database"
        ]
        assert len(written) == 1

    def test_a_remote_job_is_recorded_although_an_earlier_write_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And is given more time: what Airflow knows of it is gone with a run that is deleted before the reconciler looks."""
        budgets: dict[float, Any] = {}
        monkeypatch.setattr("provider.threads.within", lambda seconds, call, _name: budgets.setdefault(seconds, call()))
        monkeypatch.setattr(task_process, "recorder", TryRecorder(locked_at_first(), budget=20, long_budget=30))
        ti = instance()
        ti.task.remote_job = ti.task.tell_remote_job = None
        task_log.on_task_instance_running(task_instance=ti)
        ti.task.tell_remote_job(LEDGER)
        row = stored()
        assert (row and row.remote_job, budgets) == ({"service": SERVICE, "job": JOB, "intent": None}, {30: None})

    def test_a_failed_try_that_will_be_retried_keeps_its_exception(self) -> None:
        task_log.on_task_instance_failed(
            task_instance=instance(state="up_for_retry"), error=ValueError("no\n  such\ttable\x00\ud800")
        )
        row = stored()
        assert row is not None
        assert (row.status, row.airflow_state, row.error_type, row.error_message) == (
            "ERROR",
            "up_for_retry",
            "ValueError",
            "no such table?",
        )

    def test_a_guard_says_why_a_task_was_skipped(self) -> None:
        ti = instance()
        ti.task.skip_reason = "parent skipped: stage"
        task_log.on_task_instance_skipped(task_instance=ti)
        row = stored()
        assert row is not None
        assert (row.status, row.error_message) == ("SKIPPED", "parent skipped: stage")

    def test_secrets_are_masked_and_long_texts_are_cut(self) -> None:
        from airflow.sdk._shared.secrets_masker import mask_secret

        mask_secret("Tr0ub4dor&3")
        ti = instance()
        ti.task.sql = "x" * 50_000
        task_log.on_task_instance_running(task_instance=ti)
        task_log.on_task_instance_failed(task_instance=ti, error=RuntimeError("login Tr0ub4dor&3 refused " + "y" * 50_000))
        row = stored()
        assert row is not None
        assert str(row.error_message).startswith("login *** refused yyy")
        assert len(str(row.error_message)) == task_process.MESSAGE_LENGTH
        assert row.config is not None
        assert len(row.config["sql"]) < 5_000

    @pytest.mark.parametrize(
        "other",
        [
            {"start_operator": "EmptyOperator"},
            {"run_id": "__airflow_temporary_run_2026-01-01__"},
            {"try_number": 0},
        ],
    )
    def test_what_is_no_try_of_a_workflow_is_ignored(self, other: dict[str, Any]) -> None:
        task_log.on_task_instance_running(task_instance=instance(**other))
        assert stored() is None


class TestHarmlessness:
    def test_a_database_that_never_answers_costs_the_budget_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        never = threading.Event()
        calls: list[TaskLogRow] = []

        def hang(row: TaskLogRow, _run_after: datetime | None) -> None:
            calls.append(row)
            never.wait()

        monkeypatch.setattr(task_process, "recorder", TryRecorder(hang, budget=0.05, long_budget=0.05))
        task_log.on_task_instance_running(task_instance=instance())
        task_log.on_task_instance_success(task_instance=instance())
        never.set()
        assert len(calls) == 1
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "no answer within" in caplog.text

    def test_a_command_for_the_database_s_address_that_hangs_costs_the_budget(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        """It is run by the first hook, inside its time; the task goes on, and so does its end."""
        address = tmp_path / "address"
        os.mkfifo(address)  # whoever reads it waits until somebody writes
        monkeypatch.delenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", raising=False)
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN_CMD", f"cat {address}")
        monkeypatch.setattr(settings, "SECRET_SECONDS", 600.0)
        monkeypatch.setattr(task_process, "recorder", TryRecorder(budget=0.2, long_budget=0.2))

        task_log.on_task_instance_running(task_instance=instance())
        task_log.on_task_instance_success(task_instance=instance())
        task_log.on_task_instance_failed(task_instance=instance(), error=ValueError("the text"))

        said = [record for record in caplog.records if record.name.startswith("provider")]
        assert [record.levelname for record in said] == ["WARNING", "WARNING"], "the second hook did not even try"
        assert caplog.text.count("no answer within 0.2 seconds") >= 2
        address.write_text("sqlite:////nowhere/a.db")  # only now the command ends, and what waits for it
        assert wait_for(lambda: "accelerator-task-log" not in {thread.name for thread in threading.enumerate()}, 60)

    @pytest.mark.usefixtures("embedded_database")
    def test_the_exception_of_a_try_is_written_although_an_earlier_write_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Airflow does not keep it: what this process does not write, nobody will ever know."""
        monkeypatch.setattr(task_process, "recorder", TryRecorder(locked_at_first(), budget=30))
        task_log.on_task_instance_running(task_instance=instance())
        task_log.on_task_instance_failed(task_instance=instance(), error=ValueError("Table raw.suppliers was not found"))
        row = stored()
        assert row is not None
        assert (row.status, row.error_type, row.error_message) == ("ERROR", "ValueError", "Table raw.suppliers was not found")

    @pytest.mark.parametrize(("state", "kept"), [(None, True), ("up_for_retry", False)])
    def test_the_text_of_a_last_failure_is_left_in_airflow_where_the_database_has_no_connection(
        self, monkeypatch: pytest.MonkeyPatch, state: str | None, kept: bool
    ) -> None:
        """Of a try that is retried Airflow has begun the next one by then, and takes nothing more."""

        def refuse(*_row: Any) -> None:
            raise ConnectionError("sorry, too many clients already")

        left: dict[str, Any] = {}
        store = SimpleNamespace(set=left.__setitem__)
        context = {"task_state_store": store}
        monkeypatch.setattr(task_process, "recorder", TryRecorder(refuse, budget=0.05, long_budget=0.05))
        ti = instance(state=state, get_template_context=lambda: context)
        task_log.on_task_instance_running(task_instance=ti)
        assert left == {}
        error = ValueError("Table raw.suppliers was not found")
        task_log.on_task_instance_failed(task_instance=ti, error=error)
        text = {"try": 1, "type": "ValueError", "message": str(error), "cause": "task", "status": "ERROR"}
        assert left == ({"accelerator_error": text} if kept else {})

    @pytest.mark.usefixtures("embedded_database")
    def test_why_a_task_has_skipped_itself_is_written_although_an_earlier_write_failed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_process, "recorder", TryRecorder(locked_at_first(), budget=30))
        ti = instance()
        task_log.on_task_instance_running(task_instance=ti)
        ti.task.skip_reason = "nothing to load"
        task_log.on_task_instance_skipped(task_instance=ti)
        row = stored()
        assert row is not None
        assert (row.status, row.error_message, row.end_cause) == ("SKIPPED", "nothing to load", "task")

    @pytest.mark.parametrize("reason", ["nothing to load", None])
    def test_why_a_task_has_skipped_itself_is_left_in_airflow_where_the_database_has_no_connection(
        self, monkeypatch: pytest.MonkeyPatch, reason: str | None
    ) -> None:
        def refuse(*_row: Any) -> None:
            raise ConnectionError("sorry, too many clients already")

        left: dict[str, Any] = {}
        context = {"task_state_store": SimpleNamespace(set=left.__setitem__)}
        monkeypatch.setattr(task_process, "recorder", TryRecorder(refuse, budget=0.05))
        ti = instance(get_template_context=lambda: context)
        task_log.on_task_instance_running(task_instance=ti)
        if reason is not None:
            ti.task.skip_reason = reason
        task_log.on_task_instance_skipped(task_instance=ti)
        text = {"try": 1, "type": None, "message": "nothing to load", "cause": "task", "status": "SKIPPED"}
        assert left == ({"accelerator_error": text} if reason else {})

    @pytest.mark.parametrize("problem", [RuntimeError("x"), SystemExit(1), GeneratorExit(), MemoryError()])
    def test_nothing_that_happens_in_a_hook_reaches_the_task(
        self, monkeypatch: pytest.MonkeyPatch, problem: BaseException
    ) -> None:
        def fail(*_arguments: Any) -> None:
            raise problem

        monkeypatch.setattr(task_process, "_row", fail)
        task_log.on_task_instance_running(task_instance=instance())
        task_log.on_task_instance_running(task_instance=SimpleNamespace())
        task_log.on_dag_run_failed(dag_run=object())

    def test_a_refused_connection_does_not_show_its_password(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://me:hunter2@127.0.0.1:1/x")
        task_log.on_task_instance_running(task_instance=instance())
        assert "reconciler will do it" in caplog.text
        assert "hunter2" not in caplog.text

    @pytest.mark.usefixtures("embedded_database")
    def test_an_sqlite_file_is_refused_where_tasks_run_on_several_machines(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
        for _ in range(2):
            task_log.on_task_instance_running(task_instance=instance())
        assert [record.levelname for record in caplog.records if record.name.startswith("provider")] == ["ERROR"]
        monkeypatch.undo()

    def test_a_hook_of_the_scheduler_only_leaves_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hints: list[Any] = []
        monkeypatch.setattr(host, "_host", SimpleNamespace(pid=1, hint=hints.append, forget=lambda: None))

        class TaskInstance:
            """Airflow's ORM row: a column that is not loaded would query the database, which a hook must not."""

            def __init__(self) -> None:
                vars(self).update(dag_id="sales", run_id="b1", task_id="load", map_index=-1, try_number=2)

            def __getattr__(self, name: str) -> Any:
                raise AssertionError(f"the hook reads {name}")

        task_log.on_task_instance_failed(task_instance=TaskInstance(), error="heartbeat lost")
        key = {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": -1, "try_number": 2}
        assert hints == [{**key, "error": "heartbeat lost"}]


def test_airflow_takes_the_hooks_as_they_are_declared(caplog: pytest.LogCaptureFixture) -> None:
    from airflow._shared.listeners.listener import ListenerManager
    from airflow._shared.listeners.spec import lifecycle, taskinstance
    from airflow.listeners.spec import dagrun
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    manager: Any = ListenerManager()
    for specification in (lifecycle, taskinstance, dagrun):
        manager.add_hookspecs(specification)
    manager.add_listener(task_log)
    ti = instance(try_number=0)
    manager.hook.on_starting(component=TaskRunnerMarker())
    manager.hook.before_stopping(component=TaskRunnerMarker())
    for hook in ("running", "success", "skipped"):
        getattr(manager.hook, f"on_task_instance_{hook}")(previous_state=None, task_instance=ti)
    manager.hook.on_task_instance_failed(previous_state=None, task_instance=ti, error=None)
    run = SimpleNamespace(triggered_by=None)
    for hook in ("running", "success", "failed"):
        getattr(manager.hook, f"on_dag_run_{hook}")(dag_run=run, msg="")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(manager.pm.get_hookcallers(task_log) or []) == 9
