"""A hundred tasks that fail at once on a small server, in the time that a hook has: what is lost is made up for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

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
def test_each_of_a_hundred_failed_tasks_has_its_row_and_its_own_text_in_the_end(
    small_server: str, airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    from airflow.models.task_state_store import TaskStateStoreModel

    command = [sys.executable, hundred_tasks.__file__, str(TASKS), str(BUDGET_SECONDS)]
    run = subprocess.run(command, env=os.environ.copy(), capture_output=True, text=True, check=True)
    told = json.loads(run.stdout.splitlines()[-1])  # what libraries log comes before it
    written = rows()
    own = {f"b{number}": f"the one text of {number}" for number in range(TASKS)}
    kept = {batch_id for batch_id, (status, message) in written.items() if message == own[batch_id]}
    for number in range(TASKS):
        airflow_database.run(f"b{number}", "failed")
        airflow_database.task("load", "failed", run_id=f"b{number}")
        for key, value in told[number]["left"].items():
            place = {"dag_id": "sales", "run_id": f"b{number}", "task_id": "load", "map_index": -1, "dag_run_id": number}
            entry = {"key": key, "value": json.dumps(value), "updated_at": datetime.now(UTC)}
            airflow_database.insert(TaskStateStoreModel, **place, **entry)

    while not one.tick() or len(rows()) < TASKS:
        pass

    assert rows() == {batch_id: ("ERROR", text) for batch_id, text in own.items()}
    missed = sum(bool(one["missed"]) for one in told)
    load = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    sys.stdout.write(
        f"{TASKS} tasks, {CONNECTIONS} connections, {BUDGET_SECONDS:g} s, {load}: {missed} processes missed a write, "
        f"{len(written)} had a row, {len(kept)} texts stored at once, {TASKS - len(kept)} found in Airflow by the reconciler\n"
    )
