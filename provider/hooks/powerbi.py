"""Hook for the Power BI REST API, for workers (blocking) and triggerers (asynchronous)."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import httpx
from airflow.sdk import BaseHook

from provider.exceptions import AcceleratorError
from provider.hooks import powerbi_api as api
from provider.hooks.powerbi_auth import TokenSource, token_source
from provider.hooks.powerbi_errors import response_error, token_expired, transport_error, unreadable_error
from provider.hooks.powerbi_refresh import Dataflow, SemanticModel, refreshable
from provider.hooks.powerbi_settings import PowerBISettings
from provider.hooks.remote_job import RemoteCallError

if TYPE_CHECKING:
    from provider.hooks.powerbi_api import ApiCall, ApiRequest, T
    from provider.hooks.remote_job import JobStatus, RemoteJob

#: Connections of one event loop to one address. With 0.3 s for a call that is a hundred polls a second.
MAX_CONNECTIONS = 32
#: Seconds for which a connection without a call is kept, longer than the usual pause between two polls.
KEEPALIVE_SECONDS = 60.0

_Key = tuple[str, str | None, float]


class _AsyncClients:
    """
    The clients of one event loop for one address: one connection each, lent to one call at a time.

    httpx's own pool goes through all its calls and connections, some of it squared, whenever a call begins or ends. With
    a thousand waiting triggers that stopped the loop for seconds, and it counts the wait for a connection in the call's
    timeout. The client that was used last is lent first, so that no more connections are open than are needed.
    """

    def __init__(self, key: _Key) -> None:
        self._options = _client_options(key)
        self._options["limits"] = httpx.Limits(max_connections=1, keepalive_expiry=KEEPALIVE_SECONDS)
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


# The clients of an address: for the threads of this process one, and those of each event loop.
_clients: dict[_Key, httpx.Client] = {}
_clients_lock = threading.Lock()
_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, _AsyncClients]] = WeakKeyDictionary()


class PowerBIHook(BaseHook):
    """
    Talks to the Power BI REST API.

    A call that fails raises :class:`~provider.hooks.remote_job.RemoteCallError`; no call is repeated here except once
    after the service said that the token has expired.

    :param powerbi_conn_id: connection of type ``powerbi``, see
        :class:`~provider.hooks.powerbi_settings.PowerBISettings`.
    :param http_timeout: seconds for one call, to Power BI or Entra ID.

    .. seealso:: https://learn.microsoft.com/rest/api/power-bi/
    """

    conn_name_attr = "powerbi_conn_id"
    default_conn_name = "powerbi_default"
    conn_type = "powerbi"
    hook_name = "Power BI"

    def __init__(self, powerbi_conn_id: str = default_conn_name, *, http_timeout: float = 30.0) -> None:
        super().__init__()
        self.powerbi_conn_id = powerbi_conn_id
        self.http_timeout = http_timeout
        self._settings: PowerBISettings | None = None

    @property
    def settings(self) -> PowerBISettings:
        """What the connection says."""
        if self._settings is None:
            self._settings = PowerBISettings.from_connection(self.get_connection(self.powerbi_conn_id))
        return self._settings

    async def load_settings(self) -> PowerBISettings:
        """Return what the connection says, without blocking the event loop. Needed before any asynchronous call."""
        if self._settings is None:
            self._settings = PowerBISettings.from_connection(await self.aget_connection(self.powerbi_conn_id))
        return self._settings

    # Names.

    def resolve_workspace(self, workspace: str) -> str:
        """Return the id of the workspace with that id or name."""
        return self._run(api.resolve_workspace(workspace))

    def resolve_semantic_model(self, workspace_id: str, semantic_model: str) -> str:
        """Return the id of the semantic model with that id or name."""
        return self._run(api.resolve_semantic_model(workspace_id, semantic_model))

    def resolve_dataflow(self, workspace_id: str, dataflow: str) -> str:
        """Return the id of the dataflow with that id or name."""
        return self._run(api.resolve_dataflow(workspace_id, dataflow))

    def resolve_report(self, workspace_id: str, report: str) -> tuple[str, str]:
        """Return workspace id and id of the semantic model of the report with that id or name."""
        return self._run(api.resolve_report(workspace_id, report))

    # Refreshes.

    def prepare_semantic_model(
        self, workspace_id: str, dataset_id: str, *, body: Mapping[str, Any], enhanced: bool
    ) -> dict[str, Any]:
        """Return the intent to refresh a semantic model; raises JobBusyError while another refresh runs."""
        model = SemanticModel(workspace_id, dataset_id, self.settings.portal_url)
        return self._run(model.prepare(body, enhanced=enhanced))

    def prepare_dataflow(self, workspace_id: str, dataflow_id: str, *, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the intent to refresh a dataflow; raises JobBusyError while another refresh runs."""
        dataflow = Dataflow(workspace_id, dataflow_id, self.settings.portal_url)
        return self._run(dataflow.prepare(body, enhanced=False))

    def start_job(self, intent: Mapping[str, Any]) -> RemoteJob:
        """Start the refresh of an intent; raises JobBusyError while another one runs."""
        return self._run(refreshable(intent, self.settings.portal_url).start(intent))

    def find_job(self, intent: Mapping[str, Any]) -> RemoteJob | None:
        """Return the refresh that was started for an intent, where the history lists it."""
        return self._run(refreshable(intent, self.settings.portal_url).find(intent))

    async def afind_job(self, intent: Mapping[str, Any]) -> RemoteJob | None:
        """Return the refresh that was started for an intent, from an event loop."""
        settings = await self.load_settings()
        return await self._arun(refreshable(intent, settings.portal_url).find(intent))

    def get_job_status(self, job: RemoteJob) -> JobStatus:
        """Look at a refresh; raises JobNotFoundError for one the service does not know."""
        return self._run(refreshable(job, self.settings.portal_url).status(job))

    async def aget_job_status(self, job: RemoteJob) -> JobStatus:
        """Look at a refresh, from an event loop."""
        settings = await self.load_settings()
        return await self._arun(refreshable(job, settings.portal_url).status(job))

    def cancel_job(self, job: RemoteJob) -> None:
        """Cancel a refresh; raises CannotCancelError where the service cannot."""
        self._run(refreshable(job, self.settings.portal_url).cancel(job))

    async def acancel_job(self, job: RemoteJob) -> None:
        """Cancel a refresh, from an event loop."""
        settings = await self.load_settings()
        await self._arun(refreshable(job, settings.portal_url).cancel(job))

    def test_connection(self) -> tuple[bool, str]:
        """Get a new token (none that was kept, not even a refusal), and ask for one workspace."""
        try:
            tokens = TokenSource(self.settings, self.http_timeout)
            found = self._drive(api.listed(api.ApiRequest("GET", "groups", params={"$top": "1"})), tokens)
        except AcceleratorError as error:
            return False, str(error)
        seen = f"it sees workspace {found[0].get('name')!r}" if found else "it sees no workspace yet: add it to one"
        return True, f"Application {self.settings.client_id} got a token, and {seen}."

    # Transport.

    def _run(self, call: ApiCall[T]) -> T:
        return self._drive(call, token_source(self.settings, self.http_timeout))

    def _drive(self, call: ApiCall[T], tokens: TokenSource) -> T:
        step: Callable[[], ApiRequest] = lambda: next(call)  # noqa: E731
        while True:
            try:
                request = step()
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                answer = self._send(request, tokens)
            except RemoteCallError as error:
                step = _thrower(call, error)
            else:
                step = _sender(call, answer)

    async def _arun(self, call: ApiCall[T]) -> T:
        tokens = token_source(self.settings, self.http_timeout)
        step: Callable[[], ApiRequest] = lambda: next(call)  # noqa: E731
        while True:
            try:
                request = step()
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                answer = await self._asend(request, tokens)
            except RemoteCallError as error:
                step = _thrower(call, error)
            else:
                step = _sender(call, answer)

    def _send(self, request: ApiRequest, tokens: TokenSource) -> httpx.Response:
        token = tokens.token()
        client = _client(self._key())
        try:
            response = client.request(**_call(request, token))
            if token_expired(response):
                response = client.request(**_call(request, tokens.renew(token)))
        except httpx.RequestError as error:
            raise transport_error(_name(request), request.method, error) from error
        return _checked(request, response)

    async def _asend(self, request: ApiRequest, tokens: TokenSource) -> httpx.Response:
        token = tokens.cached()
        if token is None:
            token = await asyncio.to_thread(tokens.token)
        try:
            async with _async_clients_of(self._key()).lend() as client:
                response = await client.request(**_call(request, token))
                if token_expired(response):
                    response = await client.request(**_call(request, await asyncio.to_thread(tokens.renew, token)))
        except httpx.RequestError as error:
            raise transport_error(_name(request), request.method, error) from error
        return _checked(request, response)

    def _key(self) -> _Key:
        return (self.settings.api_url, self.settings.ca_file, self.http_timeout)


def _sender(call: ApiCall[Any], answer: httpx.Response) -> Callable[[], ApiRequest]:
    return lambda: call.send(answer)


def _thrower(call: ApiCall[Any], error: RemoteCallError) -> Callable[[], ApiRequest]:
    return lambda: call.throw(error)


def _client(key: _Key) -> httpx.Client:
    with _clients_lock:
        if key not in _clients:
            _clients[key] = httpx.Client(**_client_options(key))
        return _clients[key]


def _async_clients_of(key: _Key) -> _AsyncClients:
    clients = _async_clients.setdefault(asyncio.get_running_loop(), {})
    if key not in clients:
        clients[key] = _AsyncClients(key)
    return clients[key]


def _client_options(key: _Key) -> dict[str, Any]:
    api_url, ca_file, timeout = key
    return {
        "base_url": f"{api_url}/v1.0/myorg/",
        "timeout": timeout,
        # Built once: reading all the system's authorities takes tens of milliseconds.
        "verify": ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(),
        # A redirect would carry the token to wherever the answer says.
        "follow_redirects": False,
    }


def _call(request: ApiRequest, token: str) -> dict[str, Any]:
    return {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "json": request.json,
        "headers": {"Authorization": f"Bearer {token}"},
    }


def _name(request: ApiRequest) -> str:
    return f"Power BI {request.method} {request.path}"


def _checked(request: ApiRequest, response: httpx.Response) -> httpx.Response:
    if not response.is_success:
        raise response_error(_name(request), request.method, response)
    if request.method == "GET" and not api.json_object(response):
        raise unreadable_error(_name(request), response)
    return response
