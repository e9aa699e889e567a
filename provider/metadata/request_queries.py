"""Looking up the inbox for people, and giving a message back to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from provider.metadata.request_queue import RECEIVED

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from provider.metadata.tables import BatchRequest


def newest_requests(
    session: Session, *, states: Collection[str], workflow_id: str | None = None, limit: int
) -> list[dict[str, Any]]:
    """
    Return requests as dicts of their columns without the payload, newest first.

    :param states: only requests in one of these states.
    :param workflow_id: only requests for this workflow.
    :param limit: largest number of requests.
    """
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    statement = select(*(column for column in BatchRequest.__table__.columns if column.name != "payload"))
    statement = statement.where(BatchRequest.state.in_(states))
    if workflow_id is not None:
        statement = statement.where(BatchRequest.workflow_id == workflow_id)
    statement = statement.order_by(BatchRequest.received_at.desc(), BatchRequest.id.desc()).limit(limit)
    return [dict(row) for row in session.execute(statement).mappings()]


def locked_request(session: Session, request_id: int) -> BatchRequest | None:
    """Return a request that nobody else changes until the transaction ends; None where there is none."""
    from provider.metadata.tables import BatchRequest

    return session.get(BatchRequest, request_id, with_for_update=True)


def make_due(session: Session, request_id: int) -> None:
    """Let a waiting request be tried at once, unless a dispatcher is at it."""
    from sqlalchemy import update

    from provider.metadata.tables import BatchRequest

    session.execute(
        update(BatchRequest)
        .where(BatchRequest.id == request_id, BatchRequest.state == RECEIVED, BatchRequest.claimed_until.is_(None))
        .values(next_attempt_at=None, reason=None)
    )


def forget_message(session: Session, subscription: str, message_id: str) -> None:
    """Delete the rows of a message, so that it can be received once more in the same transaction."""
    from sqlalchemy import delete

    from provider.metadata.tables import BatchRequest

    session.execute(
        delete(BatchRequest)
        .where(BatchRequest.subscription == subscription, BatchRequest.message_id == message_id)
        .execution_options(synchronize_session=False)
    )


def stored_as(session: Session, subscription: str, message_id: str) -> tuple[int, str | None]:
    """Return id and reason of a message's first row."""
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    statement = select(BatchRequest.id, BatchRequest.reason).where(
        BatchRequest.subscription == subscription, BatchRequest.message_id == message_id
    )
    first = session.execute(statement.order_by(BatchRequest.part).limit(1)).one()
    return first.id, first.reason
