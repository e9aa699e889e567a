# ruff: noqa: TID253 - uvicorn is this module's subject, and only the emulators import it
"""HTTP servers on loopback in threads of their own, and the fault rules in front of an application."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from provider.emulators.ledger import Ledger
from provider.emulators.ports import bound_socket
from provider.emulators.rules import Rule, RuleBook, Service
from provider.exceptions import AcceleratorError

START_SECONDS = 30.0


class Connections:
    """The open connections of a server by the client's address, so that one of them can be cut."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}

    def protocol(self) -> type[H11Protocol]:
        """Return uvicorn's HTTP/1.1 protocol, extended by keeping the books."""
        transports = self._transports

        class BookedProtocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                if self.client:
                    transports[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                if self.client:
                    transports.pop(self.client, None)
                super().connection_lost(exc)

        return BookedProtocol

    def cut(self, client: tuple[str, int]) -> None:
        """Close a client's connection without an answer."""
        if transport := self._transports.get(client):
            transport.abort()

    def cut_all(self) -> None:
        """Close all connections; a TLS client that keeps one open would hold up the end for a while."""
        for transport in list(self._transports.values()):
            transport.abort()


class FaultMiddleware:
    """ASGI middleware that does what the rules say; ``service_of`` maps a path to the service it belongs to."""

    def __init__(
        self,
        app: ASGIApp,
        rules: RuleBook,
        ledger: Ledger,
        connections: Connections,
        service_of: Callable[[str], Service],
    ) -> None:
        self._app = app
        self._rules = rules
        self._ledger = ledger
        self._connections = connections
        self._service_of = service_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service_of(scope["path"])
        operation = f"{scope['method']} {scope['path']}"
        rule = self._rules.strike(service, operation)
        if rule is None:
            await self._app(scope, receive, send)
            return
        self._ledger.append(service, "fault", operation, detail={"fault": rule.fault, "when": rule.when}, outcome=rule.fault)
        answer: list[Message] = []
        if rule.when == "after":
            await self._app(scope, receive, _keeper(answer))
        if rule.fault == "drop":
            await self._drop(scope, receive)
        elif rule.fault == "status":
            await _status_response(rule)(scope, receive, send)
        else:
            await asyncio.sleep(rule.seconds)
            if rule.when == "before":
                await self._app(scope, receive, send)
            for message in answer:
                await send(message)

    async def _drop(self, scope: Scope, receive: Receive) -> None:
        self._connections.cut(scope["client"])
        while (await receive())["type"] != "http.disconnect":
            continue


def _keeper(answer: list[Message]) -> Send:
    async def keep(message: Message) -> None:
        answer.append(message)

    return keep


def _status_response(rule: Rule) -> Response:
    assert rule.http_status is not None, "the rule's own validation"
    body = rule.body if rule.body is not None else {"error": {"code": "InjectedFault", "message": rule.message}}
    headers = dict(rule.headers)
    if rule.retry_after is not None:
        headers["Retry-After"] = str(rule.retry_after)
    if isinstance(body, str):
        return Response(body, status_code=rule.http_status, headers=headers)
    return Response(json.dumps(body), status_code=rule.http_status, headers=headers, media_type="application/json; charset=utf-8")


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._connections = connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.cut_all()
        await super().shutdown(sockets)


class HttpServer:
    """
    An ASGI application on loopback.

    :param port: 0 takes a free one.
    :param certificate_file: chain and key; None serves plain HTTP.
    :raises PortTakenError: the port is taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        certificate_file: Path | None = None,
        connections: Connections | None = None,
    ) -> None:
        self._socket = bound_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        connections = connections or Connections()
        options: dict[str, Any] = {"ssl_certfile": str(certificate_file)} if certificate_file else {}
        self._server = _Server(
            uvicorn.Config(
                app,
                http=connections.protocol(),
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                **options,
            ),
            connections,
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="emulator-http", daemon=True
        )

    def start(self) -> None:
        """
        Begin to serve; requests are accepted when this returns.

        :raises AcceleratorError: the server did not come up.
        """
        self._thread.start()
        if not self._server.ready.wait(START_SECONDS):
            raise AcceleratorError(f"The HTTP server on port {self.port} did not start within {START_SECONDS:.0f} s.")

    def begin_stop(self) -> None:
        """Ask the server to end, so that several can do so at once."""
        self._server.should_exit = True

    def stop(self) -> None:
        """End open requests and free the port."""
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(OSError):
            self._socket.close()
