"""Queries of the pages: batches and requests page by page, as far as a person may see them, at a cost that has a bound."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from provider.metadata.record_tables import TaskBatch, TaskLog
from provider.metadata.renaming import names_of
from provider.metadata.rows import BatchKey
from provider.metadata.tables import BatchRequest

#: A text is searched in so many of the newest rows that the other filters let through.
SEARCHED = 100_000

#: created_at, workflow_id and batch_id of a batch: its place in the list.
Place = tuple[datetime, str, str]

_KEY = (TaskBatch.created_at, TaskBatch.workflow_id, TaskBatch.batch_id)
_COLUMNS: tuple[Any, ...] = (
    *_KEY,
    *(TaskBatch.status, TaskBatch.source, TaskBatch.scope, TaskBatch.started_at, TaskBatch.ended_at),
    *(TaskBatch.end_cause, TaskBatch.ended_by, TaskBatch.error),
)


@dataclass(frozen=True)
class BatchFilter:
    """
    Which batches are asked for.

    :param visible: only batches of these workflows; None for all.
    :param statuses: only batches in one of these; empty for all.
    :param text: only batches whose id holds it, in whatever case.
    :param since: only batches created then or later.
    :param until: only batches created before.
    """

    visible: Collection[str] | None = None
    workflow_id: str | None = None
    statuses: Collection[str] = ()
    source: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Page:
    """
    One page of a list, newest first.

    :param more: whether there are further rows in the direction that was asked for.
    """

    rows: Sequence[Mapping[str, Any]]
    more: bool


def page_of_batches(
    session: Session, wanted: BatchFilter, *, limit: int, after: Place | None = None, before: Place | None = None
) -> Page:
    """
    Return batches, newest first.

    Pages hang on the places of rows and not on their numbers, so that they stay what they are while batches come.

    :param after: begin after this place, with older batches.
    :param before: end before this place, with newer batches; only one of the two.
    """
    conditions = _conditions(session, wanted)
    if after is not None:
        conditions.append(_beyond(after, older=True))
    if before is not None:
        conditions.append(_beyond(before, older=False))
    order = [column.asc() if before is not None else column.desc() for column in _KEY]
    statement = select(*_COLUMNS).where(*conditions).order_by(*order)
    if wanted.text:
        nearest = statement.limit(SEARCHED).subquery()
        columns = [nearest.c[column.key] for column in _KEY]
        order = [column.asc() if before is not None else column.desc() for column in columns]
        statement = select(nearest).where(nearest.c.batch_id.icontains(wanted.text, autoescape=True)).order_by(*order)
    rows = [dict(row) for row in session.execute(statement.limit(limit + 1)).mappings()]
    page = rows[:limit]
    return Page(page if before is None else page[::-1], len(rows) > limit)


def _conditions(session: Session, wanted: BatchFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.visible is not None:
        conditions.append(TaskBatch.workflow_id.in_(wanted.visible))
    if wanted.workflow_id:
        conditions.append(TaskBatch.workflow_id.in_(names_of(session, wanted.workflow_id)))
    if wanted.statuses:
        conditions.append(TaskBatch.status.in_(wanted.statuses))
    if wanted.source:
        conditions.append(TaskBatch.source == wanted.source)
    if wanted.since is not None:
        conditions.append(TaskBatch.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(TaskBatch.created_at < wanted.until)
    return conditions


def _beyond(place: Place, *, older: bool) -> ColumnElement[bool]:
    """Select what is beyond a place; the first part alone finds its way by the index."""
    created_at, workflow_id, batch_id = place

    def past(column: Any, value: Any) -> ColumnElement[bool]:
        found: ColumnElement[bool] = column < value if older else column > value
        return found

    same_workflow = and_(TaskBatch.workflow_id == workflow_id, past(TaskBatch.batch_id, batch_id))
    same_moment = and_(TaskBatch.created_at == created_at, or_(past(TaskBatch.workflow_id, workflow_id), same_workflow))
    reached = TaskBatch.created_at <= created_at if older else TaskBatch.created_at >= created_at
    return and_(reached, or_(past(TaskBatch.created_at, created_at), same_moment))


def task_counts(session: Session, batches: Collection[BatchKey]) -> dict[BatchKey, dict[str, int]]:
    """Return, of each batch, how many of its tasks are in which status by their last try: one query by key."""
    if not batches:
        return {}
    instance = (TaskLog.workflow_id, TaskLog.batch_id, TaskLog.task_id, TaskLog.map_index)
    turn = func.row_number().over(partition_by=instance, order_by=TaskLog.try_number.desc()).label("turn")
    tries = (
        select(TaskLog.workflow_id, TaskLog.batch_id, TaskLog.status, turn)
        .where(tuple_(TaskLog.workflow_id, TaskLog.batch_id).in_(list(batches)))
        .subquery()
    )
    key = (tries.c.workflow_id, tries.c.batch_id, tries.c.status)
    found: dict[BatchKey, dict[str, int]] = {}
    for workflow_id, batch_id, status, count in session.execute(
        select(*key, func.count()).where(tries.c.turn == 1).group_by(*key)
    ):
        found.setdefault((workflow_id, batch_id), {})[status] = count
    return found


@dataclass(frozen=True)
class RequestFilter:
    """
    Which requests are asked for.

    :param visible: only requests for these workflows; None for all, those for none included.
    :param states: only requests in one of these.
    :param text: only requests of which message id, batch id, task id or reason holds it, in whatever case.
    """

    visible: Collection[str] | None = None
    states: Collection[str] = ()
    workflow_id: str | None = None
    batch_id: str | None = None
    text: str | None = None


_OF_A_REQUEST = (
    *("id", "kind", "state", "message_id", "workflow_id", "batch_id", "task_id", "status", "reason"),
    *("received_at", "dispatched_at"),
)


def page_of_requests(session: Session, wanted: RequestFilter, *, limit: int, after: int | None = None) -> Page:
    """
    Return requests as a list shows them, newest first: what a message may hold much of is shown of one alone.

    :param after: begin after this id, with older requests.
    """
    statement = select(*(BatchRequest.__table__.columns[name] for name in _OF_A_REQUEST))
    if wanted.visible is not None:
        statement = statement.where(BatchRequest.workflow_id.in_(wanted.visible))
    if wanted.states:
        statement = statement.where(BatchRequest.state.in_(wanted.states))
    if wanted.workflow_id:
        statement = statement.where(BatchRequest.workflow_id == wanted.workflow_id)
    if wanted.batch_id:
        statement = statement.where(BatchRequest.batch_id == wanted.batch_id)
    if after is not None:
        statement = statement.where(BatchRequest.id < after)
    if wanted.text:
        newest = after if after is not None else (session.scalar(select(func.max(BatchRequest.id))) or 0)
        columns = (BatchRequest.message_id, BatchRequest.batch_id, BatchRequest.task_id, BatchRequest.reason)
        holds = or_(*(column.icontains(wanted.text, autoescape=True) for column in columns))
        statement = statement.where(BatchRequest.id > newest - SEARCHED, holds)
    found = session.execute(statement.order_by(BatchRequest.id.desc()).limit(limit + 1)).mappings()
    rows = [dict(row) for row in found]
    return Page(rows[:limit], len(rows) > limit)
