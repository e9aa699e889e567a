"""One call by HTTP within a budget, for services without a client library: what bounds it, and what its answers mean."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from provider.hooks.remote_job import JobNotFoundError, RemoteCallError
from provider.texts import sentence
from provider.threads import within

if TYPE_CHECKING:
    import httpx

    from provider.hooks.wait_budget import WaitBudget

__all__ = ["http_call"]


def http_call(
    method: str,
    url: str,
    budget: WaitBudget,
    *,
    name: str = "",
    also: tuple[int, ...] = (),
    **content: Any,
) -> httpx.Response:
    """
    Send one request and read the whole answer. Nothing is repeated, and no redirect is followed.

    A request other than GET may have been carried out although its answer is lost or an error of the server: the error says
    so by ``maybe_done``.

    :param method: method of HTTP.
    :param url: whole address.
    :param budget: how long the call may take and the answer may be.
    :param name: what messages call the service.
    :param also: statuses that are answers too, beside those of success.
    :param content: further parameters of ``httpx.Client.stream``: ``json``, ``headers``, ``params`` and the like.
    :raises JobNotFoundError: the answer is 404, and not among *also*.
    :raises RemoteCallError: any other answer, or none.
    """
    import httpx

    asked = f"{name} {method} {_path(url)}".strip()
    try:
        response = within(budget.call, partial(_exchange, asked, method, url, budget, content), "accelerator-http")
    except httpx.InvalidURL as error:
        raise RemoteCallError(f"{asked} cannot be sent: {error}. Correct the address.", retryable=False) from error
    except (httpx.RequestError, TimeoutError) as error:
        raise transport_error(asked, method, error, budget.call) from error
    status = response.status_code
    if response.is_success or status in also:
        return response
    said = f"{asked} answered {status}: {sentence(response.content.decode(errors='replace')) or response.reason_phrase}."
    if status == 404:
        raise JobNotFoundError(said)
    passing = status >= 500 or status in (408, 429)
    unclear = method != "GET" and passing and status != 429
    raise RemoteCallError(said, retryable=passing, maybe_done=unclear, retry_after=retry_after(response), status_code=status)


def _path(url: str) -> str:
    """Return an address without host and query: enough to tell calls apart, and nothing to hide."""
    return "/" + url.split("://", 1)[-1].partition("/")[2].partition("?")[0]


def _exchange(asked: str, method: str, url: str, budget: WaitBudget, content: dict[str, Any]) -> httpx.Response:
    import httpx

    end = time.monotonic() + budget.call
    body = bytearray()
    # The time holds for each read of the socket alone. Where the caller has given up, the loop ends this thread too.
    with httpx.stream(method, url, timeout=budget.call, follow_redirects=False, **content) as response:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > budget.body:
                raise too_long_error(asked, method, response.status_code, budget.body)
            if time.monotonic() > end:
                raise TimeoutError
    return read_response(response, bytes(body))


def read_response(response: httpx.Response, body: bytes) -> httpx.Response:
    """Return an answer whose body has been read and decoded by us."""
    import httpx

    decoded = ("content-encoding", "content-length", "transfer-encoding")
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in decoded]
    extensions = {"reason_phrase": response.reason_phrase.encode()}
    return httpx.Response(response.status_code, headers=headers, content=body, extensions=extensions)


def too_long_error(request: str, method: str, status: int, longest: int) -> RemoteCallError:
    """Return the error for an answer that was given up because it is too long."""
    return RemoteCallError(
        f"{request} answered {status} with more than {longest} bytes. Is that the service?",
        retryable=False,
        maybe_done=method != "GET",
        status_code=status,
    )


def transport_error(request: str, method: str, error: httpx.RequestError | TimeoutError, seconds: float) -> RemoteCallError:
    """
    Return the error for a call without an answer; one that never reached the service cannot have done anything.

    :param seconds: the time that the call had.
    """
    import httpx

    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol)
    why = f"no whole answer within {seconds:g} s" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
    return RemoteCallError(
        f"{request} was not answered: {why}.",
        retryable=not isinstance(error, httpx.UnsupportedProtocol),
        maybe_done=method != "GET" and not unsent,
    )


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds in ``Retry-After``, whatever their number; who obeys them has a limit."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    moment = parse_http_date(value)
    return None if moment is None else max((moment - datetime.now(tz=UTC)).total_seconds(), 0.0)


def parse_http_date(value: str) -> datetime | None:
    """Return the moment of a date in a header; None where it is none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
