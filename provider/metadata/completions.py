"""What messages say of tasks whose work is done elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider.metadata.request_queue import DISPATCHED, RECEIVED, RECORDED, REJECTED

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

TaskKey = tuple[str, str, str]
"""(workflow_id, batch_id, task_id)."""

_KEYS_AT_ONCE = 200


@dataclass(frozen=True)
class Completion:
    """
    The latest news of a task.

    :param id: of its request; a later one is larger.
    :param status: ``SUCCESS`` or ``ERROR``, and ``error`` why.
    """

    id: int
    message_id: str
    status: str
    error: str | None


def latest_completion(session: Session, key: TaskKey) -> Completion | None:
    """Return what was last said of a task in a batch; None where nothing was."""
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    columns = (BatchRequest.id, BatchRequest.message_id, BatchRequest.status, BatchRequest.error)
    workflow_id, batch_id, task_id = key
    row = session.execute(
        select(*columns)
        .where(
            BatchRequest.workflow_id == workflow_id,
            BatchRequest.batch_id == batch_id,
            BatchRequest.task_id == task_id,
            *_told(),
        )
        .order_by(BatchRequest.id.desc())
        .limit(1)
    ).first()
    return None if row is None else Completion(row.id, row.message_id, row.status or "", row.error)


def latest_copy(session: Session, key: TaskKey, request_id: int) -> int:
    """Return the id of the last request that says of the task the very same as an earlier one, which may be that one itself."""
    from sqlalchemy import func, select

    from provider.metadata.tables import BatchRequest

    workflow_id, batch_id, task_id = key
    said = select(BatchRequest.content_hash).where(BatchRequest.id == request_id).scalar_subquery()
    statement = select(func.max(BatchRequest.id)).where(
        BatchRequest.workflow_id == workflow_id,
        BatchRequest.batch_id == batch_id,
        BatchRequest.task_id == task_id,
        BatchRequest.content_hash == said,
        *_told(),
    )
    return session.scalar(statement) or request_id


def latest_ids(session: Session, keys: Collection[TaskKey]) -> dict[TaskKey, int]:
    """Return task → id of the latest news of it, for those of which there is any."""
    from sqlalchemy import func, select, tuple_

    from provider.metadata.tables import BatchRequest

    columns = (BatchRequest.workflow_id, BatchRequest.batch_id, BatchRequest.task_id)
    found: dict[TaskKey, int] = {}
    for chunk in _chunks(sorted(keys)):
        statement = select(*columns, func.max(BatchRequest.id)).where(tuple_(*columns).in_(chunk), *_told()).group_by(*columns)
        found |= {(str(row[0]), str(row[1]), str(row[2])): row[3] for row in session.execute(statement)}
    return found


def _told() -> tuple[ColumnElement[bool], ...]:
    """Select news of tasks that exist; it is news, too, where the batch that it was to start was refused."""
    from provider.metadata.tables import BatchRequest

    return BatchRequest.kind == "completion", BatchRequest.state.in_((RECEIVED, DISPATCHED, RECORDED, REJECTED))


def _chunks(keys: list[TaskKey]) -> Iterator[list[TaskKey]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[start : start + _KEYS_AT_ONCE]
