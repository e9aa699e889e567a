"""A local HTTP server whose answers are bytes, for what no well-behaved server sends."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

#: What goes over the wire: at once, or piece by piece.
Wire: TypeAlias = bytes | Iterator[bytes]
#: Gets method, path and headers (names in lower case).
Answer: TypeAlias = Callable[[str, str, Mapping[str, str]], Wire]


def http(status: int, body: bytes | Mapping[str, Any] = b"", **headers: str | bytes) -> bytes:
    """Return an answer; underscores in the names of headers stand for dashes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), **headers}
    lines = [f"HTTP/1.1 {status} Answer".encode()]
    for name, value in fields.items():
        lines.append(name.replace("_", "-").encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join([*lines, b"", content])


class RawServer:
    """
    Answers each request with what a function says, in a thread for each connection. Context manager.

    :param answer: makes the answers.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str]] = []
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):  # the other side was first
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def drip(self, start: bytes, every: float = 0.1) -> Iterator[bytes]:
        """Yield *start*, and then a blank each so many seconds, without an end."""
        yield start
        while not self._closing.wait(every):
            yield b" "

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests of a method came whose path has a part."""
        return sum(asked == method and part in path for asked, path in self.requests)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while request := lines.readline().split():
                    headers: dict[str, str] = {}
                    while line := lines.readline().strip():
                        name, _, value = line.decode("latin-1").partition(":")
                        headers[name.lower()] = value.strip()
                    lines.read(int(headers.get("content-length", 0)))
                    method, path = request[0].decode(), request[1].decode()
                    self.requests.append((method, path))
                    wire = self.answer(method, path, headers)
                    for piece in [wire] if isinstance(wire, bytes) else wire:
                        connection.sendall(piece)
        except OSError:
            return  # the client is gone
