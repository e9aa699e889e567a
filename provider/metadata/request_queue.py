"""
The inbox as a queue: which requests are due, who has claimed them, how they end.

A request is started once by whoever claimed it; a claim runs out, so that a request whose claimer died is taken up by the
next one. Of each workflow no more requests are handed out than it may have batches at once; the others wait their turn.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from provider.metadata.advisory_locks import AdvisoryLock, hold
from provider.metadata.free_places import free_places
from provider.metadata.inbox_rows import forgotten
from provider.metadata.rows import CLAIM_SECONDS, ClaimedRequest
from provider.metadata.states import DISPATCHED, RECEIVED
from provider.metadata.tables import BatchRequest
from provider.metadata.waiting_reasons import explain_waiting, is_unclaimed
from provider.pacing import backoff

__all__ = ["oldest_waiting_since"]

#: The pause after a request's first attempt, in seconds, and the longest one.
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0


def next_due_at(session: Session) -> datetime | None:
    """Return when the next request can be started, in the past for one that can be now; None where nothing or nobody may."""
    places = free_places(datetime.now(UTC))
    statement = (
        select(func.min(func.coalesce(BatchRequest.next_attempt_at, BatchRequest.received_at)))
        .outerjoin(places, places.c.workflow_id == BatchRequest.workflow_id)
        .where(BatchRequest.state == RECEIVED, or_(places.c.free.is_(None), places.c.free > 0))
    )
    return session.scalar(statement)


def oldest_waiting_since(session: Session) -> datetime | None:
    """Return when the oldest request that still waits was received; None where none waits."""
    return session.scalar(select(func.min(BatchRequest.received_at)).where(BatchRequest.state == RECEIVED))


def claim(session: Session, limit: int = 100, *, seconds: float = CLAIM_SECONDS) -> list[ClaimedRequest]:
    """
    Claim requests that are due, oldest first; none of them is handed out again for some time.

    Of a workflow that is disabled, or has as many batches as it may have, none is claimed. Claims come one after another, or
    two dispatchers would both take a workflow's last free place.

    :param limit: how many at most.
    :param seconds: how long the claim holds.
    """
    hold(session, AdvisoryLock.CLAIM)
    now = datetime.now(UTC)
    # Two statements: in one, PostgreSQL ranks anew for each request, as it expects one row where a moment ago there was none.
    ids = _due_ids(session, now, limit)
    rows = session.execute(
        select(*(getattr(BatchRequest, field.name) for field in fields(ClaimedRequest)))
        .where(BatchRequest.id.in_(ids), BatchRequest.state == RECEIVED)
        .order_by(BatchRequest.received_at, BatchRequest.id)
        .with_for_update(skip_locked=True)
    ).all()
    until = now + timedelta(seconds=seconds)
    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id.in_([row.id for row in rows]))
        .values(next_attempt_at=until, claimed_until=until)
        .execution_options(synchronize_session=False)
    )
    return [ClaimedRequest(**{**row._mapping, "params": row.params or {}, "scope": row.scope or "workflow"}) for row in rows]


def _due_ids(session: Session, now: datetime, limit: int) -> Collection[int]:
    """Return the requests that may be started now, oldest first: of each workflow as many as it has free places."""
    places = free_places(now)
    order = (BatchRequest.received_at, BatchRequest.id)
    turn = func.row_number().over(partition_by=BatchRequest.workflow_id, order_by=order)
    due = (
        select(*order, turn.label("turn"), places.c.free)
        .outerjoin(places, places.c.workflow_id == BatchRequest.workflow_id)
        .where(
            BatchRequest.state == RECEIVED,
            or_(BatchRequest.next_attempt_at.is_(None), BatchRequest.next_attempt_at <= now),
        )
        .subquery()
    )
    statement = (
        select(due.c.id)
        .where(or_(due.c.free.is_(None), due.c.turn <= due.c.free))
        .order_by(due.c.received_at, due.c.id)
        .limit(limit)
    )
    return session.scalars(statement).all()


def make_due(session: Session, request_id: int) -> bool:
    """Let a waiting request be tried at once, and tell whether it can be: not while a dispatcher is at it."""
    statement = (
        update(BatchRequest)
        .where(BatchRequest.id == request_id, BatchRequest.state == RECEIVED, is_unclaimed())
        .values(next_attempt_at=None, reason=None)
        .returning(BatchRequest.id)
    )
    made_due = session.scalar(statement) is not None
    explain_waiting(session)
    return made_due


def mark(session: Session, request_ids: Collection[int], state: str, reason: str | None = None) -> None:
    """
    Write how waiting requests ended; one that has ended keeps its first end, and what it said only if it can be retried.

    :param state: one of :data:`~provider.metadata.states.REQUEST_STATES` but ``received``.
    """
    ended = {"state": state, "reason": reason, "next_attempt_at": None, "claimed_until": None}
    # A file that a dispatcher has at hand is one that a workflow waits for.
    ended |= forgotten(state, kind="start")
    _change_waiting(session, request_ids, ended | ({"dispatched_at": datetime.now(UTC)} if state == DISPATCHED else {}))


def postpone(session: Session, request_id: int, reason: str, seconds: float | None = None) -> None:
    """
    Leave a request waiting and try it again later.

    :param reason: what was in the way, shown to people.
    :param seconds: until the next attempt, for a request that has not been attempted at all; by default this was an attempt,
        and the wait is 5 s, doubled with each attempt up to 5 min, spread by a tenth.
    """
    attempts = session.scalar(select(BatchRequest.attempts).where(BatchRequest.id == request_id)) or 0
    if seconds is None:
        attempts += 1
        seconds = backoff(attempts, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
    next_attempt_at = datetime.now(UTC) + timedelta(seconds=seconds)
    _change_waiting(
        session,
        [request_id],
        {"reason": reason, "attempts": attempts, "next_attempt_at": next_attempt_at, "claimed_until": None},
    )


def delete_old(session: Session, older_than: timedelta, limit: int = 1000) -> int:
    """
    Delete requests that ended long ago.

    :param older_than: age since they were received. Pub/Sub keeps a message for 31 days at most, so none that is older can
        be delivered again.
    :param limit: how many are looked at, so that one call takes a moment however long the inbox is.
    :return: how many are gone.
    """
    columns = (BatchRequest.id, BatchRequest.received_at)
    first = select(*columns).where(BatchRequest.state != RECEIVED).order_by(BatchRequest.id).limit(limit)
    before = datetime.now(UTC) - older_than
    ids = [row.id for row in session.execute(first) if row.received_at < before]
    if ids:
        session.execute(delete(BatchRequest).where(BatchRequest.id.in_(ids)).execution_options(synchronize_session=False))
    return len(ids)


def _change_waiting(session: Session, request_ids: Collection[int], values: dict[str, Any]) -> None:
    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id.in_(request_ids), BatchRequest.state == RECEIVED)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
