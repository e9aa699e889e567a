"""One line for whatever Power BI calls an error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from provider.hooks.http_call import Mask, retry_after
from provider.hooks.powerbi.answers import objects_in
from provider.hooks.remote_job import RemoteCallError
from provider.texts import one_line

if TYPE_CHECKING:
    import httpx

#: Longest reason, in characters, that is taken from the service.
REASON_LENGTH = 400
#: The same for the number by which Microsoft's support finds a request, which is a GUID.
REQUEST_ID_LENGTH = 100
#: Answers of the service have five levels. Python's own limit is for its stack, and whoever walks through a value has less of it.
DEEPEST = 50

#: Parts of error codes and messages: what to do, and whether a retry without it can help.
HINTS: tuple[tuple[str, str, bool], ...] = (
    ("CredentialsNotSpecified", "Set the data source credentials of the semantic model.", False),
    ("InvalidConnectionCredentials", "Correct the data source credentials of the semantic model.", False),
    ("AccessUnauthorized", "Correct the data source credentials of the semantic model.", False),
    ("GatewayNotReachable", "Start the data gateway, or check its network.", True),
    ("DailyDataflowRefreshLimitExceeded", "The dataflow's refreshes of the day are used up; try tomorrow.", False),
    ("RefreshLimitExceeded", "The refreshes of the day are used up (8 on shared capacity); try tomorrow.", False),
    (
        "refresh requests in last 24 hours exceeded",
        "The refreshes of the day are used up (8 on shared capacity, 48 on Premium for scheduled ones); try tomorrow.",
        False,
    ),
    ("ExceededLimit", "The refreshes of the day are used up (8 on shared capacity); try tomorrow.", False),
    ("0xC11C0020", "The model was evicted from memory; running it again helps.", True),
    ("CapacityNotActive", "Resume the capacity of the workspace.", True),
)
#: Dataflows of Gen2 are items of Fabric, which Power BI's API need not know. Fabric's own API for them is a preview, and for the
#: accounts of people: it takes neither service principals nor managed identities.
#: .. seealso:: https://learn.microsoft.com/rest/api/fabric/dataflow/background-jobs/run-on-demand-execute
GEN2_HINT = (
    "If it is a dataflow of Gen2: applications cannot refresh those. Let Fabric run it, by a schedule or a pipeline, and a task "
    "of type `external` wait for its end."
)
_PERMISSION_HINT = (
    "Give the application access: Contributor in the workspace, Build and Write on the semantic model, and 'Service "
    "principals can call Fabric public APIs' in the tenant settings."
)


def hint_for(text: str) -> tuple[str, bool]:
    """Return what to do about an error, and whether a retry can help without it."""
    folded = text.casefold()
    for mark, hint, retryable in HINTS:
        if mark.casefold() in folded:
            return hint, retryable
    return "", True


def parsed(text: str | bytes) -> Any:
    """Return the value of a JSON text; None where it is none, or deeper than an answer of this service can be."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    level = [value] if _has_parts(value) else []
    for _ in range(DEEPEST):
        level = [part for item in level for part in (item.values() if isinstance(item, dict) else item) if _has_parts(part)]
        if not level:
            return value
    return None


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list)


def reasons(value: Any) -> Iterator[str]:
    """Yield the reasons in an error of any of the service's shapes: ``code: message``, details, plain text."""
    if isinstance(value, str):
        found = parsed(value)
        if isinstance(found, Mapping):
            yield from reasons(found)
        elif value.strip():
            yield one_line(value, REASON_LENGTH)
        return
    if not isinstance(value, Mapping):
        return
    code = value.get("code") or value.get("errorCode")
    message = value.get("message") or value.get("errorDescription")
    text = ": ".join(one_line(part, REASON_LENGTH) for part in (code, message) if part)
    if text:
        yield text[:REASON_LENGTH]
    inner = value.get("error") or value.get("pbi.error")
    if isinstance(inner, Mapping):
        yield from reasons(inner)
    yield from _details(value)


def _details(value: Mapping[str, Any]) -> Iterator[str]:
    for item in objects_in(value.get("details")):
        detail = item.get("detail")
        text = detail.get("value") if isinstance(detail, Mapping) else item.get("message")
        if text:
            yield ": ".join(one_line(part, REASON_LENGTH) for part in (item.get("code"), text) if part)[:REASON_LENGTH]


def joined(found: Iterator[str], limit: int = 4) -> str:
    """Join the first few different reasons."""
    return "; ".join(list(dict.fromkeys(found))[:limit])


def response_error(request: str, method: str, response: httpx.Response, mask: Mask = str) -> RemoteCallError:
    """Return the error for an answer that is none of success."""
    status = response.status_code
    text = joined(reasons(mask(_text(response)))) or response.reason_phrase or "no reason given"
    hint, retryable = hint_for(text)
    if status in (401, 403):
        hint, retryable = hint or _PERMISSION_HINT, False
    elif status == 429:
        hint = hint or "Too many requests."
    elif status < 500 and status != 408:
        retryable = False
    request_id = one_line(response.headers.get("RequestId") or response.headers.get("x-ms-request-id") or "", REQUEST_ID_LENGTH)
    parts = [f"{request} answered {status}: {text}".rstrip(".") + ".", hint]
    if request_id:
        parts.append(f"Request id {request_id}.")
    return RemoteCallError(
        mask(" ".join(part for part in parts if part)),
        retryable=retryable,
        maybe_done=method != "GET" and (status >= 500 or status == 408),
        retry_after=retry_after(response),
        status_code=status,
    )


def _text(response: httpx.Response) -> str:
    """Return an answer as text, whatever it says of its encoding."""
    return response.content.decode("utf-8", "replace")


def unreadable_error(request: str, response: httpx.Response, mask: Mask = str) -> RemoteCallError:
    """Return the error for an answer of success that is not the service's: a page of a proxy, half an answer."""
    text = one_line(mask(_text(response)), 80)
    return RemoteCallError(
        f"{request} answered {response.status_code} with something that is no JSON object: {text!r}. Is a proxy in between?",
        status_code=response.status_code,
    )


def token_expired(response: httpx.Response) -> bool:
    """Whether the service refused the token for its age: 403 ``TokenExpired`` (documented nowhere), or 401."""
    return response.status_code == 401 or (response.status_code == 403 and b"TokenExpired" in response.content)


def already_running(error: RemoteCallError) -> bool:
    """Whether a start was refused because another refresh runs (400 today, 409 in older texts)."""
    text = str(error).casefold()
    return error.status_code == 409 or (
        error.status_code == 400 and "already" in text and any(w in text for w in ("executing", "running", "in progress"))
    )
