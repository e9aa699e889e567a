"""Routes of the batches: the list, and all of one batch."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from provider.airflow_internals.secrets import redact
from provider.metadata.batch_queries import batches_with_id, task_logs_of
from provider.metadata.definitions import edges_of, workflow_ids
from provider.metadata.engine import read_session
from provider.metadata.leader_lock import record_current_at
from provider.metadata.page_queries import (
    BatchFilter,
    Place,
    RequestFilter,
    page_of_batches,
    page_of_requests,
    task_counts,
)
from provider.metadata.rows import StoredTaskBatch
from provider.metadata.states import END_CAUSES
from provider.pages.access import Asking, Person, found
from provider.pages.answers import answer
from provider.texts import cut

router = APIRouter(prefix="/api")

#: Most tries of one batch that a page shows.
MOST_TRIES = 5000
#: Most requests of one batch that a page names.
_MOST_REQUESTS = 50
#: Longest error of a batch in the list, and of a batch or a try on the page of one batch, in characters.
_LONGEST_ERROR, _LONGEST_ON_PAGE = 400, 10_000

#: PostgreSQL has no NUL in a text.
Text = Annotated[str, Query(max_length=500, pattern="^[^\\x00]*$")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/person")
def person(person: Asking) -> Response:
    """Return what the pages must know of whoever looks: the workflows to choose from, and whether there is a tab Health."""
    with read_session() as session:
        known = sorted(workflow_ids(session))
    return answer({"workflows": person.of_those(known), "health": person.may_see_health()})


@router.get("/batches")
def list_batches(
    person: Asking,
    limit: Limit = 50,
    workflow: Text = "",
    status: Text = "",
    source: Text = "",
    text: Text = "",
    since: datetime | None = None,
    until: datetime | None = None,
    after: Text = "",
    before: Text = "",
) -> Response:
    """Return one page of batches, each with its tasks counted by status."""
    # By its name now a renamed one is found, too: whoever may not see that must not be able to guess it.
    wanted = BatchFilter(
        visible=person.visible if not workflow or person.may_see(workflow) else frozenset(),
        workflow_id=workflow or None,
        statuses=tuple(one for one in status.split(",") if one),
        source=source or None,
        text=text or None,
        since=_zoned(since),
        until=_zoned(until),
    )
    with read_session() as session:
        page = page_of_batches(session, wanted, limit=limit, after=_place(after), before=_place(before))
        counts = task_counts(session, [(row["workflow_id"], row["batch_id"]) for row in page.rows])
        current_at = record_current_at(session)
    rows = [
        {
            **row,
            "error": _error(row["error"], _LONGEST_ERROR),
            "tasks": counts.get((row["workflow_id"], row["batch_id"]), {}),
            "place": _place_of(row),
        }
        for row in page.rows
    ]
    return answer({"batches": rows, "more": page.more, "record_current_at": current_at})


@router.get("/batch")
def show_batch(person: Asking, dag_id: Text, run_id: Text) -> Response:
    """
    Return one batch, its tries, its edges as the rows are now, and the requests that concern it.

    The ids are parts of the query and not of the path, since an id may hold a slash.
    """
    with read_session() as session:
        batch = visible_batch(session, person, dag_id, run_id)
        tries = task_logs_of(session, dag_id, run_id, limit=MOST_TRIES + 1)
        edges = edges_of(session, dag_id)
        asked = RequestFilter(person.visible, workflow_id=dag_id, batch_id=run_id)
        requests = page_of_requests(session, asked, limit=_MOST_REQUESTS).rows
        current_at = record_current_at(session)
    shown = [
        {
            **{name: value for name, value in row.items() if name not in _NOT_OF_A_TRY},
            "error_message": _error(row["error_message"], _LONGEST_ON_PAGE),
        }
        for row in tries[:MOST_TRIES]
    ]
    return answer(
        {
            "batch": {**batch, "error": _error(batch["error"], _LONGEST_ON_PAGE)},
            "tries": shown,
            "more_tries": len(tries) > MOST_TRIES,
            "edges": edges,
            "requests": [{name: row[name] for name in _OF_A_REQUEST} for row in requests],
            "causes": END_CAUSES,
            "record_current_at": current_at,
        }
    )


_NOT_OF_A_TRY = frozenset({"workflow_id", "batch_id", "config", "remote_job", "row_source"})
_OF_A_REQUEST = ("id", "kind", "state", "message_id", "task_id", "status", "received_at", "dispatched_at")


def _error(text: str | None, limit: int) -> str | None:
    """Return an error that is no longer than *limit*; masked before it is cut: of a secret that is, nothing would be found."""
    return text if text is None or len(text) <= limit else cut(redact(text), limit)


def visible_batch(session: Session, person: Person, workflow_id: str, batch_id: str) -> StoredTaskBatch:
    """
    Return a batch that this person may see.

    :raises HTTPException: 404 where there is none.
    """
    rows = batches_with_id(session, batch_id, workflow_id) if person.may_see(workflow_id) else []
    batch: StoredTaskBatch = found(rows[0] if rows else None, f"batch {batch_id} of {workflow_id}")
    return batch


def _zoned(time: datetime | None) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise HTTPException(422, "a time needs its zone, such as 2026-03-16T04:00:00Z.")
    try:
        return time and time.astimezone(UTC)
    except OverflowError:
        raise HTTPException(422, "a time is of the years 1 to 9999, in UTC.") from None


def _place_of(row: Any) -> str:
    """Return where a row stands in the list; in no form in which a mask would change it, as where an id holds a known secret."""
    return urlsafe_b64encode(json.dumps([row["created_at"].isoformat(), row["workflow_id"], row["batch_id"]]).encode()).decode()


def _place(text: str) -> Place | None:
    if not text:
        return None
    try:
        created_at, workflow_id, batch_id = json.loads(urlsafe_b64decode(text))
        ids = f"{workflow_id}{batch_id}"
        ids.encode()  # half a character is in no row, and no database takes it, nor NUL
        if "\x00" in ids:
            raise ValueError(ids)
        return datetime.fromisoformat(created_at).astimezone(UTC), str(workflow_id), str(batch_id)
    except (ValueError, TypeError, OverflowError):
        raise HTTPException(422, "after and before take the place of a row, as the list gives it.") from None
