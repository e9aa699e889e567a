"""A service that answers requests as a test tells it, well or badly, byte by byte or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from provider.operators.http import HttpRequestOperator


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class HttpService:
    """
    Answers each request by the function of its test, and keeps what was asked.

    A function gets the handler and the request. It writes its answer by :func:`say`, or waits for :attr:`over`.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[BaseHTTPRequestHandler, Asked], None] = lambda handler, _asked: say(handler, 204)
        #: Set when the test has ended: nobody waits any more.
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                outer.asked.append(asked)
                self.close_connection = True
                outer.answer(self, asked)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _serve

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.port = self._server.server_address[1]

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer every request so."""
        self.answer = lambda handler, _asked: say(handler, status, body, **headers)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Write a whole answer."""
    handler.send_response(status)
    if status != 204:
        handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def say_raw(answer: bytes) -> Callable[[BaseHTTPRequestHandler, Asked], None]:
    """Return what writes these octets, head and all."""

    def write(handler: BaseHTTPRequestHandler, _asked: Asked) -> None:
        handler.wfile.write(answer)

    return write


def connect(monkeypatch: pytest.MonkeyPatch, service: HttpService, **fields: Any) -> None:
    """Let the connection ``shop`` lead to a service; an extra is given as an object."""
    connection = {"conn_type": "http", "host": "127.0.0.1", "port": service.port, **fields}
    if isinstance(connection.get("extra"), dict):
        connection["extra"] = json.dumps(connection["extra"])
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(connection))


def call(endpoint: str = "orders", **arguments: Any) -> Any:
    """Run a task that asks the service."""
    given = {"http_conn_id": "shop", "response_timeout": 30.0, **arguments}
    return HttpRequestOperator(task_id="ask", endpoint=endpoint, **given).execute({})
