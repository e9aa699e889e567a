"""Many calls at once from one event loop, as a triggerer with many waiting refreshes makes them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from provider.hooks.powerbi import tokens, transport
from provider.hooks.powerbi.hook import PowerBIHook

CALLS = 200
JOB = {
    "id": "refresh",
    "url": "",
    "kind": "semantic_model",
    "workspace_id": "group",
    "item_id": "model",
    "enhanced": True,
    "started_at": None,
}


class Service:
    """Answers a call once nobody else begins one; keeps how many were under way at once."""

    def __init__(self) -> None:
        self.under_way = self.most = self.answered = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(10):
            await asyncio.sleep(0)
        self.under_way -= 1
        self.answered += 1
        body = json.dumps({"status": "Unknown", "extendedStatus": "InProgress"}).encode()
        return httpx.Response(202, stream=httpx.ByteStream(body))  # not read yet, as an answer from the network


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[httpx.AsyncClient]:
    """The asynchronous clients that are built."""
    clients: list[httpx.AsyncClient] = []
    original = httpx.AsyncClient

    def build(**options: Any) -> httpx.AsyncClient:
        clients.append(original(**options))
        return clients[-1]

    monkeypatch.setattr(httpx, "AsyncClient", build)
    return clients


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    answering = Service()
    options = transport.client_options
    mock = httpx.MockTransport(answering)
    monkeypatch.setattr(transport, "client_options", lambda key: {**options(key), "transport": mock})

    async def token(source: tokens.TokenSource, seconds: float) -> str:
        return "token"

    monkeypatch.setattr(tokens.TokenSource, "token", token)
    return answering


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> PowerBIHook:
    monkeypatch.setenv("AIRFLOW_CONN_BI", '{"conn_type": "powerbi", "login": "a", "password": "b", "extra": {"tenant_id": "t"}}')
    return PowerBIHook("bi")


async def test_calls_wait_for_a_turn_and_not_in_the_pool_of_httpx(hook, service, built):
    """That pool's work grows with calls times connections squared: a thousand waiting calls stopped the loop for seconds."""
    statuses = await asyncio.gather(*(hook.astatus(JOB) for _ in range(CALLS)))

    assert {status.state for status in statuses} == {"running"}
    assert service.answered == CALLS
    assert service.most == len(built) == transport.MAX_CONNECTIONS


async def test_one_call_after_the_other_shares_one_connection(hook, service, built):
    for _ in range(3):
        await hook.astatus(JOB)

    assert service.answered == 3
    assert len(built) == 1


async def test_cancelled_call_gives_its_turn_back(hook, service, built):
    calls = [asyncio.create_task(hook.astatus(JOB)) for _ in range(CALLS)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    await asyncio.gather(*(hook.astatus(JOB) for _ in range(CALLS)))
    assert len(built) == transport.MAX_CONNECTIONS
