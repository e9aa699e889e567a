"""
The inbox as a queue: which requests are due, who has claimed them, how they end.

A request is started once by whoever claimed it; a claim runs out, so that a request whose claimer died is taken up by the
next one. Of each workflow no more requests are handed out than it may have batches at once; the others wait their turn.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from provider.metadata.advisory_locks import AdvisoryLock
from provider.metadata.batches import NEW, PROCESSING

if TYPE_CHECKING:
    from sqlalchemy import CTE, ColumnElement
    from sqlalchemy.orm import Session

RECEIVED, DISPATCHED, RECORDED, DUPLICATE, REJECTED = "received", "dispatched", "recorded", "duplicate", "rejected"
STATES = (RECEIVED, DISPATCHED, RECORDED, DUPLICATE, REJECTED)

WORKFLOW_DISABLED = (
    "waits: its workflow is disabled (enabled = false in table workflows); the request starts once the workflow is enabled."
)
"""The visible reason of a request whose workflow is switched off."""

WORKFLOW_FULL = "waits: as many batches of its workflow run as it may have at once (max_active_batches in table workflows)."
"""The visible reason of a request that waits for the end of another batch."""

CLAIM_SECONDS = 120.0
"""How long a claimed request is left to its claimer. Starting it twice would do no harm, but is work for nothing."""

UNSEEN_SECONDS = 600.0
"""How long a started batch counts as running before Airflow's state of it has been seen: its run may be gone again."""

FIRST_BACKOFF_SECONDS = 5.0
LAST_BACKOFF_SECONDS = 300.0


@dataclass(frozen=True)
class WaitingRequest:
    """
    A claimed request: what is needed to start its batch.

    :param kind: ``start``, ``completion`` or ``file``.
    :param task_id: the task that the message names; None for a file.
    :param start_task_ids: where the batch starts; None for the whole workflow.
    """

    id: int
    kind: str
    message_id: str
    workflow_id: str
    batch_id: str
    task_id: str | None
    start_task_ids: list[str] | None
    scope: str
    params: dict[str, Any]
    attempts: int


def waiting(session: Session) -> datetime | None:
    """Return when the next request can be started, in the past for one that can be now; None where nothing or nobody may."""
    from sqlalchemy import func, or_, select

    from provider.metadata.tables import BatchRequest

    room = _room()
    statement = (
        select(func.min(func.coalesce(BatchRequest.next_attempt_at, BatchRequest.received_at)))
        .outerjoin(room, room.c.workflow_id == BatchRequest.workflow_id)
        .where(BatchRequest.state == RECEIVED, or_(room.c.free.is_(None), room.c.free > 0))
    )
    return session.scalar(statement)


def claim(session: Session, limit: int = 100, *, seconds: float = CLAIM_SECONDS) -> list[WaitingRequest]:
    """
    Claim requests that are due, oldest first; none of them is handed out again for some time.

    Of a workflow that is disabled, or has as many batches as it may have, none is claimed. Claims come one after another, or
    two dispatchers would both take a workflow's last free place.

    :param limit: how many at most.
    :param seconds: how long the claim holds.
    """
    from sqlalchemy import func, or_, select, update

    from provider.metadata.tables import BatchRequest

    if session.get_bind().dialect.name == "postgresql":  # on SQLite a transaction that writes is alone anyway
        session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.CLAIM.value)))
    now = datetime.now(UTC)
    room = _room(now)
    order = (BatchRequest.received_at, BatchRequest.id)
    turn = func.row_number().over(partition_by=BatchRequest.workflow_id, order_by=order)
    due = (
        select(*order, turn.label("turn"), room.c.free)
        .outerjoin(room, room.c.workflow_id == BatchRequest.workflow_id)
        .where(
            BatchRequest.state == RECEIVED,
            or_(BatchRequest.next_attempt_at.is_(None), BatchRequest.next_attempt_at <= now),
        )
        .subquery()
    )
    ids = session.scalars(
        select(due.c.id)
        .where(or_(due.c.free.is_(None), due.c.turn <= due.c.free))
        .order_by(due.c.received_at, due.c.id)
        .limit(limit)
    ).all()
    # Two statements: in one, PostgreSQL ranks anew for each request, as it expects one row where a moment ago there was none.
    columns = [getattr(BatchRequest, name) for name in WaitingRequest.__dataclass_fields__]
    rows = session.execute(
        select(*columns)
        .where(BatchRequest.id.in_(ids), BatchRequest.state == RECEIVED)
        .order_by(*order)
        .with_for_update(skip_locked=True)
    ).all()
    until = now + timedelta(seconds=seconds)
    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id.in_([row.id for row in rows]))
        .values(next_attempt_at=until, claimed_until=until)
        .execution_options(synchronize_session=False)
    )
    return [WaitingRequest(**{**row._mapping, "params": row.params or {}, "scope": row.scope or "workflow"}) for row in rows]


def unexplained(session: Session) -> bool:
    """Tell whether :func:`explain_waiting` has something to write."""
    from sqlalchemy import exists, select

    wrong, _reason = _wrong_reason()
    return bool(session.scalar(select(exists().where(wrong))))


def explain_waiting(session: Session) -> None:
    """Give requests that wait for their workflow the reason, and take it from those that do not wait for it any more."""
    from sqlalchemy import update

    from provider.metadata.tables import BatchRequest

    wrong, reason = _wrong_reason()
    session.execute(update(BatchRequest).where(wrong).values(reason=reason).execution_options(synchronize_session=False))


def _wrong_reason() -> tuple[ColumnElement[bool], ColumnElement[str | None]]:
    """Return which waiting requests have a wrong reason, and what is the right one."""
    from sqlalchemy import and_, case, or_, select

    from provider.metadata.tables import BatchRequest, Workflow

    room = _room()
    disabled = BatchRequest.workflow_id.in_(select(Workflow.workflow_id).where(Workflow.enabled.is_(False)))
    full = BatchRequest.workflow_id.in_(select(room.c.workflow_id).where(room.c.free <= 0))
    reason: ColumnElement[str | None] = case((disabled, WORKFLOW_DISABLED), (full, WORKFLOW_FULL), else_=None)
    ours = BatchRequest.reason.in_((WORKFLOW_DISABLED, WORKFLOW_FULL))
    waits_for_workflow = and_(or_(disabled, full), BatchRequest.reason.is_(None))
    # What is claimed is its claimer's, which is about to write the same rows.
    wrong = and_(
        *(BatchRequest.state == RECEIVED, _is_unclaimed(), or_(ours, waits_for_workflow)),
        BatchRequest.reason.is_distinct_from(reason),
    )
    return wrong, reason


def _is_unclaimed() -> ColumnElement[bool]:
    """Select requests that nobody is at: the claim of one that died runs out."""
    from sqlalchemy import or_

    from provider.metadata.tables import BatchRequest

    return or_(BatchRequest.claimed_until.is_(None), BatchRequest.claimed_until <= datetime.now(UTC))


def make_due(session: Session, request_id: int) -> bool:
    """Let a waiting request be tried at once, and tell whether it can be: not while a dispatcher is at it."""
    from sqlalchemy import update

    from provider.metadata.tables import BatchRequest

    statement = (
        update(BatchRequest)
        .where(BatchRequest.id == request_id, BatchRequest.state == RECEIVED, _is_unclaimed())
        .values(next_attempt_at=None, reason=None)
        .returning(BatchRequest.id)
    )
    made_due = session.scalar(statement) is not None
    explain_waiting(session)
    return made_due


def mark(session: Session, request_ids: Collection[int], state: str, reason: str | None = None) -> None:
    """
    Write how waiting requests ended; one that has ended keeps its first end.

    :param state: one of :data:`STATES` but ``received``.
    """
    now = datetime.now(UTC)
    ended = {"state": state, "reason": reason, "next_attempt_at": None, "claimed_until": None}
    _change_waiting(session, request_ids, ended | ({"dispatched_at": now} if state == DISPATCHED else {}))


def postpone(session: Session, request_id: int, reason: str, seconds: float | None = None) -> None:
    """
    Leave a request waiting and try it again later.

    :param reason: what was in the way, shown to people.
    :param seconds: until the next attempt, for a request that has not been attempted at all; by default this was an attempt,
        and the wait is 5 s, doubled with each attempt up to 5 min, spread by a tenth.
    """
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    attempts = session.scalar(select(BatchRequest.attempts).where(BatchRequest.id == request_id)) or 0
    if seconds is None:
        attempts += 1
        seconds = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(attempts - 1, 20))
        seconds *= random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, protects nothing
    next_attempt_at = datetime.now(UTC) + timedelta(seconds=seconds)
    _change_waiting(
        session,
        [request_id],
        {"reason": reason, "attempts": attempts, "next_attempt_at": next_attempt_at, "claimed_until": None},
    )


def oldest_waiting(session: Session) -> datetime | None:
    """Return when the oldest request that still waits was received; None where none waits."""
    from sqlalchemy import func, select

    from provider.metadata.tables import BatchRequest

    return session.scalar(select(func.min(BatchRequest.received_at)).where(BatchRequest.state == RECEIVED))


def sweep(session: Session, older_than: timedelta, limit: int = 1000) -> int:
    """
    Delete requests that ended long ago.

    :param older_than: age since they were received. Pub/Sub keeps a message for 31 days at most, so none that is older can
        be delivered again.
    :param limit: how many are looked at, so that one sweep takes a moment however long the inbox is.
    :return: how many are gone.
    """
    from sqlalchemy import delete, select

    from provider.metadata.tables import BatchRequest

    columns = (BatchRequest.id, BatchRequest.received_at)
    first = select(*columns).where(BatchRequest.state != RECEIVED).order_by(BatchRequest.id).limit(limit)
    before = datetime.now(UTC) - older_than
    ids = [row.id for row in session.execute(first) if row.received_at < before]
    if ids:
        session.execute(delete(BatchRequest).where(BatchRequest.id.in_(ids)).execution_options(synchronize_session=False))
    return len(ids)


def _room(now: datetime | None = None) -> CTE:
    """
    Return workflow_id → ``free``: how many batches it may begin now; none where it is disabled.

    Batches that run are those of ``task_batches``, which the reconciler keeps, those just started, of which it does not know
    yet, and those that a dispatcher is about to start.
    """
    from sqlalchemy import and_, case, func, or_, select

    from provider.metadata.tables import BatchRequest, TaskBatch, Workflow

    now = now or datetime.now(UTC)
    running = (
        select(TaskBatch.workflow_id, func.count().label("batches"))
        .where(TaskBatch.status.in_((NEW, PROCESSING)))
        .group_by(TaskBatch.workflow_id)
        .subquery()
    )
    just_started: ColumnElement[bool] = and_(
        BatchRequest.state == DISPATCHED, BatchRequest.dispatched_at > now - timedelta(seconds=UNSEEN_SECONDS)
    )
    about_to_start = and_(BatchRequest.state == RECEIVED, BatchRequest.claimed_until > now)
    unseen = (
        select(BatchRequest.workflow_id, func.count().label("batches"))
        .outerjoin(
            TaskBatch,
            and_(TaskBatch.workflow_id == BatchRequest.workflow_id, TaskBatch.batch_id == BatchRequest.batch_id),
        )
        .where(or_(just_started, about_to_start), TaskBatch.batch_id.is_(None))
        .group_by(BatchRequest.workflow_id)
        .subquery()
    )
    begun = func.coalesce(running.c.batches, 0) + func.coalesce(unseen.c.batches, 0)
    return (
        select(
            Workflow.workflow_id,
            case((Workflow.enabled.is_(False), 0), else_=Workflow.max_active_batches - begun).label("free"),
        )
        .outerjoin(running, running.c.workflow_id == Workflow.workflow_id)
        .outerjoin(unseen, unseen.c.workflow_id == Workflow.workflow_id)
        .cte("room")
        # Without this PostgreSQL would count anew for each request that waits.
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _change_waiting(session: Session, request_ids: Collection[int], values: dict[str, Any]) -> None:
    from sqlalchemy import update

    from provider.metadata.tables import BatchRequest

    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id.in_(request_ids), BatchRequest.state == RECEIVED)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
