"""
The inbox: what a message becomes, in rows of ``batch_requests``.

A message is acknowledged after its rows are committed. Delivered again, it meets its own rows; published again, it meets the
accepted request for the same batch. Starting what was accepted is the business of :mod:`provider.metadata.request_queue`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from provider.metadata.batches import SUCCESS
from provider.metadata.request_queue import DISPATCHED, DUPLICATE, RECEIVED, RECORDED, REJECTED, explain_waiting
from provider.metadata.upsert import inserts

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from provider.metadata.tables import BatchRequest

EXTERNAL_TASK_TYPE = "external"
"""Type of the tasks whose work is done elsewhere."""

REDELIVERED = "redelivered"
"""What became of a message that has its row already; no state of a row."""

_CONTENTION_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class InboxMessage:
    """
    A message as it goes into the inbox.

    :param message_id: unique within a subscription.
    :param payload: the bytes as they came; kept, whatever they are.
    :param kind: ``start``, ``completion`` or ``file``.
    :param problem: why the message cannot be accepted; None for one that could be read, which then has the fields below.
    :param no_effect: why a message that could be read starts nothing.
    :param task_id: where to start, or the task that has ended.
    :param status: how it has ended, ``SUCCESS`` or ``ERROR``, and ``error`` why.
    :param params: values for the workflow's params; of a file ``{"bucket", "object", "generation"}``.
    """

    message_id: str
    payload: bytes
    attributes: dict[str, str]
    published_at: datetime | None
    kind: Literal["start", "completion", "file"]
    problem: str | None = None
    no_effect: str | None = None
    task_id: str | None = None
    batch_id: str | None = None
    scope: str | None = None
    params: dict[str, Any] | None = None
    status: str | None = None
    error: str | None = None
    content_hash: str | None = None


@dataclass(frozen=True)
class KnownTask:
    """What a message's task is in the tables."""

    task_id: str
    workflow_id: str
    task_type: str
    children: tuple[str, ...]


@dataclass(frozen=True)
class Definitions:
    """
    What the messages of one pull are compared with.

    :param tasks: by task id.
    :param file_patterns: workflow id → pattern, of enabled workflows that have one.
    """

    tasks: Mapping[str, KnownTask]
    file_patterns: Mapping[str, str]


def receive(session: Session, subscription: str, messages: Sequence[InboxMessage]) -> Counter[str]:
    """
    Store the messages of one pull in the caller's transaction, which must be committed before any of them is acknowledged.

    :param subscription: full name of the subscription.
    :return: how many went into each state; ``redelivered`` counts messages that had their row already.
    """
    definitions = _definitions(session, messages)
    known = _known_messages(session, subscription, messages)
    counts: Counter[str] = Counter()
    new: list[InboxMessage] = []
    for message in messages:
        if message.message_id in known:
            if known[message.message_id] == message.published_at:
                counts[REDELIVERED] += 1
                continue
            # Emulators number messages from 1 again after a restart; Pub/Sub itself never gives an id twice.
            message = replace(message, message_id=f"{message.message_id}@{message.published_at}")
        known[message.message_id] = message.published_at
        new.append(message)
    for are_starts, group in groupby(new, key=lambda message: _is_start(message, definitions)):
        if are_starts:
            counts.update(_receive_starts(session, [_start_row(subscription, message, definitions) for message in group]))
        else:
            counts.update(_receive_one(session, subscription, message, definitions) for message in group)
    explain_waiting(session)
    return counts


def _is_start(message: InboxMessage, definitions: Definitions) -> bool:
    """Tell whether a message can be accepted as a request to start at a task."""
    readable = message.problem is None and message.no_effect is None
    return readable and message.kind == "start" and message.task_id in definitions.tasks


def _start_row(subscription: str, message: InboxMessage, definitions: Definitions) -> dict[str, Any]:
    task = definitions.tasks[message.task_id or ""]
    return _row(subscription, message) | {"workflow_id": task.workflow_id, "start_task_ids": [task.task_id]}


def _receive_one(session: Session, subscription: str, message: InboxMessage, definitions: Definitions) -> str:
    """Store one message and return its state, or ``redelivered``."""
    row = _row(subscription, message)
    if message.problem is not None:
        return _insert_ended(session, row, REJECTED, message.problem)
    if message.no_effect is not None:
        return _insert_ended(session, row, RECORDED, message.no_effect)
    if message.kind == "file":
        return _receive_file(session, row, message, definitions)
    task = definitions.tasks.get(message.task_id or "")
    if task is None:
        return _insert_ended(
            session,
            row,
            REJECTED,
            f"task_id {message.task_id!r} is in no row of the table tasks; correct the message, or import the workflow and "
            "send it again.",
        )
    row["workflow_id"] = task.workflow_id
    return _receive_completion(session, row, task)


def _receive_starts(session: Session, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Accept requests to start batches, unless one was accepted before; return what became of each."""
    new = _insert_new(session, [row | {"state": RECEIVED} for row in rows])
    return [RECEIVED if (row["message_id"], row["part"]) in new else _receive_taken(session, row) for row in rows]


def _receive_taken(session: Session, row: dict[str, Any]) -> str:
    """Record what was in the way of a start, or accept it if that is gone."""
    for _ in range(_CONTENTION_ROUNDS):
        if _has_row(session, row):
            return REDELIVERED
        accepted = _accepted_start(session, row["workflow_id"], row["batch_id"])
        if accepted is None:  # it ended in this very moment, which frees the batch id
            if _insert(session, row | {"state": RECEIVED}):
                return RECEIVED
            continue
        accepted_message, content_hash = accepted
        if content_hash == row["content_hash"]:
            return _insert_ended(session, row, DUPLICATE, f"the same request was accepted before, as message {accepted_message}.")
        return _insert_ended(
            session,
            row,
            REJECTED,
            f"batch_id {row['batch_id']!r} of workflow {row['workflow_id']!r} was accepted before with another task_id, scope "
            f"or params, as message {accepted_message}; a new request needs a new batch_id.",
        )
    raise _contention(row)


def _receive_completion(session: Session, row: dict[str, Any], task: KnownTask) -> str:
    """
    Record that a task has ended elsewhere. Where its batch does not exist yet, start it behind that task.

    An external task is started itself: it finds the message and ends with it, and so do Airflow and TaskLog.
    """
    external = task.task_type == EXTERNAL_TASK_TYPE
    elsewhere = None if external else f"recorded only: Airflow runs task {task.task_id!r} itself, its type is {task.task_type}."
    behind = list(task.children) if row["status"] == SUCCESS else []
    starts = [task.task_id] if external else behind
    for _ in range(_CONTENTION_ROUNDS):
        if _has_batch(session, row["workflow_id"], row["batch_id"]):
            return _insert_ended(session, row, RECORDED, elsewhere)
        if not starts:
            return _insert_ended(session, row, RECORDED, f"{elsewhere} There is no such batch, and nothing to start in it.")
        if _insert(session, row | {"state": RECEIVED, "start_task_ids": starts}):
            return RECEIVED
        if _has_row(session, row):
            return REDELIVERED
    raise _contention(row)


def _receive_file(session: Session, row: dict[str, Any], message: InboxMessage, definitions: Definitions) -> str:
    """Accept a request for each workflow that waits for the file; of several states return the one that tells most."""
    from provider.metadata.file_patterns import matches

    file = message.params or {}
    found = [
        workflow_id
        for workflow_id, pattern in sorted(definitions.file_patterns.items())
        if matches(pattern, file["bucket"], file["object"])
    ]
    if not found:
        return _insert_ended(session, row, RECORDED, "no enabled workflow has a file_pattern that matches this file.")
    states = _receive_starts(
        session, [row | {"workflow_id": workflow_id, "part": part} for part, workflow_id in enumerate(found)]
    )
    return next(state for state in (RECEIVED, DUPLICATE, REJECTED, REDELIVERED) if state in states)


def receive_part_again(session: Session, request: BatchRequest) -> str:
    """
    Store once more what a message asked of one workflow, and forget what became of that; return the new state.

    :param request: rejected by Airflow, so that its workflow is known; the message's other parts stay as they are.
    """
    result = ("id", "state", "reason", "attempts", "next_attempt_at", "claimed_until", "dispatched_at")
    row = {column.key: getattr(request, column.key) for column in request.__table__.columns if column.key not in result}
    session.delete(request)
    session.flush()
    (state,) = _receive_starts(session, [row | {"received_at": datetime.now(UTC), "attempts": 0}])
    return state


def file_batch_id(bucket: str, name: str, generation: str) -> str:
    """Return the batch id of one generation of an object."""
    return "file_" + hashlib.sha256("\0".join((bucket, name, generation)).encode()).hexdigest()[:40]


def _row(subscription: str, message: InboxMessage) -> dict[str, Any]:
    copied = ("message_id", "kind", "payload", "attributes", "task_id", "batch_id", "scope", "params", "status", "error")
    return {
        **{name: getattr(message, name) for name in (*copied, "content_hash", "published_at")},
        "subscription": subscription,
        "part": 0,
        "received_at": datetime.now(UTC),
        "attempts": 0,
    }


def _contention(row: Mapping[str, Any]) -> RuntimeError:
    return RuntimeError(
        f"the accepted request for batch {row['batch_id']!r} changed {_CONTENTION_ROUNDS} times while message "
        f"{row['message_id']} was stored; it stays unacknowledged and will be delivered again."
    )


def _insert_ended(session: Session, row: dict[str, Any], state: str, reason: str | None) -> str:
    return state if _insert(session, row | {"state": state, "reason": reason}) else REDELIVERED


def _insert(session: Session, row: dict[str, Any]) -> bool:
    """Insert a row unless a unique key is taken, and tell whether it was inserted."""
    return bool(_insert_new(session, [row]))


def _insert_new(session: Session, rows: Sequence[dict[str, Any]]) -> set[tuple[str, int]]:
    """
    Insert rows but those of which a unique key is taken, in their order, and return (message_id, part) of the inserted ones.

    PostgreSQL waits here for another transaction that is inserting the same key.
    """
    from provider.metadata.tables import BatchRequest

    new: set[tuple[str, int]] = set()
    for statement in inserts(session, BatchRequest, rows):
        inserted = statement.on_conflict_do_nothing().returning(BatchRequest.message_id, BatchRequest.part)
        new.update((message_id, part) for message_id, part in session.execute(inserted))
    return new


def _definitions(session: Session, messages: Sequence[InboxMessage]) -> Definitions:
    """Read what the tables say of the messages' tasks, and of files if there is one."""
    from sqlalchemy import select

    from provider.metadata.tables import Task, TaskDependency, Workflow

    named = {message.task_id for message in messages if message.task_id}
    tasks = session.execute(select(Task.task_id, Task.workflow_id, Task.task_type).where(Task.task_id.in_(named))).all()
    ended = [message.task_id for message in messages if message.kind == "completion"]
    edges = select(TaskDependency.parent_id, TaskDependency.child_id).where(TaskDependency.parent_id.in_(ended))
    children: dict[str, list[str]] = {}
    for parent, child in session.execute(edges.order_by(TaskDependency.child_id)) if ended else ():
        children.setdefault(parent, []).append(child)
    patterns: dict[str, str] = {}
    if any(message.kind == "file" for message in messages):
        with_pattern = (Workflow.enabled.is_(True), Workflow.file_pattern.is_not(None))
        statement = select(Workflow.workflow_id, Workflow.file_pattern).where(*with_pattern)
        patterns = {workflow_id: pattern or "" for workflow_id, pattern in session.execute(statement)}
    return Definitions(
        tasks={row.task_id: KnownTask(*row, children=tuple(children.get(row.task_id, ()))) for row in tasks},
        file_patterns=patterns,
    )


def _known_messages(session: Session, subscription: str, messages: Sequence[InboxMessage]) -> dict[str, datetime | None]:
    """Return message_id → time of publication of those that have a row."""
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    statement = select(BatchRequest.message_id, BatchRequest.published_at).where(
        BatchRequest.subscription == subscription,
        BatchRequest.message_id.in_({message.message_id for message in messages}),
    )
    return {row.message_id: row.published_at for row in session.execute(statement)}


def _has_row(session: Session, row: Mapping[str, Any]) -> bool:
    """Tell whether this part of this message is stored already."""
    from sqlalchemy import exists, select

    from provider.metadata.tables import BatchRequest

    same = [getattr(BatchRequest, name) == row[name] for name in ("subscription", "message_id", "part")]
    return bool(session.scalar(select(exists().where(*same))))


def _has_batch(session: Session, workflow_id: str, batch_id: str) -> bool:
    """Tell whether a batch exists or is about to."""
    from provider.metadata.tables import TaskBatch

    if session.get(TaskBatch, (workflow_id, batch_id)) is not None:
        return True
    return _accepted_start(session, workflow_id, batch_id) is not None


def _accepted_start(session: Session, workflow_id: str, batch_id: str) -> tuple[str, str | None] | None:
    """Return message id and content hash of the one accepted request for a batch."""
    from sqlalchemy import select

    from provider.metadata.tables import BatchRequest

    row = session.execute(
        select(BatchRequest.message_id, BatchRequest.content_hash).where(
            BatchRequest.workflow_id == workflow_id,
            BatchRequest.batch_id == batch_id,
            BatchRequest.state.in_((RECEIVED, DISPATCHED)),
        )
    ).first()
    return None if row is None else (row.message_id, row.content_hash)
