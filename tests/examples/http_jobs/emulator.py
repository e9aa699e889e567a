"""The service of the example: runs no job, but says of each what a real one would, and fails where a test tells it to."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "hunter2"
#: ``lose``: do it, and close the connection; ``drop``: close it at once; ``trickle``: never come to the end of the answer;
#: ``long``: more than anybody wants to read. A number is a status, and nothing is done.
Fault = Literal["lose", "drop", "trickle", "long"] | int


@dataclass
class Job:
    """
    A job of the service.

    :param looks: how often it is still seen at work; None until somebody ends it.
    """

    id: str
    key: str
    name: str
    arguments: Any
    looks: int | None
    state: str = "running"
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class HttpJobs:
    """
    Context manager around a server. What it did is in ``ledger``: ``(operation, id of the job)`` with operations ``start``,
    ``find``, ``status``, ``cancel``.

    :param looks: of new jobs, see :class:`Job`.
    """

    def __init__(self, *, looks: int | None = 2) -> None:
        self.looks = looks
        self.jobs: dict[str, Job] = {}
        self.ledger: list[tuple[str, str]] = []
        self._faults: dict[str, deque[Fault]] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def connection(self) -> str:
        """The connection to it, as the environment variable of one."""
        return json.dumps({"conn_type": "http", "host": self.url, "password": TOKEN})

    def fail(self, operation: str, *faults: Fault) -> None:
        """Let the next calls of an operation fail, one after another."""
        self._faults.setdefault(operation, deque()).extend(faults)

    def happened(self, operation: str) -> list[str]:
        """Return the jobs of an operation that was carried out."""
        with self._changed:
            return [job_id for done, job_id in self.ledger if done == operation]

    def wait_for(self, operation: str, seconds: float = 60.0) -> str:
        """Wait until something has happened; return the id of the first such job."""
        with self._changed:
            assert self._changed.wait_for(lambda: operation in dict(self.ledger), seconds), f"no {operation}"
        return self.happened(operation)[0]

    def end(self, job_id: str, state: str = "succeeded", error: str = "", **result: Any) -> None:
        """End a job."""
        with self._changed:
            job = self.jobs[job_id]
            job.state, job.error, job.result = state, error, result

    # What the service does.

    def start(self, body: dict[str, Any]) -> tuple[int, Job]:
        for job in self.jobs.values():
            if job.key == body["key"]:
                return 200, job
            if job.state == "running" and job.name == body["name"]:
                return 409, job
        job = Job(f"job-{next(self._numbers)}", body["key"], body["name"], body["arguments"], self.looks)
        self.jobs[job.id] = job
        return 201, job

    def status(self, job: Job) -> None:
        if job.state == "running" and job.looks is not None:
            job.looks -= 1
            if job.looks < 0:
                job.state, job.result = "succeeded", {"rows": 42}

    def answer(self, operation: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Job | None]:
        """Carry out a call."""
        with self._changed:
            if operation == "start":
                status, job = self.start(body)
            else:
                found = [job for job in self.jobs.values() if path.endswith(f"/{job.id}") or [job.key] == query.get("key")]
                if not found:
                    return 404, None
                status, job = 200, found[0]
                if operation == "status":
                    self.status(job)
                elif operation == "cancel" and job.state == "running":
                    job.state, job.error = "cancelled", "by request"
            self.ledger.append((operation if status != 409 else "busy", job.id))
            self._changed.notify_all()
            return status, job

    def fault(self, operation: str) -> Fault | None:
        with self._changed:
            faults = self._faults.get(operation)
            return faults.popleft() if faults else None


class _Handler(BaseHTTPRequestHandler):
    """One call."""

    service: HttpJobs
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.handle_call("find" if "?" in self.path else "status")

    def do_POST(self) -> None:
        self.handle_call("cancel" if self.path.endswith("/cancel") else "start")

    def handle_call(self, operation: str) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say(401, {"message": "who are you?"})
        fault = self.service.fault(operation)
        if fault == "drop":
            return self.hang_up()
        if isinstance(fault, int):
            return self.say(fault, {"message": "not now"}, {"Retry-After": "0"} if fault == 429 else {})
        address = urlsplit(self.path)
        status, job = self.service.answer(
            operation, address.path.removesuffix("/cancel"), parse_qs(address.query), json.loads(text) if text else None
        )
        if fault == "lose":
            return self.hang_up()
        if fault is not None:
            return self.go_on(*((b"[", 0.02) if fault == "trickle" else (b"[" * 2**20, 0.0)))
        return self.say(status, {} if job is None else {**vars(job), "url": f"{self.service.url}/jobs/{job.id}"})

    def say(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def go_on(self, more: bytes, pause: float) -> None:
        """Write until the other side goes away, or the test is over."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while not self.service.closing.wait(pause):
                self.wfile.write(more)
        except OSError:
            return

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
