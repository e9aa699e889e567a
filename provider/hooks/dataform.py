# ruff: noqa: TID253 - a hook of the Google provider is one only by inheriting from it; operators import it when they run
"""Hook for Dataform's GA API, for workers (blocking) and triggerers (asynchronous)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from provider.exceptions import ConfigurationError
from provider.hooks import dataform_status as status
from provider.hooks.dataform_errors import translated
from provider.hooks.remote_job import RemoteCallError, RemoteJob

if TYPE_CHECKING:
    from google.cloud.dataform_v1 import DataformAsyncClient, DataformClient, WorkflowInvocation

    from provider.hooks.remote_job import JobStatus

#: Seconds by which this machine's clock may differ from the service's.
CLOCK_SKEW = timedelta(minutes=5)
#: The most the service returns in one page.
PAGE_SIZE = 1000

_COLLECTIONS = {"workspace": "workspaces", "release_config": "releaseConfigs", "workflow_config": "workflowConfigs"}

_Key = tuple[str, str | tuple[str, ...] | None, str | None]
# One client, and so one channel, per identity and event loop. The locks make a thousand cold triggers build it once.
_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, DataformAsyncClient]] = WeakKeyDictionary()
_async_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class DataformInvocationHook(GoogleBaseHook):
    """
    Compiles Dataform repositories, and starts, watches and cancels workflow invocations.

    The Google provider's ``DataformHook`` speaks the beta API, blocks, and builds a client per call; the two have
    nothing in common but the connection. A call that fails raises
    :class:`~provider.hooks.remote_job.RemoteCallError`; none is repeated here.

    :param gcp_conn_id: connection to Google Cloud.
    :param impersonation_chain: service account to act as, or a chain of them.
    :param api_endpoint: another address of the API: ``host:port``, or ``http://host:port`` for a channel without TLS and
        credentials. Defaults to the connection's extra ``dataform_endpoint``.
    :param rpc_timeout: seconds for one call.

    .. seealso:: https://cloud.google.com/dataform/reference/rpc/google.cloud.dataform.v1
    """

    def __init__(
        self,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        *,
        api_endpoint: str | None = None,
        rpc_timeout: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain, **kwargs)
        self.api_endpoint = api_endpoint or self.extras.get("dataform_endpoint") or None
        self.rpc_timeout = rpc_timeout

    @cached_property
    def client(self) -> DataformClient:
        """The vendor's blocking client."""
        from google.cloud.dataform_v1 import DataformClient
        from google.cloud.dataform_v1.services.dataform.transports import DataformGrpcTransport

        if target := self._insecure_target():
            import grpc

            return DataformClient(transport=DataformGrpcTransport(channel=grpc.insecure_channel(target)))
        return DataformClient(credentials=self.get_credentials(), client_options=self._client_options())

    def build_async_client(self) -> DataformAsyncClient:
        """Build the vendor's asynchronous client, for the running event loop, after prepare_async_client."""
        from google.cloud.dataform_v1 import DataformAsyncClient
        from google.cloud.dataform_v1.services.dataform.transports import DataformGrpcAsyncIOTransport

        if target := self._insecure_target():
            import grpc.aio

            return DataformAsyncClient(transport=DataformGrpcAsyncIOTransport(channel=grpc.aio.insecure_channel(target)))
        return DataformAsyncClient(credentials=self.get_credentials(), client_options=self._client_options())

    def prepare_async_client(self) -> None:
        """Do what blocks before an asynchronous client can be built: import the library, read the credentials."""
        from google.cloud import dataform_v1  # noqa: F401

        if not self._insecure_target():  # the channel without TLS needs no credentials
            self.get_credentials()

    # Starting.

    def prepare_invocation(
        self,
        *,
        project_id: str,
        region: str,
        repository_id: str,
        source: Mapping[str, str],
        variables: Mapping[str, str] | None,
        invocation_config: Mapping[str, Any],
    ) -> dict[str, Any]:
        """
        Return the intent for an invocation: the name of a fresh compilation result; for a workflow config, what it ran
        lately.

        :param source: one of ``git_commitish``, ``workspace``, ``release_config``, ``workflow_config``, and its value.
        :param variables: variables for the compilation.
        :param invocation_config: fields of ``InvocationConfig``.
        :raises RemoteJobError: the compilation has errors; not retryable.
        """
        parent = f"projects/{project_id}/locations/{region}/repositories/{repository_id}"
        ((kind, value),) = source.items()
        name = value if kind == "git_commitish" or "/" in value else f"{parent}/{_COLLECTIONS[kind]}/{value}"
        if kind == "workflow_config":
            since = datetime.now(tz=UTC) - CLOCK_SKEW
            lately = [item.name for item in self._invocations(parent, {kind: name}) if status.started(item) >= since]
            return {"parent": parent, "source": {kind: name}, "known": lately, "since": since.isoformat()}
        return {
            "parent": parent,
            "source": {"compilation_result": self._compile(parent, {kind: name}, variables)},
            "invocation_config": status.invocation_config(invocation_config),
        }

    def create_invocation(self, intent: Mapping[str, Any]) -> RemoteJob:
        """Create the invocation of an intent."""
        from google.cloud.dataform_v1 import WorkflowInvocation

        fields = dict(intent["source"])
        if intent.get("invocation_config"):
            fields["invocation_config"] = intent["invocation_config"]
        with translated(f"Dataform CreateWorkflowInvocation in {intent['parent']}", changes=True):
            created = self.client.create_workflow_invocation(
                request={"parent": intent["parent"], "workflow_invocation": WorkflowInvocation(fields)},
                retry=None,
                timeout=self.rpc_timeout,
            )
        return status.job(created.name)

    def find_invocation(self, intent: Mapping[str, Any]) -> RemoteJob | None:
        """Return the invocation that was created for an intent; the earliest one that fits."""
        found = self._invocations(intent["parent"], intent["source"])
        if "since" in intent:
            since = datetime.fromisoformat(intent["since"])
            found = [item for item in found if item.name not in intent["known"] and status.started(item) >= since]
        return status.job(min(found, key=status.started).name) if found else None

    # Watching.

    def get_job_status(self, job: RemoteJob) -> JobStatus:
        """Look at an invocation; at one that has ended, with its actions."""
        with translated(f"Dataform GetWorkflowInvocation {job['id']}", of_job=True):
            invocation = self.client.get_workflow_invocation(request={"name": job["name"]}, retry=None, timeout=self.rpc_timeout)
        if status.is_running(invocation):
            return status.running(invocation)
        with translated(f"Dataform QueryWorkflowInvocationActions {job['id']}"):
            actions = list(
                self.client.query_workflow_invocation_actions(
                    request={"name": job["name"], "page_size": PAGE_SIZE}, retry=None, timeout=self.rpc_timeout
                )
            )
        return status.ended(job, invocation, actions)

    async def aget_job_status(self, job: RemoteJob) -> JobStatus:
        """Look at an invocation, from an event loop; without its actions, which a trigger has no use for."""
        client = await self._async_client()
        with translated(f"Dataform GetWorkflowInvocation {job['id']}", of_job=True):
            invocation = await client.get_workflow_invocation(request={"name": job["name"]}, retry=None, timeout=self.rpc_timeout)
        return status.running(invocation) if status.is_running(invocation) else status.ended(job, invocation, [])

    def cancel_invocation(self, job: RemoteJob) -> None:
        """Cancel an invocation; one that has ended is no error."""
        try:
            with translated(f"Dataform CancelWorkflowInvocation {job['id']}", of_job=True):
                self.client.cancel_workflow_invocation(request={"name": job["name"]}, retry=None, timeout=self.rpc_timeout)
        except RemoteCallError as error:
            if error.status_code != 400 or not self.get_job_status(job).ended:
                raise

    async def acancel_invocation(self, job: RemoteJob) -> None:
        """Cancel an invocation, from an event loop."""
        client = await self._async_client()
        try:
            with translated(f"Dataform CancelWorkflowInvocation {job['id']}", of_job=True):
                await client.cancel_workflow_invocation(request={"name": job["name"]}, retry=None, timeout=self.rpc_timeout)
        except RemoteCallError as error:
            if error.status_code != 400 or not (await self.aget_job_status(job)).ended:
                raise

    # Parts.

    def _compile(self, parent: str, source: Mapping[str, str], variables: Mapping[str, str] | None) -> str:
        from google.cloud.dataform_v1 import CompilationResult

        fields: dict[str, Any] = dict(source)
        if variables:
            if wrong := [name for name, value in variables.items() if not isinstance(value, str)]:
                raise ConfigurationError(f"Dataform variables are strings; put {', '.join(wrong)} in quotes in `vars`.")
            fields["code_compilation_config"] = {"vars": dict(variables)}
        with translated(f"Dataform CreateCompilationResult in {parent}"):
            result = self.client.create_compilation_result(
                request={"parent": parent, "compilation_result": CompilationResult(fields)},
                retry=None,
                timeout=self.rpc_timeout,
            )
        status.raise_for_compilation(result)
        return str(result.name)

    def _invocations(self, parent: str, source: Mapping[str, str]) -> list[WorkflowInvocation]:
        """Return the invocations of one source. The service's filter is not documented, so this one filters here."""
        ((kind, name),) = source.items()
        with translated(f"Dataform ListWorkflowInvocations in {parent}"):
            pager = self.client.list_workflow_invocations(
                request={"parent": parent, "page_size": PAGE_SIZE}, retry=None, timeout=self.rpc_timeout
            )
            return [item for item in pager if getattr(item, kind) == name]

    async def _async_client(self) -> DataformAsyncClient:
        loop = asyncio.get_running_loop()
        chain = self.impersonation_chain
        identity = chain if chain is None or isinstance(chain, str) else tuple(chain)
        key: _Key = (self.gcp_conn_id, identity, self.api_endpoint)
        async with _async_locks.setdefault(loop, asyncio.Lock()):
            clients = _async_clients.setdefault(loop, {})
            if key not in clients:
                await asyncio.to_thread(self.prepare_async_client)
                clients[key] = self.build_async_client()
            return clients[key]

    def _insecure_target(self) -> str | None:
        endpoint = self.api_endpoint or ""
        return endpoint.removeprefix("http://").rstrip("/") if endpoint.startswith("http://") else None

    def _client_options(self) -> Any:
        options = self.get_client_options()
        if self.api_endpoint:
            options.api_endpoint = self.api_endpoint.removeprefix("https://").rstrip("/")
        return options
