"""How a service drips, and a refresh that is asked for: for the tests of hostile answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.wait_budget import WaitBudget
from tests.provider.defects.raw_server import RawServer, http
from tests.provider.defects.refresh_service import OURS
from tests.provider.operators.powerbi_world import MODEL_ID, WORKSPACE_ID

#: Seconds of one call where its time is the subject.
CALL = 1.0
JOB: dict[str, Any] = {
    "id": OURS,
    "url": "",
    "kind": "semantic_model",
    "workspace_id": WORKSPACE_ID,
    "item_id": MODEL_ID,
    "enhanced": True,
    "started_at": None,
}
COMPLETED = http(200, {"status": "Completed"})


def hook(**budget: Any) -> PowerBIHook:
    return PowerBIHook(budget=WaitBudget(**budget))


def in_body(server: RawServer) -> Iterator[bytes]:
    return server.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")


def in_chunks(server: RawServer) -> Iterator[bytes]:
    for piece in server.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        yield b"1\r\n \r\n" if piece == b" " else piece


def in_headers(server: RawServer) -> Iterator[bytes]:
    return server.drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")


def nothing(server: RawServer) -> Iterator[bytes]:
    for _ in server.drip(b""):
        yield b""
