from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.metadata import batches, task_logs
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import TaskBatchRow, TaskLogRow
from provider.metadata.tables import TaskBatch, TaskLog
from provider.run_conf import Scope

pytestmark = pytest.mark.usefixtures("application_database")

KEY = {"workflow_id": "sales", "batch_id": "b1", "task_id": "load", "map_index": -1, "try_number": 1}
AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)


def tried(status: str, **values: Any) -> Any:
    return {
        **KEY,
        "status": status,
        "airflow_state": None,
        "started_at": None,
        "ended_at": None,
        "error_type": None,
        "error_message": None,
        "remote_job_id": None,
        "remote_job_url": None,
        "row_source": "test",
        **values,
    }


def record(row: TaskLogRow, *, authoritative: bool = False) -> TaskLog:
    with write_session() as session:
        task_logs.record_tries(session, [row], authoritative=authoritative)
    with read_session() as session:
        stored = session.get(TaskLog, tuple(KEY.values()))
        assert stored is not None
        return stored


def open_batch(scope: Scope) -> Scope:
    with write_session() as session:
        return batches.open_batch(
            session,
            "sales",
            "b1",
            run_after=AT,
            requested=scope,
            source="message",
            params={"country": "DE"},
            message_id="m1",
            all_task_ids=["load", "stage", "report"],
        )


def test_open_batch_writes_the_batch_and_a_new_row_for_each_task_in_scope() -> None:
    open_batch(Scope(["stage"], "downstream", ["report", "stage"]))
    with read_session() as session:
        batch = session.get(TaskBatch, ("sales", "b1"))
        assert batch is not None
        assert (batch.status, batch.source, batch.params, batch.message_id) == ("PROCESSING", "message", {"country": "DE"}, "m1")
        assert batch.created_at.tzinfo is not None
        logs = session.query(TaskLog).order_by(TaskLog.task_id).all()
        assert [(log.task_id, log.status, log.try_number) for log in logs] == [("report", "NEW", 1), ("stage", "NEW", 1)]


def test_open_batch_again_keeps_the_stored_scope_and_what_has_run() -> None:
    first = open_batch(Scope(["stage"], "downstream", ["report", "stage"]))
    record(tried("SUCCESS") | {"task_id": "load"})
    assert open_batch(Scope(None, "workflow", None)) == first
    with read_session() as session:
        assert session.query(TaskLog).count() == 3


@pytest.mark.parametrize(
    ("before", "after", "stored"),
    [
        ("NEW", "PROCESSING", "PROCESSING"),
        ("PROCESSING", "SUCCESS", "SUCCESS"),
        ("PROCESSING", "ERROR", "ERROR"),
        ("ERROR", "SUCCESS", "ERROR"),
        ("SUCCESS", "PROCESSING", "SUCCESS"),
        ("PROCESSING", "NEW", "PROCESSING"),
    ],
)
def test_a_task_process_only_moves_a_row_forward(before: str, after: str, stored: str) -> None:
    record(tried(before))
    assert record(tried(after)).status == stored


@pytest.mark.parametrize("before", ["NEW", "PROCESSING", "SUCCESS", "ERROR"])
@pytest.mark.parametrize("after", ["NEW", "PROCESSING", "SUCCESS", "ERROR", "SKIPPED", "BLOCKED"])
def test_the_reconciler_overwrites_any_status(before: str, after: str) -> None:
    record(tried(before))
    assert record(tried(after), authoritative=True).status == after


def test_the_reconciler_keeps_the_message_that_the_task_process_knew() -> None:
    record(tried("ERROR", error_type="RemoteJobError", error_message="Table raw.suppliers was not found", remote_job_id="inv/1"))
    stored = record(tried("ERROR", error_message="Task failed", ended_at=AT), authoritative=True)
    assert (stored.error_type, stored.error_message) == ("RemoteJobError", "Table raw.suppliers was not found")
    assert (stored.remote_job_id, stored.ended_at) == ("inv/1", AT)


def test_what_the_task_process_knew_outlives_an_airflow_that_still_calls_the_try_running() -> None:
    record(tried("ERROR", error_type="ValueError", error_message="no such table", row_source="task"))
    assert record(tried("PROCESSING", airflow_state="running"), authoritative=True).status == "PROCESSING"
    stored = record(tried("ERROR", error_message="Task failed"), authoritative=True)
    assert (stored.error_type, stored.error_message) == ("ValueError", "no such table")


@pytest.mark.parametrize(("status", "error_type"), [("ERROR", "ValueError"), ("SKIPPED", None)])
def test_what_the_task_process_knew_outlives_a_reconciler_that_looked_before_however_often_it_writes(
    status: str, error_type: str | None
) -> None:
    record(tried("NEW", row_source="start_batch"))
    record(tried(status, error_type=error_type, error_message="no such table", row_source="task"))
    for _ in range(2):
        stored = record(tried("NEW", airflow_state="scheduled", row_source="reconciler"), authoritative=True)
        assert (stored.status, stored.error_message) == ("NEW", "no such table")
    stored = record(tried(status, row_source="reconciler"), authoritative=True)
    assert (stored.error_type, stored.error_message, stored.row_source) == (error_type, "no such table", "reconciler")


def test_a_task_process_may_explain_an_error_that_the_reconciler_saw_first() -> None:
    record(tried("ERROR"), authoritative=True)
    assert record(tried("ERROR", error_message="no such table")).error_message == "no such table"
    assert record(tried("ERROR", error_message="something else")).error_message == "no such table"


def test_a_row_that_turns_out_a_success_has_no_error() -> None:
    record(tried("ERROR", error_message="lost"))
    assert record(tried("SUCCESS"), authoritative=True).error_message is None


def record_success(run_after: datetime) -> TaskBatch:
    """Write what Airflow says of a run that has succeeded; return the batch."""
    row: TaskBatchRow = {
        "workflow_id": "sales",
        "batch_id": "b1",
        "status": "SUCCESS",
        "airflow_state": "success",
        "source": "api",
        "params": {},
        "message_id": None,
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT,
        "error": None,
        "end_cause": "task",
        "ended_by": None,
        "run_after": run_after,
    }
    with write_session() as session:
        batches.record_batches(session, [row])
    with read_session() as session:
        return session.get_one(TaskBatch, ("sales", "b1"))


def test_record_batches_keeps_scope_and_message() -> None:
    open_batch(Scope(["stage"], "task", ["stage"]))
    batch = record_success(AT)
    assert (batch.status, batch.source, batch.scope, batch.message_id) == ("SUCCESS", "api", "task", "m1")
    assert (batch.params, batch.started_at) == ({"country": "DE"}, AT)


def test_record_batches_leaves_the_batch_of_another_run_alone() -> None:
    open_batch(Scope(["stage"], "task", ["stage"]))
    batch = record_success(AT - timedelta(hours=1))
    assert (batch.status, batch.scope, batch.run_after) == ("PROCESSING", "task", AT)


def test_a_disabled_task_in_scope_is_skipped_with_its_reason_from_the_start() -> None:
    with write_session() as session:
        batches.open_batch(
            session,
            "sales",
            "b1",
            run_after=AT,
            requested=Scope(None, "workflow", None),
            source="manual",
            params={},
            message_id=None,
            all_task_ids=["load", "stage"],
            disabled={"stage", "no_longer_there"},
        )
    with read_session() as session:
        rows = {log.task_id: (log.status, log.error_message) for log in session.query(TaskLog)}
    assert rows == {"load": ("NEW", None), "stage": ("SKIPPED", "the task is disabled")}
