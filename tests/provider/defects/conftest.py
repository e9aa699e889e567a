"""What all of them need: emulators, a task's life, and a Power BI that answers what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.provider.defects.raw_server import Answer, RawServer
from tests.provider.operators.conftest import life, start_cloud, supervisor
from tests.provider.operators.powerbi_world import change_connection, powerbi

__all__ = ["life", "start_cloud", "supervisor"]


@pytest.fixture
def power_bi(start_cloud: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], RawServer]]:
    """Start a Power BI whose answers a test makes, beside the emulator's Entra ID."""
    with ExitStack() as stack:

        def begin(answer: Answer) -> RawServer:
            start_cloud(**powerbi())
            server = stack.enter_context(RawServer(answer))
            change_connection(monkeypatch, host=server.url)
            return server

        yield begin


@pytest.fixture
def identity(power_bi: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """Let the connection get its tokens from the managed identity of this machine, which is this server."""
    power_bi(lambda method, path, headers: b"")
    with RawServer(lambda method, path, headers: b"") as server:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
        change_connection(monkeypatch, {"auth": "managed_identity", "tenant_id": ""}, login="", password="")
        yield server
