"""BigQuery and Cloud Storage, with tables and objects for loads and queries."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provider.operators.bigquery import BigQueryLoadOperator
from provider.operators.bigquery_query import BigQueryQueryOperator
from tests.bigquery_front import Job
from tests.google_servers import LOCATION, PROJECT, GoogleServers
from tests.provider.operators.killed_try import KillableTask
from tests.waiting import wait_for

NUMBERS = itertools.count(1)


LOAD: dict[str, Any] = {
    "bucket": "landing",
    "source_objects": ["orders/*.csv"],
    "schema_fields": [{"name": "id", "type": "INTEGER"}, {"name": "country", "type": "STRING"}],
    "skip_leading_rows": 1,
    "write_disposition": "WRITE_APPEND",
    "location": LOCATION,
    "poll_interval": 0.1,
    "deferrable": False,
}


QUERY: dict[str, Any] = {"location": LOCATION, "poll_interval": 0.1, "deferrable": False}


INSERT = "*/projects/demo-project/jobs"


TWO_FILES = {"orders/a.csv": "id,country\n1,de\n2,at\n", "orders/b.csv": "id,country\n3,de\n"}


class World:
    """The servers, with a dataset of the test's own."""

    def __init__(self, servers: GoogleServers, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.front = servers.bigquery
        self.dataset = f"raw_{next(NUMBERS)}"
        servers.bigquery_client().create_dataset(self.dataset)

    def task(self, operator: Callable[..., Any], /, **arguments: Any) -> KillableTask:
        return KillableTask(operator, arguments, self.folder, run_id=f"{self.dataset}_{next(NUMBERS)}")

    def load(self, **changes: Any) -> KillableTask:
        table = {"destination_project_dataset_table": f"{PROJECT}.{self.dataset}.orders"}
        return self.task(BigQueryLoadOperator, **{**LOAD, **table, **changes})

    def query(self, sql: str, **changes: Any) -> KillableTask:
        return self.task(BigQueryQueryOperator, sql=sql.replace("$", f"`{PROJECT}.{self.dataset}`."), **{**QUERY, **changes})

    def jobs(self, task: KillableTask) -> list[Job]:
        """Return the jobs that the server took of a task instance, in their order."""
        return [job for job in self.front.jobs.values() if job.job_id.split("_")[3] == digest(task)]

    def rows(self, table: str = "orders") -> list[tuple[Any, ...]]:
        found = self.servers.select(f"SELECT * FROM `{PROJECT}.{self.dataset}.{table}`")
        return sorted(tuple(row.values()) for row in found)

    def wait_for_job(self, task: KillableTask) -> Job:
        return wait_for_any(lambda: next(reversed(self.jobs(task)), None))

    def wait_for_end(self, task: KillableTask) -> Job:
        return wait_for_any(lambda: next((job for job in self.jobs(task) if job.state == "DONE"), None))


def wait_for_any(find: Callable[[], Job | None]) -> Job:
    job = wait_for(find, 60)
    assert job is not None, "no such job"
    return job


def digest(task: KillableTask) -> str:
    from provider.operators.bigquery_jobs import job_name

    return job_name({"ti": task.ti}).split("_")[3]  # type: ignore[typeddict-item]
