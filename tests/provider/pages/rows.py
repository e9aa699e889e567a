"""Rows of batches and tries for the tests of the pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from provider.metadata.engine import write_session
from provider.metadata.record_tables import TaskBatch, TaskLog

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)


def batch(batch_id: str, workflow_id: str = "daily_sales", *, minute: float = 0, **values: Any) -> dict[str, Any]:
    """Return a row that ended in success."""
    at = AT + timedelta(minutes=minute)
    ends = {"started_at": at, "ended_at": at + timedelta(minutes=5), "end_cause": "task", "ended_by": None}
    nothing = {
        "start_task_ids": None,
        "scope": "workflow",
        "scope_task_ids": None,
        "params": None,
        "message_id": None,
        "error": None,
    }
    key = {"workflow_id": workflow_id, "batch_id": batch_id, "status": "SUCCESS", "source": "message"}
    return {**nothing, **ends, **key, "created_at": at, "run_after": at, "updated_at": at, **values}


def log(task_id: str, batch_id: str, workflow_id: str = "daily_sales", **values: Any) -> dict[str, Any]:
    """Return a try that ended in success."""
    ends = {"started_at": AT, "ended_at": AT + timedelta(minutes=1), "end_cause": "task", "ended_by": None}
    nothing = {"error_type": None, "error_message": None, "remote_job_id": None, "remote_job_url": None, "config": None}
    key = {"workflow_id": workflow_id, "batch_id": batch_id, "task_id": task_id, "map_index": -1, "try_number": 1}
    state = {"status": "SUCCESS", "airflow_state": "success", "row_source": "reconciler", "updated_at": AT}
    return {**nothing, **ends, **key, **state, **values}


def store(*rows: dict[str, Any], url: str | None = None) -> None:
    """Store rows of batches and of tries, by default in the configured database."""
    with write_session(url) as session:
        for model in (TaskBatch, TaskLog):
            those = [row for row in rows if ("task_id" in row) == (model is TaskLog)]
            if those:
                session.execute(insert(model), those)
