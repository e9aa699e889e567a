"""Sends requests to the Power BI REST API: one connection for one call at a time, and nothing without an end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import httpx

from provider.hooks.http_call import AnswerBody, no_cookies, transport_error
from provider.hooks.paths import check_path
from provider.hooks.powerbi import tokens as powerbi_tokens
from provider.hooks.powerbi.answers import Item, read_all
from provider.hooks.powerbi.errors import parsed, response_error, token_expired, unreadable_error
from provider.hooks.remote_job import RemoteCallError
from provider.texts import quoted

if TYPE_CHECKING:
    from provider.hooks.http_call import Mask
    from provider.hooks.powerbi.settings import PowerBISettings
    from provider.hooks.powerbi.tokens import TokenSource
    from provider.hooks.wait_budget import WaitBudget

#: Connections of one event loop to one address. With 0.3 s for a call that is a hundred polls a second.
MAX_CONNECTIONS = 32
#: Seconds for which a connection without a call is kept, longer than the usual pause between two polls.
KEEPALIVE_SECONDS = 60.0

#: Tells Power BI which of a service principal's profiles calls.
#: .. seealso:: https://learn.microsoft.com/power-bi/developer/embedded/embed-multi-tenancy
PROFILE_HEADER = "X-PowerBI-profile-id"

_Key = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request: *path* under ``/v1.0/myorg/``, every part of it quoted already."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"Power BI {self.method} {self.path}"


class PowerBIApi:
    """
    The API as one identity sees it.

    A request that fails raises :class:`~provider.hooks.remote_job.RemoteCallError`. None is repeated here except once after the
    service said that the token has expired.

    :param settings: addresses and identity.
    :param budget: how long a call and an answer may be.
    :param tokens: where tokens come from; None for the source that all of an event loop share.
    """

    def __init__(self, settings: PowerBISettings, budget: WaitBudget, tokens: TokenSource | None = None) -> None:
        self.portal_url = settings.portal_url
        self.budget = budget
        self._settings = settings
        self._profile = {PROFILE_HEADER: settings.profile_id} if settings.profile_id else {}
        self._tokens = tokens

    async def send(self, request: ApiRequest) -> httpx.Response:
        """Send a request; the answer has been read whole, and is a JSON object where the request was a GET."""
        tokens = self._tokens or powerbi_tokens.token_sources.source(self._settings)
        token = await tokens.token(self.budget.call)
        async with _clients_of(self._settings).lend() as client:
            response = await self._exchange(client, request, token, tokens.mask)
            if token_expired(response):
                response = await self._exchange(client, request, await tokens.renewed(token, self.budget.call), tokens.mask)
        if not response.is_success:
            raise response_error(str(request), request.method, response, tokens.mask)
        if request.method == "GET" and not json_object(response):
            raise unreadable_error(str(request), response, tokens.mask)
        return response

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> httpx.Response:
        """Send a GET."""
        return await self.send(ApiRequest("GET", path, params=params))

    async def listed(self, path: str, params: Mapping[str, str] | None = None) -> list[Item]:
        """Return the items of a list."""
        return read_all(Item, json_object(await self.get(path, params)), self.budget.listed)

    async def _exchange(self, client: httpx.AsyncClient, request: ApiRequest, token: str, mask: Mask) -> httpx.Response:
        """Send a request and read the answer, within the time of one call: httpx's own timeouts begin anew with each byte."""
        call = client.build_request(
            request.method,
            request.path,
            params=request.params,
            json=request.json,
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip", **self._profile},
        )
        check_path(call.url.raw_path.partition(b"?")[0].decode("ascii"))
        if not call.url.path.endswith(f"/{unquote(request.path)}"):
            raise RemoteCallError(f"{request} would be sent to {quoted(call.url.path)}; nothing was sent.", retryable=False)
        try:
            async with asyncio.timeout(self.budget.call):
                response = await client.send(call, stream=True)
                try:
                    return await self._read(request, response)
                finally:
                    await response.aclose()
        except (httpx.RequestError, TimeoutError) as error:
            raise transport_error(str(request), request.method, error, self.budget.call, mask) from error

    async def _read(self, request: ApiRequest, response: httpx.Response) -> httpx.Response:
        """Read an answer up to the longest one."""
        body = AnswerBody(response, str(request), request.method, self.budget.body)
        async for chunk in response.aiter_raw():
            body.add(chunk)
        return body.response()


class _Clients:
    """
    The clients of one event loop for one address: one connection each, lent to one call at a time.

    httpx's own pool goes through all its calls and connections, some of it squared, whenever a call begins or ends. With
    a thousand waiting triggers that stopped the loop for seconds, and it counts the wait for a connection in the call's
    timeout. The client that was used last is lent first, so that no more connections are open than are needed.
    """

    def __init__(self, key: _Key) -> None:
        self._options = client_options(key)
        self._free: list[httpx.AsyncClient] = []
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncClient]:
        """Wait for a turn, and lend a client for one call."""
        async with self._turns:
            client = self._free.pop() if self._free else httpx.AsyncClient(**self._options)
            try:
                yield client
            finally:
                self._free.append(client)


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _Clients]] = WeakKeyDictionary()


def _clients_of(settings: PowerBISettings) -> _Clients:
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    key = (settings.api_url, settings.ca_file)
    if key not in clients:
        clients[key] = _Clients(key)
    return clients[key]


def client_options(key: _Key) -> dict[str, Any]:
    """Return the arguments of a client for an address and a file of certificate authorities."""
    api_url, ca_file = key
    return {
        "base_url": f"{api_url}/v1.0/myorg/",
        "timeout": None,  # a call has one time for the whole of it
        # Built once: reading all the system's authorities takes tens of milliseconds.
        "verify": ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(),
        # A redirect would carry the token to wherever the answer says.
        "follow_redirects": False,
        "cookies": no_cookies(),
        "limits": httpx.Limits(max_connections=1, keepalive_expiry=KEEPALIVE_SECONDS),
    }


def json_object(response: httpx.Response) -> dict[str, Any]:
    """Return the object in an answer; an empty one where there is none."""
    body = parsed(response.content)
    return body if isinstance(body, dict) else {}
