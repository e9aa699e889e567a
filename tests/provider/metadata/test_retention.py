"""What is deleted of old batches, and what the views say of those that are there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text

from provider.alerts import outbox
from provider.exceptions import AcceleratorError
from provider.metadata import batches, retention, task_logs
from provider.metadata.engine import get_engine, read_session, write_session
from provider.metadata.retention import Cleaned
from provider.metadata.tables import Alert, TaskBatch, TaskLog
from provider.metadata.views import VIEWS
from tests.provider.alerts.alert_world import add_alert

pytestmark = pytest.mark.usefixtures("application_database")

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
BEFORE = AT + timedelta(days=1)


def batch(batch_id: str, status: str = "SUCCESS", ended_at: datetime | None = AT, tries: int = 1) -> None:
    row: Any = {
        "workflow_id": "sales",
        "batch_id": batch_id,
        "status": status,
        "airflow_state": None,
        "source": "api",
        "params": {},
    }
    row |= {"message_id": None, "created_at": AT, "started_at": AT - timedelta(seconds=90), "ended_at": ended_at, "error": None}
    row |= {"end_cause": "task", "ended_by": None, "run_after": AT}
    with write_session() as session:
        batches.record_batches(session, [row])
    for number in range(1, tries + 1):
        attempt(batch_id, "load", "ERROR" if number < tries else status, number)


def attempt(batch_id: str, task_id: str, status: str, number: int = 1, **values: Any) -> None:
    row: Any = {"workflow_id": "sales", "batch_id": batch_id, "task_id": task_id, "map_index": -1, "try_number": number}
    row |= {"status": status, "airflow_state": None, "started_at": AT, "ended_at": AT + timedelta(seconds=30), "error_type": None}
    row |= {"error_message": None, "end_cause": None, "ended_by": None, "remote_job_id": None, "remote_job_url": None}
    with write_session() as session:
        row |= {"row_source": "reconciler", **values}
        task_logs.record_tries(session, [row], authoritative=True)


def left() -> tuple[set[str], set[str]]:
    with read_session() as session:
        return {row.batch_id for row in session.query(TaskBatch)}, {row.batch_id for row in session.query(TaskLog)}


def test_what_ended_before_is_deleted_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for number in range(5):
        batch(f"old {number}", tries=2)
    batch("on the day", ended_at=BEFORE)
    batch("runs", "PROCESSING", ended_at=None)
    batch("runs again", "PROCESSING", ended_at=AT)
    kept = {"on the day", "runs", "runs again"}

    assert retention.clean(BEFORE, dry_run=True) == Cleaned(5, 10)
    assert len(left()[0]) == 8
    assert retention.clean(BEFORE) == Cleaned(5, 10)
    assert left() == (kept, kept)
    assert retention.clean(BEFORE) == Cleaned(0, 0)


def test_a_batch_that_is_cleared_while_old_ones_are_deleted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    batch("old")
    batch("cleared", "PROCESSING", ended_at=AT)
    found_before = select(TaskBatch.workflow_id, TaskBatch.batch_id)
    monkeypatch.setattr(retention, "_ended", lambda _before: found_before)
    assert retention.clean(BEFORE) == Cleaned(1, 1)
    assert left() == ({"cleared"}, {"cleared"})


def test_what_the_reconciler_would_write_anew_is_refused() -> None:
    batch("b1")
    with pytest.raises(AcceleratorError, match="from 8 days after their end on"):
        retention.clean(datetime.now(UTC) - timedelta(days=7))
    assert left()[0] == {"b1"}


def rows(view: str) -> list[dict[str, Any]]:
    with read_session() as session:
        return [dict(row) for row in session.execute(text(f"SELECT * FROM {view}")).mappings()]


def test_a_summary_counts_the_newest_try_of_each_task() -> None:
    batch("b1", "ERROR")
    attempt("b1", "start_batch", "SUCCESS")
    attempt("b1", "batch_watcher", "BLOCKED")
    attempt("b1", "load", "ERROR", 1)
    attempt("b1", "load", "SUCCESS", 2)
    attempt("b1", "stage", "ERROR")
    attempt("b1", "report", "BLOCKED")
    attempt("b1", "mail", "SKIPPED")
    attempt("b1", "other", "NEW")
    (found,) = rows("v_batch_summary")
    counts = {name: found[name] for name in ("tasks", "succeeded", "failed", "blocked", "skipped", "unfinished", "repeats")}
    assert counts == {"tasks": 5, "succeeded": 1, "failed": 1, "blocked": 1, "skipped": 1, "unfinished": 1, "repeats": 1}
    assert found["seconds"] == pytest.approx(90, abs=0.01)


def test_a_batch_without_tries_has_a_summary() -> None:
    with write_session() as session:
        session.add(TaskBatch(workflow_id="sales", batch_id="b1", created_at=AT, updated_at=AT))
    (found,) = rows("v_batch_summary")
    assert (found["tasks"], found["unfinished"], found["seconds"]) == (0, 0, None)


def test_what_failed_is_each_task_whose_newest_try_failed() -> None:
    batch("b1", "ERROR")
    attempt("b1", "load", "ERROR", 1)
    attempt("b1", "load", "SUCCESS", 2)
    attempt("b1", "stage", "ERROR", 1, error_message="first")
    attempt("b1", "stage", "ERROR", 2, error_message="second")
    assert [(row["task_id"], row["try_number"], row["error_message"]) for row in rows("v_what_failed")] == [
        ("stage", 2, "second")
    ]


def test_durations_are_of_tries_that_began() -> None:
    batch("b1")
    attempt("b1", "stage", "NEW", started_at=None, ended_at=None)
    attempt("b1", "mail", "PROCESSING", ended_at=None)
    found = {row["task_id"]: row["seconds"] for row in rows("v_task_duration")}
    assert set(found) == {"load", "mail"}
    assert found["load"] == pytest.approx(30, abs=0.01)
    assert found["mail"] > 3600


def test_there_is_a_view_of_each_name() -> None:
    for view in VIEWS:
        assert rows(view) == []


def test_an_alert_that_is_to_be_sent_once_more_meanwhile_is_not_deleted(application_database: str) -> None:
    """PostgreSQL lets others write between the look for what is old and its end."""
    add_alert("e", happened_at=AT, created_at=AT, due_at=AT, state="failed")
    others = [application_database] if application_database.startswith("postgresql") else []

    def meanwhile(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM alerts") and others:
            others.clear()
            with write_session() as session:
                outbox.retry_failed(session)

    event.listen(get_engine(), "before_cursor_execute", meanwhile)
    deleted = retention.clean(BEFORE).alerts

    with read_session() as session:
        waiting = list(session.scalars(select(Alert.state)))
    assert (waiting, deleted) == ((["waiting"], 0) if application_database.startswith("postgresql") else ([], 1))
