"""A task process has a connection only while it writes, and makes up for one that it did not get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from demo.postgres import PostgresServer
from provider.metadata import engine, schema

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
    lost = [what for what in json.loads(tasks.stdout.read()) if what.strip() not in ("", "running")]
    sys.stdout.write(f"{TASKS} tasks, {CONNECTIONS} connections: at most {most} at a time, rows and texts {tuple(rows)}\n")
    assert (lost, tuple(rows), after) == ([], (TASKS, TASKS), 0)
