"""A server in place of Airflow's API server, which answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: status and body of an answer
Answer = tuple[int, Any]


class Server:
    """Answers each request by ``answer``, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, list[str]], str | None, Any]] = []
        self.answer: Callable[[str, dict[str, list[str]]], Answer] = lambda _path, _query: (200, {})
        #: What the login answers to a body, instead of a token for the right password.
        self.login: Callable[[Any], Answer] = self._login
        self.tokens = 0
        #: What answers say that they are.
        self.content_type: str | None = None
        #: The other ends of the connections on which something was asked, tokens included.
        self.ports: set[int] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                url = urlsplit(self.path)
                outer.ports.add(self.client_address[1])
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
                query = parse_qs(url.query, keep_blank_values=True)
                if url.path == "/auth/token":
                    outer.tokens += 1
                    status, found = outer.login(body)
                else:
                    outer.asked.append((self.command, url.path, query, self.headers.get("Authorization"), body))
                    status, found = outer.answer(url.path, query)
                text = found.encode() if isinstance(found, str) else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                if outer.content_type is not None:
                    self.send_header("Content-Type", outer.content_type)
                if status == 307:
                    self.send_header("Location", "https://elsewhere.example/")
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = _serve

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _login(self, body: Any) -> Answer:
        known = body == {"username": "reader", "password": "hunter2"}
        return (201, {"access_token": f"t{self.tokens}"}) if known else (401, {"detail": "Invalid credentials"})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
