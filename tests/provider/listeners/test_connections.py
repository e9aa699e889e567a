"""A task process has a connection only while it writes, and makes up for one that it did not get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from demo.postgres import PostgresServer
from provider.listeners import task_process
from provider.metadata import engine, schema
from provider.metadata.rows import TaskLogRow
from provider.threads import in_thread
from tests.provider.listeners.hundred_tasks import instance

TASKS, CONNECTIONS = 100, 20


@pytest.fixture
def small_server() -> Iterator[PostgresServer]:
    """A PostgreSQL with few connections, as the smallest ones of clouds have."""
    try:
        with PostgresServer(max_connections=CONNECTIONS) as server:
            yield server
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
def test_no_error_text_is_lost_when_a_hundred_tasks_fail_at_once(small_server: PostgresServer) -> None:
    url = small_server.create_database("tasks")
    fresh = engine.create_engine(url)
    schema.upgrade(fresh)
    script = Path(__file__).with_name("hundred_tasks.py")
    # The seconds are generous, as a hundred processes share what cores this machine has; each has its own in real life.
    tasks = subprocess.Popen(
        [sys.executable, str(script), str(TASKS), "60"],
        env={**os.environ, "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": url},
        stdout=subprocess.PIPE,
        text=True,
    )
    most = 0
    count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    with create_engine(url).connect() as watcher:
        while tasks.poll() is None:
            most = max(most, watcher.execute(count).scalar_one())
            watcher.rollback()
            time.sleep(0.02)
        rows = watcher.execute(text("SELECT count(*), count(error_message) FROM task_logs")).one()
        after = watcher.execute(count).scalar_one()
    assert tasks.stdout is not None
    missed = [told["missed"] for told in json.loads(tasks.stdout.read())]
    lost = [what for what in missed if what.strip() not in ("", "running")]
    sys.stdout.write(f"{TASKS} tasks, {CONNECTIONS} connections: at most {most} at a time, rows and texts {tuple(rows)}\n")
    assert (lost, tuple(rows), after) == ([], (TASKS, TASKS), 0)


@pytest.mark.slow
def test_the_text_of_an_error_is_written_once_a_connection_is_free(
    small_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first write fails, as others have all connections; nothing but the next attempt can know the text."""
    url = small_server.create_database("tasks")
    fresh = engine.create_engine(url)
    schema.upgrade(fresh)
    fresh.dispose()
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
    refused = threading.Event()

    def write(row: TaskLogRow, run_after: datetime | None) -> None:
        try:
            task_process.write(row, run_after)
        except OperationalError:
            refused.set()
            raise

    others = create_engine(url, poolclass=NullPool)
    with ExitStack() as held:
        for _ in range(CONNECTIONS):
            held.enter_context(others.connect())
        recorder = task_process.TryRecorder(write, budget=120)
        ending = in_thread(lambda: recorder.record(instance(1), "failed", ValueError("the one text")), "test-task")
        assert refused.wait(60)
    assert ending.result(120) is None
    with others.connect() as connection:
        assert connection.execute(text("SELECT status, error_message FROM task_logs")).all() == [("ERROR", "the one text")]
    engine.dispose_engines()
