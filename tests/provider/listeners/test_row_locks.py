"""``start_batch`` and the reconciler write the same rows at the same time: on PostgreSQL neither may end the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from provider.listeners.airflow_state import RunState, TryState
from provider.listeners.mirror import mirror_runs
from provider.metadata import batches
from provider.metadata.batches import Scope
from provider.metadata.engine import dispose_engines, read_session, write_session
from provider.metadata.tables import TaskLog

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
TASKS = ("a", "b", "c")


@pytest.fixture
def database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
    yield postgres_url
    dispose_engines()


def wait_until_somebody_waits(url: str) -> None:
    """Return when another connection waits for a lock."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
    deadline = time.monotonic() + 30
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(waiting):
            assert time.monotonic() < deadline, "nobody waits for a lock"
            time.sleep(0.01)
    engine.dispose()


def open_batch() -> None:
    with write_session() as session:
        batches.open_batch(
            session, "sales", "b1", requested=Scope(None, "workflow", None), source="manual", params={}, message_id=None,
            all_task_ids=TASKS, disabled=["b"],
        )  # fmt: skip


def running_run() -> RunState:
    tries = tuple(TryState(task, -1, 1, "running", AT, None, AT, live=True) for task in reversed(TASKS))
    return RunState("sales", "b1", "running", "manual", None, {}, AT, AT, None, None, tries)


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_start_batch_and_the_reconciler_in_each_others_way(database: str, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """``start_batch`` has written the batch, and not yet the tasks, when the reconciler comes with both."""
    if again:
        open_batch()
    add_first_tries = batches._add_first_tries

    def late(*arguments: Any) -> None:
        wait_until_somebody_waits(database)
        add_first_tries(*arguments)

    monkeypatch.setattr(batches, "_add_first_tries", late)
    with ThreadPoolExecutor(2) as threads:
        opened = threads.submit(open_batch)
        wait_for_the_batch = threads.submit(mirror_when_opened, database)
        opened.result()
        assert wait_for_the_batch.result() == {("sales", "b1")}
    with read_session() as session:
        assert {log.task_id: log.status for log in session.query(TaskLog)} == dict.fromkeys(TASKS, "PROCESSING")


def mirror_when_opened(url: str) -> set[tuple[str, str]]:
    """Mirror as soon as ``start_batch`` holds the row of its batch."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    held = text(
        "SELECT count(*) FROM pg_locks JOIN pg_class ON pg_class.oid = relation "
        "WHERE relname = 'task_batches' AND mode = 'RowExclusiveLock' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    deadline = time.monotonic() + 30
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(held):
            assert time.monotonic() < deadline, "start_batch does not come"
            time.sleep(0.01)
    engine.dispose()
    return mirror_runs([running_run()], lambda _run: {}, lambda _run, _attempt: None)
