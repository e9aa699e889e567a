"""Single rows of the inbox: adding them unless a unique key is taken, and looking up what is in the way."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from provider.metadata.inbox_message import InboxMessage
from provider.metadata.renaming import names_of
from provider.metadata.states import DISPATCHED, RECEIVED, RECORDED, REJECTED
from provider.metadata.tables import BatchRequest, TaskBatch
from provider.metadata.upsert import inserts

#: How much is kept of a message that says nothing to us, in bytes: enough for people to know it again.
UNREAD_BYTES = 4 * 1024

#: How much is kept of any other, in bytes: all of it, as nothing longer is read; but a file's message has a payload for nobody.
READ_BYTES = 256 * 1024

#: What a request holds that may be secret.
_CONTENT: dict[str, Any] = {"payload": b"", "attributes": {}, "params": None}


@dataclass(frozen=True, kw_only=True)
class NewRequest:
    """
    A request that is to become a row of ``batch_requests``; the fields are columns.

    :param part: of a file's message that starts several workflows, one row for each.
    :param payload: as much of it as is kept; ``payload_bytes`` and ``payload_sha256`` are those of the whole.
    :param workflow_id: None where no workflow is known for the message.
    :param start_task_ids: where its batch starts; None for the whole workflow.
    """

    subscription: str
    message_id: str
    part: int
    kind: str
    payload: bytes
    payload_bytes: int
    payload_sha256: str | None
    attributes: dict[str, Any]
    task_id: str | None
    batch_id: str | None
    scope: str | None
    params: dict[str, Any] | None
    status: str | None
    error: str | None
    content_hash: str | None
    published_at: datetime | None
    workflow_id: str | None = None
    start_task_ids: list[str] | None = None

    @classmethod
    def of_message(cls, subscription: str, message: InboxMessage) -> NewRequest:
        """Return what a message says."""
        own = ("subscription", "part", "workflow_id", "start_task_ids", "payload", "payload_bytes", "payload_sha256")
        told = {field.name: getattr(message, field.name) for field in fields(cls) if field.name not in own}
        return cls(
            subscription=subscription,
            part=0,
            payload=message.payload[: READ_BYTES if message.problem is None else UNREAD_BYTES],
            payload_bytes=len(message.payload),
            payload_sha256=hashlib.sha256(message.payload).hexdigest(),
            **told,
        )

    @classmethod
    def of_row(cls, row: BatchRequest) -> NewRequest:
        """Return what a row asks for, without what became of it."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})


def forgotten(state: str, kind: str) -> dict[str, Any]:
    """
    Return the columns that are emptied when a request comes to this state: what it said may be secret, and is needed no more.

    What can be retried keeps it: what was rejected, and a file that nobody waited for.
    """
    retried = state in (RECEIVED, REJECTED) or (state == RECORDED and kind == "file")
    return {} if retried else dict(_CONTENT)


@dataclass(frozen=True)
class AcceptedStart:
    """The one accepted request for a batch."""

    message_id: str
    content_hash: str | None


def insert_new(session: Session, requests: Sequence[NewRequest], state: str, reason: str | None = None) -> set[tuple[str, int]]:
    """
    Insert requests but those of which a unique key is taken, in their order, and return (message_id, part) of the inserted.

    PostgreSQL waits here for another transaction that is inserting the same key.
    """
    now = datetime.now(UTC)
    names = [field.name for field in fields(NewRequest)]
    rows = [
        {
            **{name: getattr(request, name) for name in names},
            **forgotten(state, request.kind),
            **{"state": state, "reason": reason, "received_at": now, "attempts": 0},
        }
        for request in requests
    ]
    new: set[tuple[str, int]] = set()
    for statement in inserts(session, BatchRequest, rows):
        inserted = statement.on_conflict_do_nothing().returning(BatchRequest.message_id, BatchRequest.part)
        new.update((message_id, part) for message_id, part in session.execute(inserted))
    return new


def insert(session: Session, request: NewRequest, state: str, reason: str | None = None) -> bool:
    """Insert a request unless a unique key is taken, and tell whether it was inserted."""
    return bool(insert_new(session, [request], state, reason))


def known_messages(session: Session, subscription: str, messages: Sequence[InboxMessage]) -> dict[str, datetime | None]:
    """Return message_id → time of publication of those that have a row."""
    statement = select(BatchRequest.message_id, BatchRequest.published_at).where(
        BatchRequest.subscription == subscription,
        BatchRequest.message_id.in_({message.message_id for message in messages}),
    )
    return {row.message_id: row.published_at for row in session.execute(statement)}


def is_stored(session: Session, request: NewRequest) -> bool:
    """Tell whether this part of this message is stored already."""
    same = [getattr(BatchRequest, name) == getattr(request, name) for name in ("subscription", "message_id", "part")]
    return bool(session.scalar(select(exists().where(*same))))


def has_batch(session: Session, request: NewRequest) -> bool:
    """Tell whether the batch of a request exists or is about to; one of an earlier name of the workflow is its batch too."""
    named = TaskBatch.workflow_id.in_(names_of(session, request.workflow_id or ""))
    if session.scalar(select(exists().where(named, TaskBatch.batch_id == request.batch_id))):
        return True
    return accepted_start(session, request) is not None


def accepted_start(session: Session, request: NewRequest) -> AcceptedStart | None:
    """Return the one accepted request for the batch of a request."""
    row = session.execute(
        select(BatchRequest.message_id, BatchRequest.content_hash).where(
            BatchRequest.workflow_id == request.workflow_id,
            BatchRequest.batch_id == request.batch_id,
            BatchRequest.state.in_((RECEIVED, DISPATCHED)),
        )
    ).first()
    return None if row is None else AcceptedStart(row.message_id, row.content_hash)
