"""Airflow's own supervisor of a task, in both its forms, in front of an API server that answers what a test says."""

from __future__ import annotations

import os
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from socket import SHUT_RDWR, socket, socketpair
from typing import Any

import httpx
import msgspec
import psutil
import structlog
from airflow.sdk.api.client import Client
from airflow.sdk.execution_time.comms import CommsDecoder, _RequestFrame
from airflow.sdk.execution_time.supervisor import (
    ActivitySubprocess,
    InProcessSupervisorComms,
    InProcessTestSupervisor,
    set_supervisor_comms,
)

LOG = structlog.get_logger("test")


class ApiServer:
    """Answers by method and path, and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: dict[tuple[str, str], httpx.Response] = {}

    def answer(self, method: str, path: str, status: int, body: Any = None) -> None:
        """Let requests to a path, which begins behind the base address, be answered so."""
        self.answers[method, path] = httpx.Response(status, json=body) if body is not None else httpx.Response(status)

    def refuse(self, method: str, path: str, status: int, reason: str, message: str) -> None:
        """Answer as Airflow's API server does with an ``HTTPException``."""
        self.answer(method, path, status, {"detail": {"reason": reason, "message": message}})

    def take(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers[request.method, request.url.path.removeprefix("/execution/")]


def _client(kind: Callable[..., Client], server: ApiServer) -> Client:
    return kind(base_url="http://server/execution/", token="of a task", transport=httpx.MockTransport(server.take))


def _arguments(client: Client) -> dict[str, Any]:
    return {"id": uuid.uuid4(), "pid": os.getpid(), "process": psutil.Process(), "process_log": LOG, "client": client}


@contextmanager
def in_process(server: ApiServer) -> Iterator[None]:
    """As in ``airflow dags test``: the supervisor is this process, and its errors come at first hand."""
    supervisor = InProcessTestSupervisor(**_arguments(_client(InProcessTestSupervisor._Client, server)))
    supervisor.comms = InProcessSupervisorComms(supervisor=supervisor)
    with set_supervisor_comms(supervisor.comms):
        yield


@contextmanager
def behind_a_socket(server: ApiServer) -> Iterator[None]:
    """As in a worker: frames go to the supervisor through a socket, and its answers come back through it."""
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(closing(end)) for end in socketpair())
        supervisor = ActivitySubprocess(stdin=theirs, **_arguments(_client(InProcessTestSupervisor._Client, server)))
        thread = threading.Thread(target=_serve, args=(supervisor, theirs), daemon=True)
        thread.start()
        try:
            with set_supervisor_comms(CommsDecoder(log=LOG, socket=ours)):
                yield
        finally:
            ours.shutdown(SHUT_RDWR)
            thread.join(60)


def _serve(supervisor: ActivitySubprocess, requests: socket) -> None:
    handler = supervisor.handle_requests(LOG)
    next(handler)
    stream = requests.makefile("rb")
    while header := stream.read(4):
        (length,) = struct.unpack(">I", header)
        handler.send(msgspec.msgpack.decode(stream.read(length), type=_RequestFrame))
