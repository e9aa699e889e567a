"""Batches and their tries, column by column: as they are opened, read, and ended with a run that is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from provider.metadata import batches
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import TaskBatch, TaskLog
from provider.run_conf import Scope
from provider.threads import in_thread
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("application_database")

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
TASKS = ["load", "report", "stage"]
MIDDLE = Scope(["stage"], "downstream", ["report", "stage"])


def open_batch(requested: Scope = MIDDLE, workflow_id: str = "sales", batch_id: str = "b1", **values: Any) -> Scope:
    told = {
        "run_after": AT,
        "source": "message",
        "params": {"country": "DE"},
        "message_id": "m1",
        "all_task_ids": TASKS,
        **values,
    }
    with write_session() as session:
        return batches.open_batch(session, workflow_id, batch_id, requested=requested, **told)


def stored(batch_id: str = "b1", workflow_id: str = "sales") -> TaskBatch:
    with read_session() as session:
        batch = session.get(TaskBatch, (workflow_id, batch_id))
        assert batch is not None
        return batch


def tries(workflow_id: str = "sales", batch_id: str = "b1") -> dict[str, tuple[str, str | None]]:
    with read_session() as session:
        found = session.query(TaskLog).filter_by(workflow_id=workflow_id, batch_id=batch_id)
        return {log.task_id: (log.status, log.error_message) for log in found}


def change(model: type[TaskBatch | TaskLog], **values: Any) -> None:
    with write_session() as session:
        session.execute(update(model).values(**values))


def recorded(**values: Any) -> Any:
    row: dict[str, Any] = {
        "workflow_id": "sales",
        "batch_id": "b1",
        "status": "SUCCESS",
        "airflow_state": "success",
        "source": "api",
    }
    row |= {"params": {"x": 1}, "message_id": "m9", "created_at": AT, "started_at": AT, "ended_at": AT, "error": None}
    row |= {"end_cause": "task", "ended_by": None, "run_after": AT}
    return {**row, **values}


def record(*rows: Any) -> None:
    with write_session() as session:
        batches.record_batches(session, rows)


def test_an_opened_batch_says_all_that_is_known_of_it() -> None:
    before = datetime.now(UTC)
    assert open_batch() == MIDDLE

    batch = stored()
    assert (batch.status, batch.airflow_state, batch.source, batch.message_id) == ("PROCESSING", "running", "message", "m1")
    assert (batch.start_task_ids, batch.scope, batch.scope_task_ids) == (["stage"], "downstream", ["report", "stage"])
    assert (batch.params, batch.error, batch.ended_at) == ({"country": "DE"}, None, None)
    assert batch.started_at is not None
    assert before <= batch.created_at == batch.started_at == batch.updated_at <= datetime.now(UTC)


def test_a_batch_that_airflow_was_seen_to_run_gets_its_scope_and_keeps_its_state_and_source() -> None:
    record(recorded(params=None, message_id=None, source="api"))
    change(TaskBatch, updated_at=AT)
    assert open_batch() == MIDDLE

    batch = stored()
    assert (batch.status, batch.airflow_state, batch.source, batch.created_at) == ("SUCCESS", "success", "api", AT)
    assert (batch.start_task_ids, batch.scope, batch.scope_task_ids) == (["stage"], "downstream", ["report", "stage"])
    assert (batch.params, batch.message_id) == ({"country": "DE"}, "m1")
    assert batch.updated_at > AT


def test_a_batch_keeps_its_first_scope() -> None:
    open_batch()
    assert open_batch(Scope(None, "workflow", None), source="api") == MIDDLE

    assert (stored().scope, stored().source, list(tries())) == ("downstream", "message", ["report", "stage"])


def test_a_scope_of_the_whole_workflow_has_a_row_of_every_task() -> None:
    open_batch(Scope(None, "workflow", None))

    assert tries() == dict.fromkeys(TASKS, ("NEW", None))
    with read_session() as session:
        assert batches.stored_scope(session, "sales", "b1", AT) == Scope(None, "workflow", None)


def test_tasks_done_elsewhere_have_a_row_that_says_so_and_win_over_disabled_ones() -> None:
    open_batch(disabled=["report", "load"], done_elsewhere=["load"])

    assert list(tries()) == ["load", "report", "stage"]
    assert tries()["report"] == ("SKIPPED", "the task is disabled")
    assert tries()["load"][0] == "SKIPPED"
    assert tries()["load"][1] not in (None, "the task is disabled")
    assert tries()["stage"] == ("NEW", None)


def test_a_batch_has_a_scope_when_start_batch_has_run() -> None:
    with read_session() as session:
        assert batches.stored_scope(session, "sales", "b1", AT) is None
    record(recorded())
    with read_session() as session:
        assert batches.stored_scope(session, "sales", "b1", AT) is None
    open_batch()
    with read_session() as session:
        assert batches.stored_scope(session, "sales", "b1", AT) == MIDDLE


def test_airflows_word_counts_but_for_scope_params_and_message() -> None:
    open_batch()
    change(TaskBatch, updated_at=AT)
    record(recorded(status="ERROR", airflow_state="failed", error="a task failed"))

    batch = stored()
    assert (batch.status, batch.airflow_state, batch.source, batch.error) == ("ERROR", "failed", "api", "a task failed")
    assert (batch.created_at, batch.started_at, batch.ended_at) == (AT, AT, AT)
    assert (batch.scope, batch.params, batch.message_id) == ("downstream", {"country": "DE"}, "m1")
    assert batch.updated_at > AT


def test_params_and_message_of_a_batch_that_start_batch_never_saw() -> None:
    record(recorded())

    assert (stored().params, stored().message_id) == ({"x": 1}, "m9")


def test_what_is_stored_of_runs_is_read_by_run_and_try() -> None:
    for workflow_id, batch_id in (("sales", "b1"), ("sales", "b2"), ("stock", "b1"), ("stock", "b3")):
        open_batch(Scope(["load"], "task", ["load"]), workflow_id, batch_id)
    asked = [("sales", "b1"), ("stock", "b1"), ("stock", "unknown")]

    with read_session() as session:
        logs, found = batches.stored_runs(session, asked)
        assert set(found) == {("sales", "b1"), ("stock", "b1")}
        assert {(batch.workflow_id, batch.batch_id) for batch in found.values()} == set(found)
        assert {run: list(of_run) for run, of_run in logs.items()} == {
            ("sales", "b1"): [("load", -1, 1)],
            ("stock", "b1"): [("load", -1, 1)],
        }
        assert {(log.workflow_id, log.batch_id) for of_run in logs.values() for log in of_run.values()} == set(found)


def test_batches_that_have_not_ended() -> None:
    for status in ("NEW", "PROCESSING", "SUCCESS", "ERROR"):
        record(recorded(batch_id=status, status=status))

    with read_session() as session:
        assert batches.open_batches(session) == {("sales", "NEW"): AT, ("sales", "PROCESSING"): AT}


def test_when_any_batch_was_written_last() -> None:
    with read_session() as session:
        assert batches.last_written(session) is None
    open_batch(batch_id="b1")
    open_batch(batch_id="b2")
    change(TaskBatch, updated_at=AT)
    with write_session() as session:
        session.execute(update(TaskBatch).where(TaskBatch.batch_id == "b1").values(updated_at=AT + timedelta(hours=1)))

    with read_session() as session:
        assert batches.last_written(session) == AT + timedelta(hours=1)


class TestRunThatIsGone:
    def end(self, workflow_id: str = "sales", batch_id: str = "b1", run_after: datetime | None = AT) -> None:
        with write_session() as session:
            batches.end_deleted_batch(session, (workflow_id, batch_id), run_after, "its run was deleted", "bob")

    @pytest.mark.parametrize("run_after", [None, AT - timedelta(hours=1)])
    def test_a_batch_that_has_begun_anew_stays_as_it_is(self, run_after: datetime | None) -> None:
        open_batch()
        self.end(run_after=run_after)
        assert (stored().status, stored().error) == ("PROCESSING", None)
        assert set(tries().values()) == {("NEW", None)}

    def test_its_batch_and_what_had_not_ended_end_with_the_reason(self) -> None:
        open_batch(Scope(None, "workflow", None))
        change(TaskBatch, updated_at=AT)
        with write_session() as session:
            session.execute(update(TaskLog).where(TaskLog.task_id == "load").values(status="SUCCESS", ended_at=AT))
            session.execute(
                update(TaskLog).where(TaskLog.task_id == "stage").values(status="PROCESSING", airflow_state="running")
            )
        self.end()

        batch = stored()
        assert (batch.status, batch.airflow_state, batch.error) == ("ERROR", None, "its run was deleted")
        assert (batch.end_cause, batch.ended_by) == ("deleted", "bob")
        assert batch.ended_at == batch.updated_at > AT
        deleted = ("ERROR", "its run was deleted")
        assert tries() == {"load": ("SUCCESS", None), "report": deleted, "stage": deleted}
        with read_session() as session:
            ends = {log.task_id: (log.airflow_state, log.ended_at) for log in session.query(TaskLog)}
        assert ends["load"] == (None, AT)
        assert ends["stage"] == ends["report"] == (None, batch.ended_at)

    def test_a_batch_that_has_ended_stays_as_it_is(self) -> None:
        record(recorded())
        self.end()

        assert (stored().status, stored().error, stored().ended_at) == ("SUCCESS", None, AT)

    @pytest.mark.parametrize(("workflow_id", "batch_id"), [("sales", "b2"), ("stock", "b1")])
    def test_other_batches_go_on(self, workflow_id: str, batch_id: str) -> None:
        open_batch(workflow_id=workflow_id, batch_id=batch_id)
        self.end()

        assert stored(batch_id, workflow_id).status == "PROCESSING"
        assert tries(workflow_id, batch_id)["stage"] == ("NEW", None)


def test_a_batch_that_is_made_anew_while_it_is_waited_for_is_seen(application_database: str) -> None:
    """PostgreSQL: the statement that waited for the row finds it deleted, and not the one that stands in its place."""
    open_batch()
    with write_session() as session:
        batches.forget_run(session, ("sales", "b1"))
        asked = in_thread(locked, "test-lock")
        if application_database.startswith("postgresql"):
            assert wait_for(lambda: waiting() == 1, 60)
        of_run = {"status": "PROCESSING", "run_after": LATER, "created_at": LATER, "updated_at": LATER}
        session.add(TaskBatch(workflow_id="sales", batch_id="b1", **of_run))
    assert asked.result(60) == {("sales", "b1"): LATER}


def locked() -> dict[tuple[str, str], datetime | None]:
    with write_session() as session:
        return batches.lock_batches(session, [("sales", "b1")])


def waiting() -> int:
    """Return how many wait for a lock of this database; a transaction sees but one moment of it."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with read_session() as session:
        return session.scalar(text(blocked)) or 0
