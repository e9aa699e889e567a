"""Another chance for a request of the inbox that was rejected or waits: for the command, the maintenance DAG and the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from provider import messages
from provider.exceptions import AcceleratorError
from provider.metadata import inbox, request_queries, request_queue
from provider.metadata.engine import write_session
from provider.metadata.renaming import no_renaming_meanwhile
from provider.metadata.states import RECEIVED, RECORDED, REJECTED

if TYPE_CHECKING:
    from provider.metadata.inbox_message import InboxMessage
    from provider.metadata.tables import BatchRequest


class Retried(NamedTuple):
    """
    What came of another chance.

    :param state: of the request.
    :param said: what to tell people.
    :param request_id: the request's id from now on: a message that is read once more is a new request.
    """

    state: str
    said: str
    request_id: int


class MayNotStartError(AcceleratorError):
    """Whoever asks may not start batches of the request's workflow."""


def _anyone(_workflow_id: str | None) -> bool:
    return True


def retry_request(request_id: int, may_start: Callable[[str | None], bool] = _anyone, *, payload: bytes | None = None) -> Retried:
    """
    Give a request another chance, in a transaction of its own.

    :param may_start: whether batches of a workflow may be started, None being one that cannot be told. It is asked of the
        request as it stands, and again of what has come of it: a task may belong to another workflow by now.
    :param payload: what the message should have said, for one that was rejected; it replaces what it said.
    :raises AcceleratorError: there is no such request, it has had its effect, or its payload cannot be replaced.
    :raises MayNotStartError: nothing was done.
    """
    with write_session() as session:
        no_renaming_meanwhile(session)  # before a row is locked that a renaming waits for
        request = request_queries.locked_request(session, request_id)
        if request is None:
            raise AcceleratorError(f"there is no request {request_id}; `accelerator requests --state all` lists them.")
        if not may_start(request.workflow_id):
            raise MayNotStartError(f"you may not start what request {request_id} asks for.")
        corrected = None if payload is None else _corrected(request, payload)
        if request.state == RECEIVED:
            if not request_queue.make_due(session, request_id):
                return Retried(RECEIVED, "a dispatcher is at it already", request_id)
            session.refresh(request)
            return Retried(RECEIVED, request.reason or "due now", request_id)
        if request.state != REJECTED and not (request.state == RECORDED and request.kind == "file"):
            raise AcceleratorError(
                f"request {request_id} is {request.state}, so there is nothing to retry: a message has its effect once. Clear "
                "tasks of its batch in Airflow, or send a message with a new batch_id."
            )
        if corrected is None and len(request.payload) < request.payload_bytes and request.kind != "file":
            raise AcceleratorError(
                f"request {request_id} was refused as a message of {request.payload_bytes} bytes, of which only the beginning "
                "was kept; correct it with `accelerator requests retry ID --payload FILE`, or publish it again."
            )
        subscription, message_id, part = request.subscription, request.message_id, request.part
        if request.kind == "file" and request.state == REJECTED and request.workflow_id is not None:
            state = inbox.receive_part_again(session, request)
        else:
            message = corrected or messages.read(request.payload, request.attributes, message_id, request.published_at)
            session.expunge(request)
            request_queries.forget_message(session, subscription, message_id)
            (state,) = inbox.receive(session, subscription, [message])
        for workflow_id in request_queries.workflows_of_message(session, subscription, message_id):
            if not may_start(workflow_id):
                raise MayNotStartError(f"you may not start what request {request_id} asks for now.")
        again_id, reason = request_queries.stored_as(session, subscription, message_id, part)
        return Retried(state, f"{state}, as request {again_id}" + (f": {reason}" if reason else ""), again_id)


def _corrected(request: BatchRequest, payload: bytes) -> InboxMessage:
    """
    Return what a message should have said; refuse what would be worse than what is there.

    Whether its task is known is for the inbox to say.
    """
    if request.state != REJECTED or request.kind == "file":
        what = "a file's notification" if request.kind == "file" else request.state
        raise AcceleratorError(f"request {request.id} is {what}: only a message that was rejected can be corrected.")
    message = messages.read(payload, request.attributes, request.message_id, request.published_at)
    if why := message.problem:
        raise AcceleratorError(f"request {request.id} was not changed, as its corrected message cannot be read: {why}")
    return message
