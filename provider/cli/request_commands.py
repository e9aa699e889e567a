"""``accelerator requests``: the messages of the inbox, and another chance for one that was rejected or waits."""

from __future__ import annotations

import argparse
import sys

from provider import messages
from provider.cli.output import say, utc, write_json, write_table
from provider.exceptions import AcceleratorError
from provider.metadata import inbox, request_queries, request_queue
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import StoredRequest
from provider.metadata.states import RECEIVED, RECORDED, REJECTED, REQUEST_STATES


def requests(args: argparse.Namespace) -> int:
    """List requests, or retry those that are named."""
    if args.action == "retry":
        return _retry(args.request_ids)
    states = REQUEST_STATES if args.state == "all" else (args.state,) if args.state else (RECEIVED, REJECTED)
    with read_session() as session:
        found = request_queries.newest_requests(session, states=states, workflow_id=args.workflow, limit=args.limit)
    if args.output == "json":
        write_json([_masked(request) for request in found])
    elif found:
        columns = ("id", "received", "kind", "state", "workflow", "batch", "task", "message", "reason")
        write_table(columns, [_cells(request) for request in found])
    else:
        sys.stdout.write("No requests.\n" if args.state else "No requests wait or were rejected; --state all shows the others.\n")
    return 0


def _masked(request: StoredRequest) -> StoredRequest:
    """Mask the secrets of a request that has kept what it says."""
    if not (request["params"] or request["attributes"]):
        return request
    from provider.airflow_internals.secrets import redact

    return {**request, "params": redact(request["params"]), "attributes": redact(request["attributes"])}


def _retry(request_ids: list[int]) -> int:
    """Retry requests, each in a transaction of its own; returns 1 where one is rejected again or cannot be retried."""
    if not request_ids:
        raise AcceleratorError("name the requests to retry: `accelerator requests retry ID`; `accelerator requests` lists them.")
    failed = False
    for request_id in request_ids:
        try:
            state, said = _retry_one(request_id)
        except AcceleratorError as error:
            failed = True
            sys.stderr.write(f"error: {error}\n")
        else:
            failed = failed or state == REJECTED
            say(f"{request_id}: {said}")
    return 1 if failed else 0


def _retry_one(request_id: int) -> tuple[str, str]:
    """
    Give a request another chance; return its state and what to tell people.

    :raises AcceleratorError: there is no such request, or it has had its effect.
    """
    with write_session() as session:
        request = request_queries.locked_request(session, request_id)
        if request is None:
            raise AcceleratorError(f"there is no request {request_id}; `accelerator requests --state all` lists them.")
        if request.state == RECEIVED:
            if not request_queue.make_due(session, request_id):
                return RECEIVED, "a dispatcher is at it already"
            session.refresh(request)
            return RECEIVED, request.reason or "due now"
        if request.state != REJECTED and not (request.state == RECORDED and request.kind == "file"):
            raise AcceleratorError(
                f"request {request_id} is {request.state}, so there is nothing to retry: a message has its effect once. Clear "
                "tasks of its batch in Airflow, or send a message with a new batch_id."
            )
        if len(request.payload) < request.payload_bytes and request.kind != "file":
            raise AcceleratorError(
                f"request {request_id} was refused as a message of {request.payload_bytes} bytes, of which only the beginning "
                "was kept; publish it again, corrected."
            )
        subscription, message_id, part = request.subscription, request.message_id, request.part
        if request.kind == "file" and request.state == REJECTED and request.workflow_id is not None:
            state = inbox.receive_part_again(session, request)
        else:
            message = messages.read(request.payload, request.attributes, message_id, request.published_at)
            session.expunge(request)
            request_queries.forget_message(session, subscription, message_id)
            (state,) = inbox.receive(session, subscription, [message])
        again_id, reason = request_queries.stored_as(session, subscription, message_id, part)
        return state, f"{state}, as request {again_id}" + (f": {reason}" if reason else "")


def _cells(request: StoredRequest) -> tuple[str, ...]:
    return (
        str(request["id"]),
        utc(request["received_at"]),
        request["kind"] if request["status"] is None else f"{request['kind']} {request['status']}",
        request["state"],
        request["workflow_id"] or "",
        request["batch_id"] or "",
        request["task_id"] or "",
        request["message_id"],
        request["reason"] or "",
    )
