"""``start_batch`` and the reconciler write the same rows at the same time: on PostgreSQL neither may end the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import TextClause, text

from provider.metadata import batches, task_logs
from provider.metadata.engine import dispose_engines, get_engine, read_session, write_session
from provider.metadata.tables import TaskLog
from provider.reconciler.airflow_state import RunState, TryState
from provider.reconciler.mirror import Asked
from provider.reconciler.writing import mirror_runs
from provider.run_conf import Scope
from tests.waiting import wait_for

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
TASKS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def postgres_database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
    yield
    dispose_engines()


SOMEBODY_WAITS = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
BATCH_IS_WRITTEN = text(
    "SELECT count(*) FROM pg_locks WHERE relation = 'task_batches'::regclass AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


NOTHING_ASKED = Asked(lambda _run: {}, lambda _run, _attempt: None, lambda _run, _attempt: None, lambda _run: True)


def wait_until_counted(what: TextClause) -> None:
    """Return when the database counts some, as seen by a connection of its own."""
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert wait_for(lambda: connection.scalar(what), 30), f"still none: {what}"


def open_batch() -> None:
    with write_session() as session:
        batches.open_batch(
            session, "sales", "b1", run_after=AT, requested=Scope(None, "workflow", None), source="manual", params={},
            message_id=None, all_task_ids=TASKS, disabled=["b"],
        )  # fmt: skip


def run_with(*tries: TryState) -> RunState:
    return RunState("sales", "b1", "running", "manual", None, {}, AT, AT, AT, None, tries)


def mirror() -> set[tuple[str, str]]:
    """Do what the reconciler does, as soon as ``start_batch`` has begun."""
    run = run_with(*(TryState(task, -1, 1, "running", AT, None, AT, live=True) for task in reversed(TASKS)))
    wait_until_counted(BATCH_IS_WRITTEN)
    return mirror_runs([run], NOTHING_ASKED)


@pytest.mark.parametrize("before", ["first", "again", "mirrored"])
def test_start_batch_and_the_reconciler_in_each_others_way(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """``start_batch`` has written the batch, and not yet the tasks, when the reconciler comes with both, or with tasks alone."""
    if before != "first":
        open_batch()
    if before == "mirrored":
        mirror_runs([run_with()], NOTHING_ASKED)
    add_first_tries = task_logs.add_first_tries

    def late(*arguments: Any) -> None:
        wait_until_counted(SOMEBODY_WAITS)
        add_first_tries(*arguments)

    monkeypatch.setattr(batches, "add_first_tries", late)
    with ThreadPoolExecutor(2) as threads:
        opened, mirrored = threads.submit(open_batch), threads.submit(mirror)
        opened.result()
        assert mirrored.result() == {("sales", "b1")}
    with read_session() as session:
        assert {log.task_id: log.status for log in session.query(TaskLog)} == dict.fromkeys(TASKS, "PROCESSING")
