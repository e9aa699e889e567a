"""The DAG files in a real dag-processor: what a person sees while definitions are broken, lost, repaired and deleted."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.airflow_services import AirflowServices
from provider.metadata.definitions import delete_workflows
from provider.metadata.engine import write_session
from tests.dag_factory.definitions import DATAFORM, Rows, good_rows, store

pytestmark = pytest.mark.airflow_services

ROOT = Path(__file__).parents[2]


@pytest.fixture
def airflow(embedded_database: str, snapshot_file: Path, tmp_path: Path) -> Iterator[AirflowServices]:
    folder = tmp_path / "dags"
    folder.mkdir()
    for name in ("workflows.py", "definition_errors.py"):
        shutil.copy(ROOT / "dags" / name, folder)
    environment = {
        "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": embedded_database,
        "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR": str(snapshot_file.parent),
        # A DAG that is missing from one parse goes stale at once.
        "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
        "PYTHONPATH": str(ROOT),
    }
    store(good_rows())
    with AirflowServices(tmp_path / "airflow", folder, environment, components=("api-server", "dag-processor")) as services:
        yield services


def test_what_a_person_sees(airflow: AirflowServices) -> None:
    def errors() -> list[str]:
        return [error["stack_trace"] for error in airflow.rest("GET", "/importErrors")["import_errors"]]

    def wait_for_error(text: str) -> None:
        airflow.wait_for(
            lambda: any(text in error for error in errors()), 120, f"the error {text!r}", explain=lambda: str(errors())
        )

    def parsed_again() -> None:
        """Wait until the file of the DAGs was parsed from begin to end after now."""
        times = {airflow.rest("GET", "/dags/calendar")["last_parsed_time"]}

        def twice() -> bool:
            times.add(airflow.rest("GET", "/dags/calendar")["last_parsed_time"])
            return len(times) > 2

        airflow.wait_for(twice, 120, "two parses")

    def stale(dag_id: str) -> Any:
        return airflow.rest("GET", f"/dags/{dag_id}")["is_stale"]

    airflow.wait_for_dag("daily_sales")
    airflow.wait_for_dag("calendar")
    assert errors() == []
    airflow.trigger("daily_sales", "Batch_1", {"start_task_id": "stg_orders", "country": "AT"})
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        airflow.trigger("daily_sales", "Batch_2", {"scope": "all"})

    broken = good_rows()
    broken.depend("refresh_daily_sales", "load_orders")
    store(broken)
    wait_for_error("archive_orders → refresh_daily_sales → load_orders → archive_orders")
    parsed_again()
    assert (len(errors()), stale("daily_sales"), stale("calendar")) == (1, False, False)

    with write_session() as session:
        delete_workflows(session, ["daily_sales", "calendar"])
    wait_for_error("2 of 2 workflows are gone from the table at once")
    parsed_again()
    assert (len(errors()), stale("daily_sales"), stale("calendar")) == (1, False, False)

    store(good_rows())
    airflow.wait_for(lambda: not errors(), 120, "no error", explain=lambda: str(errors()))
    parsed_again()
    for dag_id in ("daily_sales", "calendar"):
        versions = airflow.rest("GET", f"/dags/{dag_id}/dagVersions")["dag_versions"]
        assert [version["version_number"] for version in versions] == [1]

    with write_session() as session:
        delete_workflows(session, ["calendar"])
    airflow.wait_for(lambda: stale("calendar"), 120, "the deleted workflow's DAG to go")
    assert not stale("daily_sales")
    assert errors() == []
    assert "Error when trying to pre-import module" not in airflow.log("dag-processor")


def test_no_healthy_workflow_goes_stale_whatever_is_done_to_others(airflow: AirflowServices, embedded_database: str) -> None:
    healthy = Rows()
    for number in range(300):
        healthy.workflows.append({"workflow_id": f"healthy_{number}"})
        for task in ("a", "b"):
            row = {"task_id": f"h{number}_{task}", "workflow_id": f"healthy_{number}", "task_type": "dataform"}
            healthy.tasks.append({**row, "config": dict(DATAFORM)})
        healthy.depend(f"h{number}_a", f"h{number}_b")
    store(healthy)

    def parsed_times() -> dict[str, str]:
        found: dict[str, str] = {}
        for offset in range(0, 400, 100):
            page = airflow.rest("GET", f"/dags?dag_id_pattern=healthy_&limit=100&offset={offset}&exclude_stale=true")["dags"]
            found |= {dag["dag_id"]: dag["last_parsed_time"] for dag in page}
        return found

    def parsed_by_all(times: int) -> None:
        for _ in range(times):
            before = parsed_times()

            def parsed(before: dict[str, str] = before) -> bool:
                return all(now != before.get(dag) for dag, now in parsed_times().items())

            airflow.wait_for(parsed, 300, "a parse")

    airflow.wait_for(lambda: len(parsed_times()) == 300, 300, "300 DAGs")
    broken = good_rows()
    broken.depend("refresh_daily_sales", "load_orders")
    for strike in (
        lambda: store(broken),
        lambda: _sql(embedded_database, "DELETE FROM task_dependencies"),
        lambda: _sql(embedded_database, "DELETE FROM workflows WHERE workflow_id IN ('daily_sales', 'calendar')"),
        lambda: _sql(embedded_database, "DELETE FROM workflows WHERE workflow_id > 'healthy_1'"),
        lambda: store(healthy),
    ):
        strike()
        parsed_by_all(3)
        assert len(parsed_times()) == 300


def _sql(url: str, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)) as connection:
        connection.execute(statement)
        connection.commit()
