"""
The inbox: what a message becomes, in rows of ``batch_requests``.

A message is acknowledged after its rows are committed. Delivered again, it meets its own rows; published again, it meets the
accepted request for the same batch. Starting what was accepted is the business of :mod:`provider.metadata.request_queue`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from sqlalchemy.orm import Session

from provider.metadata.inbox_definitions import KnownDefinitions, KnownTask, known_definitions, unknown_task
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.inbox_rows import (
    NewRequest,
    accepted_start,
    has_batch,
    insert,
    insert_new,
    is_stored,
    known_messages,
)
from provider.metadata.renaming import no_renaming_meanwhile
from provider.metadata.states import DUPLICATE, RECEIVED, RECORDED, REDELIVERED, REJECTED, SUCCESS
from provider.metadata.tables import BatchRequest
from provider.metadata.waiting_reasons import explain_waiting

#: Type of the tasks whose work is done elsewhere.
EXTERNAL_TASK_TYPE = "external"

_CONTENTION_ROUNDS = 3


def receive(session: Session, subscription: str, messages: Sequence[InboxMessage]) -> Counter[str]:
    """
    Store the messages of one pull in the caller's transaction, which must be committed before any of them is acknowledged.

    :param subscription: full name of the subscription.
    :return: how many went into each state; ``redelivered`` counts messages that had their row already.
    """
    no_renaming_meanwhile(session)
    definitions = known_definitions(session, messages)
    known = known_messages(session, subscription, messages)
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
            counts.update(_receive_starts(session, [_start(subscription, message, definitions) for message in group]))
        else:
            counts.update(_receive_one(session, subscription, message, definitions) for message in group)
    explain_waiting(session)
    return counts


def receive_part_again(session: Session, row: BatchRequest) -> str:
    """
    Store once more what a message asked of one workflow, and forget what became of that; return the new state.

    :param row: rejected by Airflow, so that its workflow is known; the message's other parts stay as they are.
    """
    request = NewRequest.of_row(row)
    session.delete(row)
    session.flush()
    (state,) = _receive_starts(session, [request])
    return state


def _is_start(message: InboxMessage, definitions: KnownDefinitions) -> bool:
    """Tell whether a message can be accepted as a request to start at a task."""
    readable = message.problem is None and message.no_effect is None
    return readable and message.kind == "start" and message.task_id in definitions.tasks


def _start(subscription: str, message: InboxMessage, definitions: KnownDefinitions) -> NewRequest:
    task = definitions.tasks[message.task_id or ""]
    request = NewRequest.of_message(subscription, message)
    return replace(request, workflow_id=task.workflow_id, start_task_ids=[task.task_id])


def _receive_one(session: Session, subscription: str, message: InboxMessage, definitions: KnownDefinitions) -> str:
    """Store one message and return its state, or ``redelivered``."""
    request = NewRequest.of_message(subscription, message)
    if message.problem is not None:
        return _insert_ended(session, request, REJECTED, message.problem)
    if message.no_effect is not None:
        return _insert_ended(session, request, RECORDED, message.no_effect)
    if message.kind == "file":
        return _receive_file(session, request, message, definitions)
    task = definitions.task_of(message)
    if task is None:
        return _insert_ended(session, request, REJECTED, unknown_task(message.task_id))
    return _receive_completion(session, replace(request, workflow_id=task.workflow_id), task)


def _receive_starts(session: Session, requests: Sequence[NewRequest]) -> list[str]:
    """Accept requests to start batches, unless one was accepted before; return what became of each."""
    new = insert_new(session, requests, RECEIVED)
    return [RECEIVED if (request.message_id, request.part) in new else _receive_taken(session, request) for request in requests]


def _receive_taken(session: Session, request: NewRequest) -> str:
    """Record what was in the way of a start, or accept it if that is gone."""
    for _ in range(_CONTENTION_ROUNDS):
        if is_stored(session, request):
            return REDELIVERED
        accepted = accepted_start(session, request)
        if accepted is None:  # it ended in this very moment, which frees the batch id
            if insert(session, request, RECEIVED):
                return RECEIVED
            continue
        if accepted.content_hash == request.content_hash:
            reason = f"the same request was accepted before, as message {accepted.message_id}."
            return _insert_ended(session, request, DUPLICATE, reason)
        return _insert_ended(
            session,
            request,
            REJECTED,
            f"batch_id {request.batch_id!r} of workflow {request.workflow_id!r} was accepted before with another task_id, scope "
            f"or params, as message {accepted.message_id}; a new request needs a new batch_id.",
        )
    raise _contention(request)


def _receive_completion(session: Session, request: NewRequest, task: KnownTask) -> str:
    """
    Record that a task has ended elsewhere. Where its batch does not exist yet, start it behind that task.

    An external task is started itself: it finds the message and ends with it, and so do Airflow and TaskLog.
    """
    external = task.task_type == EXTERNAL_TASK_TYPE
    elsewhere = None if external else f"recorded only: Airflow runs task {task.task_id!r} itself, its type is {task.task_type}."
    behind = list(task.children) if request.status == SUCCESS else []
    starts = [task.task_id] if external else behind
    for _ in range(_CONTENTION_ROUNDS):
        if has_batch(session, request):
            return _insert_ended(session, request, RECORDED, elsewhere)
        if not starts:
            reason = f"{elsewhere} There is no such batch, and nothing to start in it."
            return _insert_ended(session, request, RECORDED, reason)
        if insert(session, replace(request, start_task_ids=starts), RECEIVED):
            return RECEIVED
        if is_stored(session, request):
            return REDELIVERED
    raise _contention(request)


def _receive_file(session: Session, request: NewRequest, message: InboxMessage, definitions: KnownDefinitions) -> str:
    """Accept a request for each workflow that waits for the file; of several states return the one that tells most."""
    file = message.params or {}
    waiting = definitions.workflows_for_file(file["bucket"], file["object"])
    workflow_ids = [name for name, size in waiting.items() if size == 0 or (message.file_size or 0) >= size]
    if not waiting:
        return _insert_ended(session, request, RECORDED, "no enabled workflow has a file_pattern that matches this file.")
    if not workflow_ids:
        return _insert_ended(session, request, RECORDED, _too_small(message.file_size, min(waiting.values())))
    states = _receive_starts(
        session, [replace(request, workflow_id=workflow_id, part=part) for part, workflow_id in enumerate(workflow_ids)]
    )
    return next(state for state in (RECEIVED, DUPLICATE, REJECTED, REDELIVERED) if state in states)


def _too_small(size: int | None, needed: int) -> str:
    if size is None:
        return (
            "the notification does not tell the file's size, and file_min_size asks for it; create the bucket's notification "
            "with --payload-format=json."
        )
    return f"the file has {size} bytes, fewer than file_min_size ({needed}) of any workflow that waits for it."


def _insert_ended(session: Session, request: NewRequest, state: str, reason: str | None) -> str:
    return state if insert(session, request, state, reason) else REDELIVERED


def _contention(request: NewRequest) -> RuntimeError:
    return RuntimeError(
        f"the accepted request for batch {request.batch_id!r} changed {_CONTENTION_ROUNDS} times while message "
        f"{request.message_id} was stored; it stays unacknowledged and will be delivered again."
    )
