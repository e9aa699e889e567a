"""However long Entra ID is silent, one thread asks for an identity's tokens; a request that hung harms no later one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from provider.emulators.rules import Rule
from provider.hooks.bounded_session import BoundedAdapter, BrokenOffError
from provider.hooks.powerbi.credentials import Issuer
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.powerbi.tokens import TokenSource
from provider.hooks.remote_job import RemoteCallError
from provider.threads import in_thread
from tests.provider.defects.hostile_world import in_body, in_headers, nothing
from tests.provider.defects.raw_server import RawServer, Wire, http
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

REQUESTS = 10
#: Seconds that a request for a token may take here.
CALL = 0.2
#: The timeout of a read: longer than a test takes, so that nothing ends by it.
NEVER = 600.0
TOKEN = http(200, {"access_token": "t" * 40, "expires_in": "3600", "resource": "x", "token_type": "Bearer"})


def threads() -> int:
    return sum(thread.name == "accelerator-entra" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def no_end_by_timeout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    issue = Issuer.issue
    monkeypatch.setattr(Issuer, "issue", lambda issuer, timeout: issue(issuer, NEVER))
    yield
    assert wait_for(lambda: threads() == 0, 60)


@pytest.fixture
def endpoint(change_connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """What answers for tokens: the managed identity of this machine."""
    with RawServer(lambda method, path, headers: b"") as server:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", server.url)
        change_connection({"auth": "managed_identity", "tenant_id": ""}, login="", password="")
        yield server


async def source() -> TokenSource:
    return TokenSource(await asyncio.to_thread(lambda: PowerBIHook().settings))


async def ask_in_vain(tokens: TokenSource) -> tuple[set[str], int]:
    """Ask again and again; return what was said, and the most threads there were after a request."""
    said, most = set(), 0
    for _ in range(REQUESTS):
        with pytest.raises(RemoteCallError) as raised:
            await tokens.token(CALL)
        said.add(str(raised.value).partition("gave no token: ")[2])
        most = max(most, threads())
    return said, most


@pytest.mark.parametrize("how", [nothing, in_body, in_headers])
async def test_ten_requests_that_time_out_leave_no_thread(endpoint: RawServer, how: Callable[[RawServer], Wire]) -> None:
    endpoint.answer = lambda method, path, headers: how(endpoint)
    tokens = await source()

    said, most = await ask_in_vain(tokens)

    assert most <= 1
    assert all(text.startswith("no answer within 0.2 seconds") for text in said)
    assert await asyncio.to_thread(wait_for, lambda: threads() == 0, 60)
    endpoint.answer = lambda method, path, headers: TOKEN
    assert await tokens.token(60.0) == "t" * 40


async def test_a_request_over_tls_ends_too(powerbi_cloud: Any) -> None:
    powerbi_cloud.rules.add(Rule(service="entra", match="POST *", fault="delay", seconds=NEVER, times=1))
    tokens = await source()

    with pytest.raises(RemoteCallError, match="no answer within"):
        await tokens.token(5.0)

    assert await asyncio.to_thread(wait_for, lambda: threads() == 0, 60)
    assert await tokens.token(60.0)


async def test_a_name_that_is_looked_up_without_end_holds_one_thread(
    endpoint: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can end that from outside, so whoever comes waits for it, and is told."""
    found, looked_up = threading.Event(), []
    look_up = socket.getaddrinfo

    def hang(host: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name == "accelerator-entra":
            looked_up.append(host)
            found.wait()
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    endpoint.answer = lambda method, path, headers: TOKEN
    tokens = await source()

    said, most = await ask_in_vain(tokens)

    assert (most, len(looked_up)) == (1, 1)
    assert said == {
        "no answer within 0.2 seconds.",
        "no answer within 0.2 seconds, to an earlier request that still hangs.",
    }
    found.set()
    assert await tokens.token(60.0) == "t" * 40
    assert endpoint.count("GET") == 1, "the one that was given up asks no more"


def test_a_session_that_was_broken_off_sends_nothing_more(endpoint: RawServer) -> None:
    endpoint.answer = lambda method, path, headers: nothing(endpoint)
    session = requests.Session()
    session.mount("http://", adapter := BoundedAdapter(2**20))
    waiting = in_thread(lambda: session.get(endpoint.url), "test-session")
    assert wait_for(lambda: endpoint.count("GET") == 1, 60)

    adapter.break_off()

    assert isinstance(waiting.exception(60), requests.ConnectionError)
    with pytest.raises(BrokenOffError):
        session.get(endpoint.url)
    assert endpoint.count("GET") == 1
