"""A reverse proxy whose answers a test can keep back: the server has done the work, and its caller does not know."""

from __future__ import annotations

import asyncio
import fnmatch
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from provider.emulators.http_server import HttpServer

_OF_ONE_CONNECTION = {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}
REACHED_SECONDS = 120.0


class Held:
    """The first call that matches, from its answer on."""

    def __init__(self, method: str, path: str, containing: bytes) -> None:
        self._method, self._path, self._containing = method, path, containing
        self._reached, self._released = threading.Event(), threading.Event()
        self._taken = False

    def take(self, method: str, path: str, body: bytes) -> bool:
        """Tell whether a call is the one to hold."""
        fits = method == self._method and fnmatch.fnmatchcase(path, self._path) and self._containing in body
        if self._taken or not fits:
            return False
        self._taken = True
        return True

    def keep_back(self) -> None:
        """Block until the answer may go."""
        self._reached.set()
        self._released.wait()

    def wait(self, timeout: float = REACHED_SECONDS) -> None:
        """Wait until the work is done and its answer is kept back; ``timeout`` in seconds."""
        assert self._reached.wait(timeout), f"no call {self._method} {self._path} within {timeout:.0f} s"

    def release(self) -> None:
        """Let the answer go, if anybody still wants it."""
        self._released.set()


class Gate:
    """
    ASGI application in front of an HTTP server, itself served on loopback.

    :param upstream: base URL of the server.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self._held: list[Held] = []
        self._client: httpx.AsyncClient | None = None
        self._server = HttpServer(self)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        for held in self._held:
            held.release()
        self._server.stop()

    @contextmanager
    def hold(self, method: str, path: str, containing: str = "") -> Iterator[Held]:
        """Keep back the answer to the next call whose path matches the pattern and whose body has the text in it."""
        held = Held(method, path, containing.encode())
        self._held.append(held)
        try:
            yield held
        finally:
            held.release()
            self._held.remove(held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        held = next((held for held in self._held if held.take(request.method, request.url.path, body)), None)
        answer = await self.answer(request)
        if held is not None:
            await asyncio.to_thread(held.keep_back)
        await answer(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """Pass a request on."""
        target = request.scope["raw_path"]
        if request.scope["query_string"]:
            target += b"?" + request.scope["query_string"]
        found = await self.client.request(
            request.method,
            httpx.URL(self.upstream).copy_with(raw_path=target),
            content=await request.body(),
            headers=[pair for pair in request.headers.items() if pair[0] not in _OF_ONE_CONNECTION],
        )
        headers = {name: value for name, value in found.headers.items() if name not in _OF_ONE_CONNECTION}
        return Response(found.content, found.status_code, headers)

    @property
    def client(self) -> httpx.AsyncClient:
        """The client of the server's event loop."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=60, trust_env=False)
        return self._client
