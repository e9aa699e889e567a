"""Rows of a batch, as processes of tasks leave them and as the reconciler makes them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from provider.metadata import batches, task_logs
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import TaskBatch, TaskLog
from provider.run_conf import Scope

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)


def open_batch(*task_ids: str, **values: Any) -> None:
    """Open it in a transaction of its own; see :func:`open_batch_in`."""
    with write_session() as session:
        open_batch_in(session, *task_ids, **values)


def open_batch_in(
    session: Session, *task_ids: str, scope: list[str] | None = None, disabled: Collection[str] = (), run_after: datetime = AT
) -> None:
    requested = Scope(scope, "downstream", scope) if scope else Scope(None, "workflow", None)
    batches.open_batch(
        session,
        "sales",
        "b1",
        run_after=run_after,
        requested=requested,
        source="manual",
        params={},
        message_id=None,
        all_task_ids=task_ids,
        disabled=disabled,
    )


def provisional(task_id: str, status: str, try_number: int = 1, **values: Any) -> None:
    row: Any = {
        "workflow_id": "sales",
        "batch_id": "b1",
        "task_id": task_id,
        "map_index": -1,
        "try_number": try_number,
        "status": status,
        "airflow_state": None,
        "started_at": AT,
        "ended_at": None,
        "error_type": None,
        "error_message": None,
        "end_cause": None,
        "ended_by": None,
        "remote_job_id": None,
        "remote_job_url": None,
        "row_source": "task",
        **values,
    }
    with write_session() as session:
        task_logs.record_tries(session, [row], authoritative=False)


def logs() -> dict[tuple[str, int, int], tuple[str, str | None]]:
    """Return every row but that of start_batch: key → status, error message."""
    with read_session() as session:
        rows = session.query(TaskLog).filter(TaskLog.task_id != "start_batch")
        return {(log.task_id, log.map_index, log.try_number): (log.status, log.error_message) for log in rows}


def statuses() -> dict[tuple[str, int, int], str]:
    return {key: status for key, (status, _message) in logs().items()}


def batch(run_id: str = "b1") -> TaskBatch:
    with read_session() as session:
        found = session.get(TaskBatch, ("sales", run_id))
        assert found is not None
        return found
