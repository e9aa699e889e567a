"""
Reads what Power BI says of a refresh: in a history, or by itself. One reading, used everywhere.

.. seealso:: https://learn.microsoft.com/rest/api/power-bi/datasets/get-refresh-history-in-group
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from provider.hooks.http_call import parse_http_date
from provider.hooks.powerbi.answers import Entry, RefreshedObject, parse_time
from provider.hooks.powerbi.errors import hint_for, joined, reasons
from provider.hooks.remote_job import JobStatus, RemoteJob

if TYPE_CHECKING:
    import httpx

DONE = frozenset({"completed", "success", "succeeded"})
FAILED = frozenset({"failed", "failure", "cancelled", "canceled", "timedout", "disabled"})
#: The service ends every refresh after 24 hours. One that still stands open an hour later was forgotten there.
LONGEST_REFRESH = timedelta(hours=25)


def service_time(response: httpx.Response) -> str | None:
    """Return the service's own clock, so that ours does not matter; None where the answer does not tell."""
    moment = parse_http_date(response.headers.get("Date", ""))
    return None if moment is None else moment.isoformat()


def word(entry: Entry) -> str:
    """Return the telling one of ``extendedStatus`` (may be absent) and ``status``: an end, where one of them is one."""
    extended, status = entry.extended_status, entry.status or "Unknown"
    if not extended or extended == "Unknown":
        return status
    # A refresh that failed before it began is "Failed" and "NotStarted".
    return status if _is_end(status) and not _is_end(extended) else extended


def _is_end(said: str) -> bool:
    return said.casefold() in DONE | FAILED


def state(entry: Entry, now: datetime | None = None) -> Literal["running", "done", "failed"]:
    """
    Read what has become of a refresh.

    Words this package does not know mean running: a new word of the service must never end a wait early. ``Unknown`` is the
    service's word for a refresh that runs, until it has an end: then the service does not know how it ended. (An ``InProgress``
    may have an end and still runs.) What began longer ago than any refresh takes has ended unseen.
    """
    said = word(entry).casefold()
    if said in DONE:
        return "done"
    if said in FAILED or (said == "unknown" and entry.end_time):
        return "failed"
    begun = entry.start_time
    overdue = begun is not None and (now or datetime.now(tz=UTC)) - begun > LONGEST_REFRESH
    return "failed" if overdue else "running"


def in_the_way(entries: Iterable[Entry]) -> Entry | None:
    """
    Return the entry of a history that keeps another refresh from starting; None where none does.

    One refresh runs at a time: what stands open below a later one that was completed has ended unseen.
    """
    completed = [entry.start_time for entry in entries if state(entry) == "done"]
    latest = max((begun for begun in completed if begun is not None), default=None)
    for entry in entries:
        begun = entry.start_time
        if state(entry) == "running" and (latest is None or begun is None or begun > latest):
            return entry
    return None


def is_new(entry: Entry, known: list[str], since: str | None) -> bool:
    """Whether an entry of a history was neither there nor had begun when the intent was written."""
    if entry.id in known:
        return False
    begun, earliest = entry.start_time, parse_time(since)
    return begun is None or earliest is None or begun >= earliest


def job_status(noun: str, job: RemoteJob, entry: Entry) -> JobStatus:
    """Read a refresh, of a history or by itself."""
    result = _result(job, entry)
    found = state(entry)
    if found != "failed":
        return JobStatus(found, word(entry), result=result)
    text = joined(iter(_reasons(entry)))
    hint, retryable = hint_for(text)
    if word(entry).casefold() not in FAILED:
        text = text or "the service does not say how it ended"
    parts = [f"{noun} {job['id']} ended as {word(entry)}: {text or 'the service gives no reason'}".rstrip(".") + "."]
    broken = [_object_name(item) for item in entry.objects if (item.status or "").casefold() in FAILED]
    if broken:
        parts.append(f"Not refreshed: {', '.join(broken[:5])}{' …' if len(broken) > 5 else ''}.")
    if result.get("attempts", 0) > 1:
        parts.append(f"{result['attempts']} attempts.")
    parts.append(f"{hint} See {job['url']}".strip())
    return JobStatus("failed", word(entry), " ".join(parts), retryable, result)


def _reasons(entry: Entry) -> list[str]:
    engine = [item for item in entry.messages if item.get("type") != "Warning"]
    found = [*reasons(entry.exception), *(text for item in engine for text in reasons(item))]
    for attempt in entry.attempts[-1:]:
        found.extend(reasons(attempt.exception))
    return found


def _object_name(item: RefreshedObject) -> str:
    return f"table {item.table!r}" + (f" partition {item.partition!r}" if item.partition else "")


def _result(job: RemoteJob, entry: Entry) -> dict[str, Any]:
    begun, ended = entry.start_time, entry.end_time
    found = {
        "id": job["id"],
        "status": word(entry),
        "type": entry.refresh_type,
        "started_at": begun and begun.isoformat(),
        "ended_at": ended and ended.isoformat(),
        "duration": (ended - begun).total_seconds() if begun and ended else None,
        "attempts": entry.number_of_attempts or len(entry.attempts) or None,
        "objects": [item.model_dump(exclude_none=True) for item in entry.objects] or None,
    }
    return {key: value for key, value in found.items() if value is not None}
