"""
The defects of the Google provider's transfers, and the same scenario with ours, on the same servers.

A retry is a second try of the same task instance, whose first one did its work and was then lost with its process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator
from airflow.sdk.exceptions import AirflowException

from provider.exceptions import RemoteJobError
from provider.operators.bigquery import BigQueryLoadOperator
from provider.operators.gcs import GCSArchiveOperator
from tests.google_servers import LOCATION, PROJECT, GoogleServers
from tests.provider.operators.killed_try import KillableTask

NUMBERS = itertools.count(1)
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
FILE = {"orders/a.csv": "id\n1\n2\n"}

Try = Callable[[], Any]


class Load:
    """A load of two rows into a table of its own, by either side."""

    def __init__(self, servers: GoogleServers, folder: Path) -> None:
        self._servers, self._folder = servers, folder
        self._dataset = f"transfers_{next(NUMBERS)}"
        servers.bigquery_client().create_dataset(self._dataset)
        servers.put("landing", FILE)
        self._arguments: dict[str, Any] = {
            "bucket": "landing",
            "source_objects": ["orders/*.csv"],
            "destination_project_dataset_table": f"{PROJECT}.{self._dataset}.orders",
            "schema_fields": [{"name": "id", "type": "INTEGER"}],
            "skip_leading_rows": 1,
            "write_disposition": "WRITE_APPEND",
        }

    def ours(self) -> Try:
        """Return what makes the next try of our task."""
        arguments = {**self._arguments, "location": LOCATION, "poll_interval": 0.1, "deferrable": False}
        task = KillableTask(BigQueryLoadOperator, arguments, self._folder, run_id=self._dataset)
        return task.run

    def theirs(self, **changes: Any) -> Try:
        """Return what makes the next try of theirs."""

        def one_try() -> Any:
            operator = GCSToBigQueryOperator(task_id="load", project_id=PROJECT, **self._arguments, **changes)
            return operator.execute(context(self._dataset))

        return one_try

    def rows(self) -> int:
        return len(self._servers.select(f"SELECT * FROM `{PROJECT}.{self._dataset}.orders`"))


def context(run_id: str) -> Any:
    """Return of a task's context what their operators use."""
    ti = SimpleNamespace(dag_id="peer", run_id=run_id, task_id="load", map_index=-1, try_number=1, xcom_push=lambda **_: None)
    dag_run = SimpleNamespace(run_id=run_id, start_date=STARTED_AT, run_after=STARTED_AT, logical_date=STARTED_AT)
    return {"ti": ti, "task_instance": ti, "dag_run": dag_run, "logical_date": STARTED_AT, "run_id": run_id}


@pytest.fixture
def load(google_servers: GoogleServers, tmp_path: Path) -> Load:
    return Load(google_servers, tmp_path)


def test_defect_a_retry_loads_again_peer(load: Load) -> None:
    one_try = load.theirs()
    one_try()
    one_try()
    assert load.rows() == 4, "the peer no longer loads twice: say so in the documentation"


def test_defect_a_retry_loads_again_ours(load: Load) -> None:
    one_try = load.ours()
    one_try()
    one_try()
    assert load.rows() == 2


def test_defect_a_job_that_is_done_fails_the_retry_peer(load: Load) -> None:
    one_try = load.theirs(force_rerun=False, reattach_states={"PENDING", "RUNNING", "DONE"})
    one_try()
    with pytest.raises(AirflowException, match="already in state DONE"):
        one_try()


def test_defect_a_job_that_is_done_fails_the_retry_ours(load: Load) -> None:
    one_try = load.ours()
    first = one_try()
    assert one_try() == first


def test_defect_a_missing_source_succeeds_peer(google_servers: GoogleServers) -> None:
    google_servers.put("landing", FILE)
    operator = GCSToGCSOperator(
        task_id="move",
        source_bucket="landing",
        source_object="orders/missing.csv",
        destination_bucket="landing",
        move_object=True,
    )
    assert operator.execute(context("missing")) in (None, [])


def test_defect_a_missing_source_succeeds_ours(google_servers: GoogleServers, tmp_path: Path) -> None:
    google_servers.put("landing", FILE)
    arguments = {"source_bucket": "landing", "source_object": "orders/missing.csv", "destination_object": "old/missing.csv"}
    with pytest.raises((RemoteJobError, AirflowException), match="missing.csv"):
        KillableTask(GCSArchiveOperator, arguments, tmp_path, run_id="missing").run()
