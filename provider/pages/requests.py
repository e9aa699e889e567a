"""Routes of the inbox: what waits, what was rejected and why, and another chance for it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Query
from starlette.responses import Response

from provider.dispatch.retry import MayNotStartError, retry_request
from provider.exceptions import AcceleratorError
from provider.metadata.engine import read_session
from provider.metadata.page_queries import RequestFilter, page_of_requests
from provider.metadata.request_queries import stored_request
from provider.metadata.states import RECEIVED, RECORDED, REJECTED, REQUEST_STATES
from provider.pages.access import Asking, Person, found, only_json
from provider.pages.answers import PAYLOAD_CHARACTERS, answer, shown_payload
from provider.pages.batches import Limit, Text

router = APIRouter(prefix="/api")

RequestId = Annotated[int, Query(ge=1, le=2**53)]


@router.get("/requests")
def list_requests(
    person: Asking, limit: Limit = 50, state: Text = "", workflow: Text = "", text: Text = "", after: RequestId | None = None
) -> Response:
    """Return one page of requests; without a state those that wait or were rejected."""
    states = {"": (RECEIVED, REJECTED), "all": ()}.get(state, (state,))
    wanted = RequestFilter(person.visible, states, workflow or None, text=text or None)
    with read_session() as session:
        page = page_of_requests(session, wanted, limit=limit, after=after)
    return answer({"requests": page.rows, "more": page.more, "states": REQUEST_STATES})


@router.get("/request")
def show_request(person: Asking, id: RequestId) -> Response:
    """Return one request with its payload, and whether this person may retry and correct it."""
    seen = _visible_request(person, id)
    payload = seen.pop("payload")
    again = seen["state"] in (RECEIVED, REJECTED) or (seen["state"], seen["kind"]) == (RECORDED, "file")
    whole = len(payload) >= seen["payload_bytes"] or seen["kind"] == "file"
    shown, may_start = shown_payload(payload, seen["payload_bytes"]), person.may_start(seen["workflow_id"])
    return answer(
        {
            "request": seen,
            "payload": shown,
            "may_retry": again and whole and may_start,
            # What is masked or cut would be stored as it is seen.
            "may_correct": seen["state"] == REJECTED and seen["kind"] != "file" and whole and may_start and shown["faithful"],
        }
    )


@router.post("/request/retry", dependencies=[only_json])
def retry(
    person: Asking,
    id: Annotated[int, Body(ge=1, le=2**53)],
    payload: Annotated[str | None, Body(max_length=PAYLOAD_CHARACTERS)] = None,
) -> Response:
    """Give a request another chance, as ``accelerator requests retry`` does, perhaps with what its message should have said."""
    _visible_request(person, id)
    corrected = None if payload is None else payload.encode("utf-8", "replace")
    try:
        again = retry_request(id, person.may_start, payload=corrected)
    except MayNotStartError as refused:
        raise HTTPException(403, str(refused)) from None
    except AcceleratorError as error:
        raise HTTPException(409, str(error)) from None
    return answer({"state": again.state, "said": again.said, "id": again.request_id})


def _visible_request(person: Person, request_id: int) -> Any:
    """Return a request that this person may see; the others are as if they were not there."""
    with read_session() as session:
        row = stored_request(session, request_id)
    return found(row if row is not None and person.may_see(row["workflow_id"]) else None, f"request {request_id}")
