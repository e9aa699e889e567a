"""Looking up the inbox for people, and giving a message back to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from provider.metadata.rows import StoredRequest
from provider.metadata.tables import BatchRequest


def newest_requests(
    session: Session, *, states: Collection[str], workflow_id: str | None = None, limit: int
) -> list[StoredRequest]:
    """
    Return requests without their payload, newest first.

    :param states: only requests in one of these states.
    :param workflow_id: only requests for this workflow.
    :param limit: largest number of requests.
    """
    statement = select(*(column for column in BatchRequest.__table__.columns if column.name != "payload"))
    statement = statement.where(BatchRequest.state.in_(states))
    if workflow_id is not None:
        statement = statement.where(BatchRequest.workflow_id == workflow_id)
    statement = statement.order_by(BatchRequest.received_at.desc(), BatchRequest.id.desc()).limit(limit)
    return [cast("StoredRequest", dict(row)) for row in session.execute(statement).mappings()]


def request_of(session: Session, name: str, workflow_id: str | None = None) -> StoredRequest | None:
    """
    Return the newest request without its payload whose message, or else whose batch, has this id; None where there is none.

    :param workflow_id: only requests for this workflow.
    """
    statement = select(*(column for column in BatchRequest.__table__.columns if column.name != "payload"))
    if workflow_id is not None:
        statement = statement.where(BatchRequest.workflow_id == workflow_id)
    for column in (BatchRequest.message_id, BatchRequest.batch_id):
        newest = statement.where(column == name).order_by(BatchRequest.id.desc()).limit(1)
        if (found := session.execute(newest).mappings().one_or_none()) is not None:
            return cast("StoredRequest", dict(found))
    return None


def locked_request(session: Session, request_id: int) -> BatchRequest | None:
    """Return a request that nobody else changes until the transaction ends; None where there is none."""
    return session.get(BatchRequest, request_id, with_for_update=True)


def forget_message(session: Session, subscription: str, message_id: str) -> None:
    """Delete the rows of a message, so that it can be received once more in the same transaction."""
    session.execute(
        delete(BatchRequest)
        .where(BatchRequest.subscription == subscription, BatchRequest.message_id == message_id)
        .execution_options(synchronize_session=False)
    )


def stored_as(session: Session, subscription: str, message_id: str, part: int = 0) -> tuple[int, str | None]:
    """Return id and reason of a part of a message."""
    statement = select(BatchRequest.id, BatchRequest.reason).where(
        BatchRequest.subscription == subscription, BatchRequest.message_id == message_id, BatchRequest.part == part
    )
    row = session.execute(statement).one()
    return row.id, row.reason


def workflows_of_message(session: Session, subscription: str, message_id: str) -> list[str | None]:
    """Return the workflow of each part of a message; None for one that is of no workflow."""
    statement = select(BatchRequest.workflow_id).where(
        BatchRequest.subscription == subscription, BatchRequest.message_id == message_id
    )
    return list(session.scalars(statement))


def stored_request(session: Session, request_id: int) -> dict[str, Any] | None:
    """Return a request with its payload; None where there is none."""
    row = session.execute(select(BatchRequest.__table__).where(BatchRequest.id == request_id)).mappings().one_or_none()
    return None if row is None else dict(row)
