"""Rows of good workflows to break, and what Airflow does with the result."""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows

DATAFORM = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}


@dataclass
class Rows:
    """Rows that a test changes before it uses them."""

    workflows: list[Any] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    dependencies: list[Any] = field(default_factory=list)

    def workflow(self, workflow_id: str) -> dict[str, Any]:
        return next(row for row in self.workflows if row["workflow_id"] == workflow_id)

    def task(self, task_id: str) -> dict[str, Any]:
        return next(row for row in self.tasks if row["task_id"] == task_id)

    def depend(self, parent: Any, child: Any) -> None:
        self.dependencies.append({"parent_id": parent, "child_id": child})

    def definitions(self) -> DefinitionRows:
        return DefinitionRows(*copy.deepcopy((self.workflows, self.tasks, self.dependencies)))

    def only(self, *workflow_ids: str) -> Rows:
        tasks = [row for row in self.tasks if row["workflow_id"] in workflow_ids]
        ids = {row["task_id"] for row in tasks}
        return Rows(
            [row for row in self.workflows if row["workflow_id"] in workflow_ids],
            tasks,
            [row for row in self.dependencies if row["child_id"] in ids],
        )


def good_rows() -> Rows:
    """Two workflows: a diamond of all task types, and a scheduled task."""
    rows = Rows(
        [
            {
                "workflow_id": "daily_sales",
                "description": "Sales of the day",
                "timezone": "Europe/Berlin",
                "owner": "sales",
                "tags": ["sales", "daily"],
                "max_active_batches": 4,
                "default_args": {"retries": 5, "pool": "sales"},
                "params": [
                    {"name": "country", "type": "string", "default": "DE", "enum": ["DE", "AT"]},
                    {"name": "from_day", "type": "string", "format": "date"},
                ],
            },
            {"workflow_id": "calendar", "schedule": "0 5 * * *", "start_date": "2026-01-01", "timezone": "Europe/Berlin"},
        ],
        [
            {
                "task_id": "load_orders",
                "workflow_id": "daily_sales",
                "task_type": "bigquery_load",
                "config": {
                    "bucket": "landing",
                    "source_objects": ["{{ params.country }}/orders.sql"],
                    "destination_table": "raw.orders",
                },
            },
            {
                "task_id": "stg_orders",
                "workflow_id": "daily_sales",
                "task_type": "dataform",
                "config": {**DATAFORM, "vars": {"day": "{{ batch_date }}", "batch": "{{ batch_id }}"}},
                "retries": 1,
                "doc": "Cleans the orders.",
            },
            {
                "task_id": "archive_orders",
                "workflow_id": "daily_sales",
                "task_type": "gcs_archive",
                "config": {
                    "source_bucket": "landing",
                    "source_prefix": "orders/",
                    "destination_prefix": "archive/{{ workflow_id }}/{{ task_id }}/{{ batch_date }}/",
                },
                "on_parent_skip": "run",
                "timeout_seconds": 600,
            },
            {
                "task_id": "refresh_daily_sales",
                "workflow_id": "daily_sales",
                "task_type": "power_bi_refresh",
                "config": {"workspace": "Sales", "semantic_model": "Daily Sales", "refresh": {"type": "full"}},
                "priority": 7,
            },
            {"task_id": "dim_date", "workflow_id": "calendar", "task_type": "dataform", "config": dict(DATAFORM)},
        ],
    )
    rows.depend("load_orders", "stg_orders")
    rows.depend("load_orders", "archive_orders")
    rows.depend("stg_orders", "refresh_daily_sales")
    rows.depend("archive_orders", "refresh_daily_sales")
    return rows


def store(rows: Rows) -> None:
    """Make the tables hold these workflows, whatever they say, and leave others alone."""
    with write_session() as session:
        replace_workflows(session, rows.definitions())


def template_context(
    dag: Any, task_id: str, *, run_id: str, run_after: datetime, conf: dict[str, Any] | None = None, map_index: int = -1
) -> Any:
    """Return the context that Airflow's task runner makes for a task of a run without a logical date."""
    from airflow.sdk.api.datamodels._generated import DagRun, DagRunState, DagRunType, TIRunContext
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    dag_run = DagRun(
        dag_id=dag.dag_id,
        run_id=run_id,
        logical_date=None,
        data_interval_start=None,
        data_interval_end=None,
        run_after=run_after,
        start_date=run_after,
        end_date=None,
        run_type=DagRunType.OPERATOR_TRIGGERED,
        state=DagRunState.RUNNING,
        conf=conf,
        consumed_asset_events=[],
        partition_key=None,
    )
    task_instance: Any = RuntimeTaskInstance  # not every field is needed
    ti = task_instance.model_construct(
        id=uuid.uuid4(),
        task=dag.get_task(task_id),
        task_id=task_id,
        dag_id=dag.dag_id,
        run_id=run_id,
        try_number=1,
        map_index=map_index,
        start_date=datetime.now(tz=UTC),
        _ti_context_from_server=TIRunContext(dag_run=dag_run, max_tries=0),
    )
    ti._ti_context_from_server = TIRunContext(dag_run=dag_run, max_tries=0)
    return ti.get_template_context()
