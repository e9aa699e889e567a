# ruff: noqa: TID253 - an adapter of requests is one only by inheriting from it; imported where a session is made
"""What bounds the answers of libraries that use requests: Google's client of BigQuery, and msal."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter

from provider.hooks.addresses import is_private
from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted

#: How much is read at once, in bytes.
_PIECE = 65_536


class AnswerTooLongError(requests.RequestException):
    """An answer has more bytes than anybody wants to read."""


class BrokenOffError(requests.ConnectionError):
    """The session was broken off, because nobody waits for its answers any more."""


class BoundedAdapter(HTTPAdapter):
    """
    Gives every call a time, reads no more than so many bytes of its answer, and can be broken off by another thread.

    :param longest: how many bytes an answer may have after decompression.
    :param timeout: seconds for connecting, and for each read; None for those of the caller.
    :param private: refuse addresses where others could read what is sent.
    :param hosts: the only ones that anything is sent to; None for all.
    """

    def __init__(
        self, longest: int, timeout: float | None = None, *, private: bool = True, hosts: frozenset[str] | None = None
    ) -> None:
        super().__init__()
        self._longest = longest
        self._timeout = timeout
        self._private = private
        self._hosts = hosts
        self._broken_off = False
        #: Whether there was a connection, so that something may have been sent.
        self.reached = False
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def break_off(self) -> None:
        """
        End all calls now, and let no other begin. A call that looks up a name ends after that.

        A timeout of requests begins anew with each byte, so that a call whose answer drips would hold its thread for ever.
        """
        self._broken_off = True
        for opened in list(self._sockets):
            _shut(opened)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """
        Send a request; its answer raises AnswerTooLongError while it is read.

        :raises RemoteCallError: tokens or secrets would travel in clear, or to a stranger. Nothing was sent.
        """
        url = request.url or ""
        if self._private and not is_private(url):
            raise RemoteCallError(f"{_shown(url)} is no https address; nothing was sent there.", retryable=False)
        if self._hosts is not None and urlsplit(url).hostname not in self._hosts:
            raise RemoteCallError(f"{_shown(url)} is on another host; nothing was sent there.", retryable=False)
        if self._timeout is not None:
            kwargs["timeout"] = self._timeout
        if self._broken_off:
            raise BrokenOffError("the session was broken off")
        response = super().send(request, *args, **kwargs)
        response.raw = _Bounded(response.raw, self._longest)
        return response

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of connections for a request, which tells of each connection."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _Told):
            kind = pool.ConnectionCls
            pool.ConnectionCls = type(kind.__name__, (_Told, kind), {"opened": staticmethod(self._opened)})
        return pool

    def _opened(self, connected: socket.socket) -> None:
        self._sockets.add(connected)
        self.reached = True
        if self._broken_off:  # meanwhile
            _shut(connected)


def _shown(url: str) -> str:
    return quoted(url.partition("?")[0])


class _Told:
    """A connection of urllib3 that tells of its socket."""

    opened: Any
    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of the other base
        self.opened(self.sock)


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        # Not the method of an SSL socket, which would take its state from under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _Bounded:
    """The raw answer of urllib3, of which requests reads by ``stream``."""

    def __init__(self, raw: Any, longest: int) -> None:
        self._raw = raw
        self._longest = longest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, *_args: Any, **_kwargs: Any) -> bytes:
        """Give nothing: requests reads so what it has no use for, such as the body of a redirect that cannot be decoded."""
        self._raw.close()
        return b""

    def stream(self, amt: int = _PIECE, decode_content: bool | None = None) -> Iterator[bytes]:
        """Yield the answer piece by piece."""
        count = 0
        for piece in self._raw.stream(min(amt, _PIECE), decode_content=decode_content):
            count += len(piece)
            if count > self._longest:
                self._raw.close()
                raise AnswerTooLongError(f"the answer has more than {self._longest} bytes")
            yield piece
