"""One call by HTTP within a budget, for services without a client library: what bounds it, and what its answers mean."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeAlias

from provider.hooks.paths import check_path
from provider.hooks.remote_job import JobNotFoundError, RemoteCallError
from provider.texts import sentence
from provider.threads import within

if TYPE_CHECKING:
    import httpx

    from provider.hooks.wait_budget import WaitBudget

__all__ = ["http_call"]

#: Takes what is secret out of a text.
Mask: TypeAlias = Callable[[str], str]

#: Longest reason, in characters, that is taken from an error of the transport.
_REASON_LENGTH = 400


#: What a token consists of, in HTTP.
#: .. seealso:: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def is_token(value: object) -> bool:
    """Tell whether a value can be sent as a bearer token; the error of one that cannot would show it."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def no_cookies() -> CookieJar:
    """Return a jar that takes none: one with an odd character would break every later call, and no service of ours needs any."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def http_call(
    method: str,
    url: str,
    budget: WaitBudget,
    *,
    name: str = "",
    also: tuple[int, ...] = (),
    client: httpx.Client | None = None,
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
    :param client: keeps connections for further calls, and no cookies (:func:`no_cookies`); None for one of its own.
    :param content: further parameters of ``httpx.Client.stream``: ``json``, ``headers``, ``params`` and the like.
    :raises JobNotFoundError: the answer is 404, and not among *also*.
    :raises RemoteCallError: any other answer, or none; or the path can be taken for another one.
    """
    import httpx

    asked = f"{name} {method} {_path(url)}".strip()
    check_path(_path(url))
    try:
        response = within(budget.call, partial(_exchange, asked, method, url, budget, client, content), "accelerator-http")
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
    return "/" + url.split("://", 1)[-1].partition("/")[2].partition("?")[0].partition("#")[0]


def _exchange(
    asked: str, method: str, url: str, budget: WaitBudget, client: httpx.Client | None, content: dict[str, Any]
) -> httpx.Response:
    import httpx

    end = time.monotonic() + budget.call
    headers = {**(content.pop("headers", None) or {}), "Accept-Encoding": "gzip"}
    # The time holds for each read of the socket alone. Where the caller has given up, the loop ends this thread too.
    bounds: dict[str, Any] = {"timeout": budget.call, "follow_redirects": False}
    if client is None:
        bounds["cookies"] = no_cookies()
    with (client or httpx).stream(method, url, headers=headers, **{**content, **bounds}) as response:
        body = AnswerBody(response, asked, method, budget.body)
        for chunk in response.iter_raw():
            body.add(chunk)
            if time.monotonic() > end:
                raise TimeoutError
        return body.response()


class AnswerBody:
    """
    The body of an answer while it comes in. Httpx decompresses each piece whole, as often as the headers say.

    :param response: the answer, of which nothing has been read.
    :param request: what was asked for, for messages.
    :param longest: how many bytes there may be after decompression.
    :raises httpx.DecodingError: it is encoded in a way that was not asked for.
    """

    def __init__(self, response: httpx.Response, request: str, method: str, longest: int) -> None:
        self._answer = response
        self._request = request
        self._method = method
        self._longest = longest
        self._gzip = _gzip(response.headers.get("Content-Encoding", ""))
        self._body = bytearray()

    def add(self, piece: bytes) -> None:
        """Take a piece as it came; raises RemoteCallError once there are too many bytes."""
        import httpx

        try:
            self._body += self._gzip.decompress(piece, self._longest + 1 - len(self._body)) if self._gzip else piece
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from error
        if len(self._body) > self._longest:
            raise RemoteCallError(
                f"{self._request} answered {self._answer.status_code} with more than {self._longest} bytes. Is that the service?",
                retryable=False,
                maybe_done=self._method != "GET",
                status_code=self._answer.status_code,
            )

    def response(self) -> httpx.Response:
        """Return the answer with its body."""
        import httpx

        decoded = (b"content-encoding", b"content-length", b"transfer-encoding")
        # As bytes: httpx reads other headers than it writes.
        headers = [(name, value) for name, value in self._answer.headers.raw if name.lower() not in decoded]
        extensions = {"reason_phrase": self._answer.reason_phrase.encode()}
        return httpx.Response(self._answer.status_code, headers=headers, content=bytes(self._body), extensions=extensions)


def _gzip(encoding: str) -> Any:
    """Return what decompresses an answer; None where it is not compressed."""
    import httpx

    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
    raise httpx.DecodingError(f"the answer is encoded as {encoding[:50]!r}, which was not asked for")


def transport_error(
    request: str, method: str, error: httpx.RequestError | TimeoutError, seconds: float, mask: Mask = str
) -> RemoteCallError:
    """
    Return the error for a call without an answer; one that never reached the service cannot have done anything.

    :param seconds: the time that the call had.
    :param mask: takes what is secret out of the error's text.
    """
    import httpx

    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol)
    why = f"no whole answer within {seconds:g} s"
    if not isinstance(error, TimeoutError):
        why = f"{type(error).__name__}: {sentence(mask(str(error)), _REASON_LENGTH)}"
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
