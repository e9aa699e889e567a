"""
The inbox: one row of ``batch_requests`` for each message, whatever becomes of it.

A message is acknowledged after its row is committed. Delivered again, it meets its own row; published again, it meets the
accepted request for the same batch. A request is started once by whoever claimed it; a claim runs out, so that a request
whose claimer died is taken up by the next one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from provider.metadata.upsert import insert_into

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.orm import Session

RECEIVED, DISPATCHED, DUPLICATE, REJECTED = "received", "dispatched", "duplicate", "rejected"

WORKFLOW_DISABLED = (
    "waits: its workflow is disabled (enabled = false in table workflows); the request starts once the workflow is enabled."
)
"""The visible reason of a request whose workflow is switched off."""

CLAIM_SECONDS = 120.0
"""How long a claimed request is left to its claimer. Starting it twice would do no harm, but is work for nothing."""

FIRST_BACKOFF_SECONDS = 5.0
LAST_BACKOFF_SECONDS = 300.0

_CONTENTION_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class InboxMessage:
    """
    A message as it goes into the inbox.

    :param message_id: unique within a subscription.
    :param payload: the bytes as they came; kept, whatever they are.
    :param problem: why the message cannot be accepted; None for one that could be read, which then has the fields below.
    """

    message_id: str
    payload: bytes
    attributes: dict[str, str]
    published_at: datetime | None
    kind: str
    problem: str | None = None
    task_id: str | None = None
    batch_id: str | None = None
    scope: str | None = None
    params: dict[str, Any] | None = None
    content_hash: str | None = None


@dataclass(frozen=True)
class WaitingRequest:
    """A claimed request: what is needed to start its batch."""

    id: int
    message_id: str
    workflow_id: str
    batch_id: str
    task_id: str
    scope: str
    params: dict[str, Any]
    attempts: int


def receive(session: Session, subscription: str, messages: Sequence[InboxMessage]) -> Counter[str]:
    """
    Store the messages of one pull in the caller's transaction, which must be committed before any of them is acknowledged.

    :param subscription: full name of the subscription.
    :return: how many went into each state; ``redelivered`` counts messages that had their row already.
    """
    workflows = _workflows_of_tasks(session, {message.task_id for message in messages if message.task_id})
    known = _known_messages(session, subscription, messages)
    counts: Counter[str] = Counter()
    for message in messages:
        published_at = known.setdefault(message.message_id, message.published_at)
        if published_at != message.published_at:
            # Emulators number messages from 1 again after a restart; Pub/Sub itself never gives an id twice.
            message = replace(message, message_id=f"{message.message_id}@{message.published_at}")
        counts[_receive_one(session, subscription, message, workflows)] += 1
    return counts


def waiting(session: Session) -> datetime | None:
    """Return when the next request is due, in the past for one that is due now; None where nothing waits."""
    from sqlalchemy import func, select

    from provider.metadata.tables import BatchRequest, Workflow

    # A request of a disabled workflow waits for a person, but is due once more to be given that reason.
    noted = BatchRequest.reason == WORKFLOW_DISABLED
    due_at = func.min(func.coalesce(BatchRequest.next_attempt_at, BatchRequest.received_at))
    statement = (
        select(due_at)
        .outerjoin(Workflow, Workflow.workflow_id == BatchRequest.workflow_id)
        .where(BatchRequest.state == RECEIVED, ~(Workflow.enabled.is_(False) & func.coalesce(noted, False)))
    )
    return session.scalar(statement)


def claim(session: Session, limit: int = 100, *, seconds: float = CLAIM_SECONDS) -> list[WaitingRequest]:
    """
    Claim requests that are due, oldest first; none of them is handed out again for some time.

    Requests of disabled workflows are given that reason and stay.

    :param limit: how many at most.
    :param seconds: how long the claim holds.
    """
    from sqlalchemy import select, update

    from provider.metadata.tables import BatchRequest, Workflow

    now = datetime.now(UTC)
    due = _due(now)
    disabled = select(Workflow.workflow_id).where(Workflow.enabled.is_(False))
    session.execute(
        update(BatchRequest)
        .where(*due, BatchRequest.workflow_id.in_(disabled))
        .values(reason=WORKFLOW_DISABLED, next_attempt_at=None)
        .execution_options(synchronize_session=False)
    )
    rows = session.execute(
        select(
            BatchRequest.id,
            BatchRequest.message_id,
            BatchRequest.workflow_id,
            BatchRequest.batch_id,
            BatchRequest.task_id,
            BatchRequest.scope,
            BatchRequest.params,
            BatchRequest.attempts,
        )
        .where(*due, BatchRequest.workflow_id.not_in(disabled))
        .order_by(BatchRequest.received_at, BatchRequest.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id.in_([row.id for row in rows]))
        .values(next_attempt_at=now + timedelta(seconds=seconds))
        .execution_options(synchronize_session=False)
    )
    return [_waiting_request(row) for row in rows]


def mark(session: Session, request_id: int, state: str, reason: str | None = None) -> None:
    """
    Write how a waiting request ended; one that has ended keeps its first end.

    :param state: ``dispatched``, ``duplicate`` or ``rejected``.
    """
    now = datetime.now(UTC)
    _change_waiting(
        session,
        request_id,
        {"state": state, "reason": reason, "next_attempt_at": None} | ({"dispatched_at": now} if state == DISPATCHED else {}),
    )


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
    _change_waiting(
        session,
        request_id,
        {"reason": reason, "attempts": attempts, "next_attempt_at": datetime.now(UTC) + timedelta(seconds=seconds)},
    )


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    from sqlalchemy import or_

    from provider.metadata.tables import BatchRequest

    return (
        BatchRequest.state == RECEIVED,
        or_(BatchRequest.next_attempt_at.is_(None), BatchRequest.next_attempt_at <= now),
    )


def _waiting_request(row: Row[Any]) -> WaitingRequest:
    values = dict(row._mapping)
    return WaitingRequest(**{**values, "params": values["params"] or {}})


def _change_waiting(session: Session, request_id: int, values: dict[str, Any]) -> None:
    from sqlalchemy import update

    from provider.metadata.tables import BatchRequest

    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id == request_id, BatchRequest.state == RECEIVED)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


def _workflows_of_tasks(session: Session, task_ids: set[str]) -> dict[str, tuple[str, bool]]:
    """Return task_id → (workflow_id, whether the workflow is enabled) for the tasks that are in the tables."""
    from sqlalchemy import select

    from provider.metadata.tables import Task, Workflow

    statement = (
        select(Task.task_id, Workflow.workflow_id, Workflow.enabled)
        .join(Workflow, Workflow.workflow_id == Task.workflow_id)
        .where(Task.task_id.in_(task_ids))
    )
    return {row.task_id: (row.workflow_id, row.enabled) for row in session.execute(statement)} if task_ids else {}


def _receive_one(session: Session, subscription: str, message: InboxMessage, workflows: dict[str, tuple[str, bool]]) -> str:
    """Store one message and return its state, or ``redelivered``."""
    row: dict[str, Any] = {
        "subscription": subscription,
        "message_id": message.message_id,
        "kind": message.kind,
        "payload": message.payload,
        "attributes": message.attributes,
        "task_id": message.task_id,
        "batch_id": message.batch_id,
        "scope": message.scope,
        "params": message.params,
        "content_hash": message.content_hash,
        "published_at": message.published_at,
        "received_at": datetime.now(UTC),
        "attempts": 0,
    }
    if message.problem is not None:
        return _insert_ended(session, row, REJECTED, message.problem)
    if message.task_id not in workflows:
        return _insert_ended(
            session,
            row,
            REJECTED,
            f"task_id {message.task_id!r} is in no row of the table tasks; correct the message, or import the workflow and "
            "send it again.",
        )
    row["workflow_id"], enabled = workflows[message.task_id]
    for _ in range(_CONTENTION_ROUNDS):
        if _insert(session, row | {"state": RECEIVED, "reason": None if enabled else WORKFLOW_DISABLED}):
            return RECEIVED
        if _known_messages(session, subscription, [message]):
            return "redelivered"
        accepted = _accepted_start(session, row["workflow_id"], row["batch_id"])
        if accepted is None:  # it ended in this very moment, which frees the batch id
            continue
        accepted_message, content_hash = accepted
        if content_hash == message.content_hash:
            return _insert_ended(session, row, DUPLICATE, f"the same request was accepted before, as message {accepted_message}.")
        return _insert_ended(
            session,
            row,
            REJECTED,
            f"batch_id {message.batch_id!r} of workflow {row['workflow_id']!r} was accepted before with another task_id, scope "
            f"or params, as message {accepted_message}; a new request needs a new batch_id.",
        )
    raise RuntimeError(
        f"the accepted request for batch {message.batch_id!r} changed {_CONTENTION_ROUNDS} times while message "
        f"{message.message_id} was stored; it stays unacknowledged and will be delivered again."
    )


def _insert_ended(session: Session, row: dict[str, Any], state: str, reason: str) -> str:
    return state if _insert(session, row | {"state": state, "reason": reason}) else "redelivered"


def _insert(session: Session, row: dict[str, Any]) -> bool:
    """
    Insert a row unless a unique key is taken, and tell whether it was inserted.

    PostgreSQL waits here for another transaction that is inserting the same key.
    """
    from provider.metadata.tables import BatchRequest

    statement = insert_into(session, BatchRequest).values(row).on_conflict_do_nothing().returning(BatchRequest.id)
    return session.execute(statement).first() is not None


def _known_messages(session: Session, subscription: str, messages: Sequence[InboxMessage]) -> dict[str, datetime | None]:
    """Return message_id → time of publication of those that have a row."""
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    statement = select(BatchRequest.message_id, BatchRequest.published_at).where(
        BatchRequest.subscription == subscription,
        BatchRequest.message_id.in_({message.message_id for message in messages}),
    )
    return {row.message_id: row.published_at for row in session.execute(statement)}


def _accepted_start(session: Session, workflow_id: str, batch_id: str) -> tuple[str, str | None] | None:
    """Return message id and content hash of the one accepted request for a batch."""
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    row = session.execute(
        select(BatchRequest.message_id, BatchRequest.content_hash).where(
            BatchRequest.workflow_id == workflow_id,
            BatchRequest.batch_id == batch_id,
            BatchRequest.kind.in_(("start", "file")),
            BatchRequest.state.in_((RECEIVED, DISPATCHED)),
        )
    ).first()
    return None if row is None else (row.message_id, row.content_hash)
