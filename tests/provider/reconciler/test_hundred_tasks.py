"""A hundred tasks that fail at once on a small server, in the time that a hook has: what is lost is made up for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from demo.postgres import PostgresServer
from provider.listeners.task_process import BUDGET_SECONDS
from provider.metadata import engine, schema
from provider.metadata.engine import read_session
from provider.metadata.tables import TaskLog
from provider.reconciler.passes import Reconciler
from tests.provider.listeners import hundred_tasks
from tests.provider.reconciler.conftest import AirflowDatabase

TASKS, CONNECTIONS = 100, 20


@pytest.fixture
def small_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    try:
        with PostgresServer(max_connections=CONNECTIONS) as server:
            url = server.create_database("tasks")
            fresh = engine.create_engine(url)
            schema.upgrade(fresh)
            fresh.dispose()
            monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
            yield url
            engine.dispose_engines()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def rows() -> dict[str, tuple[str, str | None]]:
    with read_session() as session:
        found = session.execute(select(TaskLog.batch_id, TaskLog.status, TaskLog.error_message).where(TaskLog.task_id == "load"))
        return {batch_id: (status, message) for batch_id, status, message in found}


@pytest.mark.slow
def test_each_of_a_hundred_failed_tasks_has_its_row_and_a_reason_in_the_end(
    small_server: str, airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    command = [sys.executable, hundred_tasks.__file__, str(TASKS), str(BUDGET_SECONDS)]
    told = subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True, check=True)
    written = rows()
    own = {f"b{number}": f"the one text of {number}" for number in range(TASKS)}
    kept = {batch_id for batch_id, (status, message) in written.items() if message == own[batch_id]}
    for number in range(TASKS):
        airflow_database.run(f"b{number}", "failed")
        airflow_database.task("load", "failed", run_id=f"b{number}")

    while not one.tick() or len(rows()) < TASKS:
        pass

    after = rows()
    assert {status for status, _ in after.values()} == {"ERROR"}
    assert {batch_id for batch_id, (_, message) in after.items() if message == own[batch_id]} == kept, (
        "a text that is known stays"
    )
    explained = [message for batch_id, (_, message) in after.items() if batch_id not in kept]
    assert all(message and "see the Airflow log of try 1" in message for message in explained)
    missed = sum(bool(lost) for lost in json.loads(told.stdout))
    load = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    sys.stdout.write(
        f"{TASKS} tasks, {CONNECTIONS} connections, {BUDGET_SECONDS:g} s, {load}: {missed} processes missed a write, "
        f"{len(written)} had a row, {len(kept)} texts stored, {len(explained)} explained by the reconciler\n"
    )
