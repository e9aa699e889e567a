"""What messages say of tasks whose work is done elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.orm import Session

from provider.metadata.rows import Completion, TaskKey
from provider.metadata.states import DISPATCHED, RECEIVED, RECORDED, REJECTED
from provider.metadata.tables import BatchRequest
from provider.texts import chunks

_KEYS_AT_ONCE = 200


def latest_completion(session: Session, key: TaskKey) -> Completion | None:
    """Return what was last said of a task in a batch; None where nothing was."""
    columns = (BatchRequest.id, BatchRequest.message_id, BatchRequest.status, BatchRequest.error)
    row = session.execute(select(*columns).where(_is_news_of(key)).order_by(BatchRequest.id.desc()).limit(1)).first()
    return None if row is None else Completion(row.id, row.message_id, row.status or "", row.error)


def latest_copy(session: Session, key: TaskKey, request_id: int) -> int:
    """Return the id of the last request that says of the task the very same as an earlier one, which may be that one itself."""
    said = select(BatchRequest.content_hash).where(BatchRequest.id == request_id).scalar_subquery()
    statement = select(func.max(BatchRequest.id)).where(_is_news_of(key), BatchRequest.content_hash == said)
    return session.scalar(statement) or request_id


def latest_ids(session: Session, keys: Collection[TaskKey]) -> dict[TaskKey, int]:
    """Return task → id of the latest news of it, for those of which there is any."""
    columns = (BatchRequest.workflow_id, BatchRequest.batch_id, BatchRequest.task_id)
    found: dict[TaskKey, int] = {}
    for chunk in chunks(keys, _KEYS_AT_ONCE):
        statement = select(*columns, func.max(BatchRequest.id)).where(tuple_(*columns).in_(chunk), _is_news()).group_by(*columns)
        found |= {(str(row[0]), str(row[1]), str(row[2])): row[3] for row in session.execute(statement)}
    return found


def _is_news_of(key: TaskKey) -> ColumnElement[bool]:
    workflow_id, batch_id, task_id = key
    return and_(
        BatchRequest.workflow_id == workflow_id,
        BatchRequest.batch_id == batch_id,
        BatchRequest.task_id == task_id,
        _is_news(),
    )


def _is_news() -> ColumnElement[bool]:
    """Select news of tasks that exist; it is news, too, where the batch that it was to start was refused."""
    told = (RECEIVED, DISPATCHED, RECORDED, REJECTED)
    return and_(BatchRequest.kind == "completion", BatchRequest.state.in_(told))
