"""Looking up TaskBatch and TaskLog rows for people: whole rows, timestamps with their zone."""

from __future__ import annotations

from typing import cast

from sqlalchemy import func, nulls_last, select
from sqlalchemy.orm import Session

from provider.metadata.record_tables import TaskBatch, TaskLog
from provider.metadata.renaming import names_of
from provider.metadata.rows import StoredTaskBatch, StoredTaskLog


def newest_batches(
    session: Session, *, workflow_id: str | None = None, earlier: bool = False, status: str | None = None, limit: int
) -> list[StoredTaskBatch]:
    """
    Return batches, newest first.

    :param workflow_id: only batches of this workflow.
    :param earlier: also those of the names that it had before.
    :param status: only batches with this TaskBatch status.
    :param limit: largest number of batches.
    """
    statement = select(TaskBatch.__table__)
    if workflow_id is not None:
        statement = statement.where(TaskBatch.workflow_id.in_(_names(session, workflow_id, earlier=earlier)))
    if status is not None:
        statement = statement.where(TaskBatch.status == status)
    # The key as well, so that batches of one moment keep their order.
    statement = statement.order_by(TaskBatch.created_at.desc(), TaskBatch.workflow_id, TaskBatch.batch_id).limit(limit)
    return [cast("StoredTaskBatch", dict(row)) for row in session.execute(statement).mappings()]


def batches_with_id(
    session: Session, batch_id: str, workflow_id: str | None = None, *, earlier: bool = False
) -> list[StoredTaskBatch]:
    """
    Return the batches with this id, one at most for each workflow.

    :param workflow_id: only that of this workflow.
    :param earlier: also those of the names that it had before.
    """
    statement = select(TaskBatch.__table__).where(TaskBatch.batch_id == batch_id).order_by(TaskBatch.workflow_id)
    if workflow_id is not None:
        statement = statement.where(TaskBatch.workflow_id.in_(_names(session, workflow_id, earlier=earlier)))
    return [cast("StoredTaskBatch", dict(row)) for row in session.execute(statement).mappings()]


def _names(session: Session, workflow_id: str, *, earlier: bool) -> list[str]:
    return names_of(session, workflow_id) if earlier else [workflow_id]


def task_logs_of(session: Session, workflow_id: str, batch_id: str, *, limit: int | None = None) -> list[StoredTaskLog]:
    """
    Return the TaskLog rows of a batch: in the order in which the tasks first started, those not started last.

    :param limit: largest number of rows; None for all.
    """
    first_start = func.min(TaskLog.started_at).over(partition_by=(TaskLog.task_id, TaskLog.map_index))
    statement = (
        select(TaskLog.__table__)
        .where(TaskLog.workflow_id == workflow_id, TaskLog.batch_id == batch_id)
        .order_by(nulls_last(first_start), TaskLog.task_id, TaskLog.map_index, TaskLog.try_number)
        .limit(limit)
    )
    return [cast("StoredTaskLog", dict(row)) for row in session.execute(statement).mappings()]
