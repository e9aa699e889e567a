"""
The conversation with the Power BI REST API, without its transport.

Each function is a generator: it yields the requests it wants sent, is given the answers, and returns what they mean.
:class:`~provider.hooks.powerbi.PowerBIHook` drives the same generator with a blocking client in a worker and with an
asynchronous one in a triggerer. A failed call is thrown into the generator as a
:class:`~provider.hooks.remote_job.RemoteCallError`.

.. seealso:: https://learn.microsoft.com/rest/api/power-bi/
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import quote

from provider.hooks.powerbi_errors import hint_for, one_line, reasons
from provider.hooks.remote_job import JobStatus, RemoteCallError, RemoteJob

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request: *path* under ``/v1.0/myorg/``, every part of it quoted already."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None


ApiCall: TypeAlias = "Generator[ApiRequest, httpx.Response, T]"

DONE = frozenset({"completed", "success", "succeeded"})
FAILED = frozenset({"failed", "failure", "cancelled", "canceled", "timedout", "disabled"})


def path(*parts: str) -> str:
    """Join parts to a path; a part can never become two, whatever is in it."""
    return "/".join(quote(part, safe="") for part in parts)


def is_id(value: str) -> bool:
    """Whether *value* is a GUID, as all ids of workspaces, models, reports and dataflows are."""
    try:
        return str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the object in an answer; an empty one where there is none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def listed(request: ApiRequest) -> ApiCall[list[dict[str, Any]]]:
    """Return the ``value`` list of an answer."""
    response = yield request
    value = json_object(response).get("value")
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def pick(kind: str, name: str, where: str, found: list[dict[str, Any]], id_key: str = "id") -> dict[str, Any]:
    """
    Return the one item that is called *name*.

    :raises RemoteCallError: there is none, or there are several; the message lists the candidates.
    """
    matches = [item for item in found if item.get("name") == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        ids = ", ".join(sorted(str(item.get(id_key)) for item in matches))
        raise RemoteCallError(f"{kind} {name!r} in {where} is ambiguous: {ids}. Give one of these ids.", retryable=False)
    names = ", ".join(sorted(repr(item.get("name")) for item in found)[:10]) or "none"
    raise RemoteCallError(
        f"There is no {kind} {name!r} in {where} that this application can see. It sees: {names}.", retryable=False
    )


def resolve_workspace(workspace: str) -> ApiCall[str]:
    """Return the id of a workspace."""
    if is_id(workspace):
        return workspace
    literal = workspace.replace("'", "''")
    found = yield from listed(ApiRequest("GET", "groups", params={"$filter": f"name eq '{literal}'"}))
    return str(pick("workspace", workspace, "the tenant", found)["id"])


def resolve_semantic_model(workspace_id: str, name: str) -> ApiCall[str]:
    """Return the id of a semantic model."""
    if is_id(name):
        return name
    found = yield from listed(ApiRequest("GET", path("groups", workspace_id, "datasets")))
    return str(pick("semantic model", name, f"workspace {workspace_id}", found)["id"])


def resolve_dataflow(workspace_id: str, name: str) -> ApiCall[str]:
    """Return the id of a dataflow."""
    if is_id(name):
        return name
    found = yield from listed(ApiRequest("GET", path("groups", workspace_id, "dataflows")))
    return str(pick("dataflow", name, f"workspace {workspace_id}", found, "objectId")["objectId"])


def resolve_report(workspace_id: str, report: str) -> ApiCall[tuple[str, str]]:
    """Return workspace and id of the semantic model that a report shows; it may be in another workspace."""
    if is_id(report):
        response = yield ApiRequest("GET", path("groups", workspace_id, "reports", report))
        item = json_object(response)
    else:
        found = yield from listed(ApiRequest("GET", path("groups", workspace_id, "reports")))
        item = pick("report", report, f"workspace {workspace_id}", found)
    if not item.get("datasetId"):
        raise RemoteCallError(
            f"Report {report!r} has no semantic model to refresh (paginated reports have none). Give `semantic_model`.",
            retryable=False,
        )
    return str(item.get("datasetWorkspaceId") or workspace_id), str(item["datasetId"])


def service_time(response: httpx.Response) -> str | None:
    """Return the service's own clock, so that ours does not matter; None where the answer does not tell."""
    try:
        return parsedate_to_datetime(response.headers["Date"]).isoformat()
    except (KeyError, ValueError):
        return None


def parse_time(value: Any) -> datetime | None:
    """Return a moment of the service, which always means UTC; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def word(entry: Mapping[str, Any]) -> str:
    """Return the telling one of ``extendedStatus`` (may be absent) and ``status``."""
    extended = entry.get("extendedStatus")
    return str(extended if extended and extended != "Unknown" else entry.get("status") or "Unknown")


def state(entry: Mapping[str, Any]) -> str:
    """Return running, done or failed; words this package does not know mean running."""
    folded = word(entry).casefold()
    return "done" if folded in DONE else "failed" if folded in FAILED else "running"


def is_new(entry: Mapping[str, Any], known: list[str], since: str | None, id_key: str) -> bool:
    """Whether an entry of a history was neither there nor had begun when the intent was written."""
    if str(entry.get(id_key)) in known:
        return False
    begun, earliest = parse_time(entry.get("startTime")), parse_time(since)
    return begun is None or earliest is None or begun >= earliest


def job_status(noun: str, job: RemoteJob, entry: Mapping[str, Any]) -> JobStatus:
    """Read a refresh, of a history or by itself."""
    result = _result(job, entry)
    if state(entry) != "failed":
        return JobStatus("done" if state(entry) == "done" else "running", word(entry), result=result)
    attempts = [item for item in entry.get("refreshAttempts") or () if isinstance(item, Mapping)]
    engine = [item for item in entry.get("messages") or () if isinstance(item, Mapping) and item.get("type") != "Warning"]
    found = [*reasons(entry.get("serviceExceptionJson")), *(text for item in engine for text in reasons(item))]
    for attempt in attempts[-1:]:
        found.extend(reasons(attempt.get("serviceExceptionJson")))
    text = one_line(iter(found))
    hint, retryable = hint_for(text)
    parts = [f"{noun} {job['id']} ended as {word(entry)}: {text or 'the service gives no reason'}".rstrip(".") + "."]
    if broken := [_object_name(item) for item in entry.get("objects") or () if _broken(item)]:
        parts.append(f"Not refreshed: {', '.join(broken[:5])}{' …' if len(broken) > 5 else ''}.")
    if result.get("attempts", 0) > 1:
        parts.append(f"{result['attempts']} attempts.")
    parts.append(f"{hint} See {job['url']}".strip())
    return JobStatus("failed", word(entry), " ".join(parts), retryable, result)


def _broken(item: Any) -> bool:
    return isinstance(item, Mapping) and str(item.get("status", "")).casefold() in FAILED


def _object_name(item: Mapping[str, Any]) -> str:
    partition = item.get("partition")
    return f"table {item.get('table')!r}" + (f" partition {partition!r}" if partition else "")


def _result(job: RemoteJob, entry: Mapping[str, Any]) -> dict[str, Any]:
    begun, ended = parse_time(entry.get("startTime")), parse_time(entry.get("endTime"))
    attempts = entry.get("numberOfAttempts") or len(entry.get("refreshAttempts") or ())
    found = {
        "id": job["id"],
        "status": word(entry),
        "type": entry.get("refreshType") or entry.get("currentRefreshType"),
        "started_at": begun and begun.isoformat(),
        "ended_at": ended and ended.isoformat(),
        "duration": (ended - begun).total_seconds() if begun and ended else None,
        "attempts": attempts or None,
        "objects": entry.get("objects"),
    }
    return {key: value for key, value in found.items() if value is not None}
