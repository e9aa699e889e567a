"""``accelerator requests``: the messages of the inbox, and another chance for one that was rejected or waits."""

from __future__ import annotations

import argparse
import sys

from provider.cli.ids import refuse_unknown_workflow
from provider.cli.message_file import read_message
from provider.cli.output import say, utc, write_data, write_table
from provider.dispatch.retry import retry_request
from provider.exceptions import AcceleratorError
from provider.metadata import request_queries
from provider.metadata.engine import read_session
from provider.metadata.rows import StoredRequest
from provider.metadata.states import RECEIVED, REJECTED, REQUEST_STATES


def requests(args: argparse.Namespace) -> int:
    """List requests, or retry those that are named."""
    if args.action == "retry":
        return _retry(args.request_ids, args.payload)
    if args.payload is not None:
        raise AcceleratorError("--payload corrects a message that is retried: `accelerator requests retry ID --payload FILE`.")
    states = REQUEST_STATES if args.state == "all" else (args.state,) if args.state else (RECEIVED, REJECTED)
    with read_session() as session:
        found = request_queries.newest_requests(session, states=states, workflow_id=args.workflow, limit=args.limit)
        if args.workflow is not None and not found:
            refuse_unknown_workflow(session, args.workflow)
    if args.output != "table":
        write_data([_masked(request) for request in found], args.output)
    elif found:
        columns = ("id", "state", "received", "kind", "workflow", "batch", "task", "message", "reason")
        write_table(columns, [_cells(request) for request in found], below=("reason",))
    else:
        sys.stdout.write("No requests.\n" if args.state else "No requests wait or were rejected; --state all shows the others.\n")
    return 0


def _masked(request: StoredRequest) -> StoredRequest:
    """Mask the secrets of a request that has kept what it says."""
    if not (request["params"] or request["attributes"]):
        return request
    from provider.airflow_internals.secrets import redact

    return {**request, "params": redact(request["params"]), "attributes": redact(request["attributes"])}


def _retry(request_ids: list[int], payload_file: str | None) -> int:
    """Retry requests, each in a transaction of its own; returns 1 where one is rejected again or cannot be retried."""
    if payload_file is not None and len(request_ids) > 1:
        raise AcceleratorError("--payload is what one message should have said; name one request.")
    if not request_ids:
        raise AcceleratorError("name the requests to retry: `accelerator requests retry ID`; `accelerator requests` lists them.")
    payload = None if payload_file is None else read_message(payload_file)
    failed = False
    for request_id in request_ids:
        try:
            again = retry_request(request_id, payload=payload)
        except AcceleratorError as error:
            failed = True
            sys.stderr.write(f"error: {error}\n")
        else:
            failed = failed or again.state == REJECTED
            say(f"{request_id}: {again.said}")
    return 1 if failed else 0


def _cells(request: StoredRequest) -> tuple[str, ...]:
    return (
        str(request["id"]),
        request["state"],
        utc(request["received_at"]),
        request["kind"] if request["status"] is None else f"{request['kind']} {request['status']}",
        request["workflow_id"] or "",
        request["batch_id"] or "",
        request["task_id"] or "",
        request["message_id"],
        request["reason"] or "",
    )
