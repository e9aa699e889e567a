"""Hook for Dataform's GA API, for workers (blocking) and triggerers (asynchronous)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict
from weakref import WeakKeyDictionary

from pydantic import AfterValidator, Field

from provider.hooks.addresses import check_private
from provider.hooks.dataform import invocations, parameters
from provider.hooks.dataform.errors import translated
from provider.hooks.dataform.lineage import Lineage, lineage_of
from provider.hooks.google_service import GoogleService
from provider.hooks.paths import PathPart, path
from provider.hooks.remote_job import Intent, RemoteCallError, RemoteJob
from provider.hooks.remote_service import ForeignHandle

if TYPE_CHECKING:
    from google.cloud.dataform_v1 import (
        CompilationResultAction,
        DataformAsyncClient,
        DataformClient,
        WorkflowInvocation,
        WorkflowInvocationAction,
    )

    from provider.hooks.remote_job import JobStatus

__all__ = ["DataformInvocationHook"]

#: Seconds by which this machine's clock may differ from the service's.
CLOCK_SKEW = timedelta(minutes=5)
#: The most the service returns in one page.
PAGE_SIZE = 1000
#: A list may take as long as so many calls.
LIST_CALLS = 4
#: Milliseconds between two tries to connect, at most. gRPC's own two minutes would fail calls long after the service is back.
_CHANNEL_OPTIONS = (("grpc.max_reconnect_backoff_ms", 5000),)

_COLLECTIONS = {"workspace": "workspaces", "release_config": "releaseConfigs", "workflow_config": "workflowConfigs"}


def _invocation(name: str) -> str:
    return invocations.checked_name(name, "workflowInvocations")


def _repository(project_id: str, region: str, repository_id: str) -> str:
    """Return the name of a repository; raises where one of the parts is no id."""
    parts = ("projects", project_id, "locations", region, "repositories", repository_id)
    path(*parts)
    return "/".join(parts)


class InvocationRequest(TypedDict):
    """
    What a workflow invocation is asked for with.

    :param source: one of ``git_commitish``, ``workspace``, ``release_config``, ``workflow_config``, and its value.
    :param vars: variables for the compilation.
    :param compilation_config: fields of ``CodeCompilationConfig`` beside them.
    :param invocation_config: fields of ``InvocationConfig``.
    """

    project_id: str
    region: str
    repository_id: str
    source: Mapping[str, str]
    vars: Mapping[str, str] | None
    compilation_config: Mapping[str, str] | None
    invocation_config: Mapping[str, Any]


class InvocationIntent(ForeignHandle):
    """What finds an invocation again, see :meth:`DataformInvocationHook.prepare`."""

    parent: Annotated[str, AfterValidator(invocations.checked_repository)]
    source: Annotated[dict[str, str], Field(min_length=1, max_length=1)]
    known: tuple[str, ...] = ()
    since: datetime | None = None


class InvocationHandle(ForeignHandle):
    """Handle of an invocation, see :func:`provider.hooks.dataform.invocations.job`."""

    id: PathPart
    url: str = ""
    name: Annotated[str, AfterValidator(_invocation)]


def _channel_of(transport: Any) -> Callable[..., Any]:
    """Return what makes the channel of one of the vendor's transports, with our options beside its own."""

    def create(host: str, *, options: Sequence[tuple[str, Any]] = (), **kwargs: Any) -> Any:
        return transport.create_channel(host, options=[*options, *_CHANNEL_OPTIONS], **kwargs)

    return create


class DataformInvocationHook(GoogleService[InvocationRequest]):
    """
    Compiles Dataform repositories, and starts, watches and cancels workflow invocations: the remote service ``dataform``.

    The Google provider's ``DataformHook`` speaks the beta API, blocks, and builds a client per call; the two have
    nothing in common but the connection. Another address of the API comes from the connection's extra ``dataform_endpoint``:
    ``host:port``, or on this machine ``http://localhost:port`` for a channel without TLS and credentials.

    Parameters: see :class:`~provider.hooks.google_service.GoogleService`.

    .. seealso:: https://cloud.google.com/dataform/reference/rpc/google.cloud.dataform.v1
    """

    name: ClassVar[str] = "dataform"
    noun: ClassVar[str] = invocations.NOUN
    job_model: ClassVar[type[ForeignHandle]] = InvocationHandle
    intent_model: ClassVar[type[ForeignHandle]] = InvocationIntent

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.api_endpoint = str(self.extras.get("dataform_endpoint") or "")
        if "://" in self.api_endpoint:
            check_private(self.api_endpoint, f"Connection {self.gcp_conn_id}: extra `dataform_endpoint`")
        # A channel belongs to its event loop.
        self._async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, DataformAsyncClient] = WeakKeyDictionary()

    def connect(self) -> None:
        """Do what blocks before a client can be built: import the library, read the credentials."""
        from google.cloud import dataform_v1  # noqa: F401

        if not self._insecure_target():  # the channel without TLS needs no credentials
            self.get_credentials()

    @cached_property
    def client(self) -> DataformClient:
        """The vendor's blocking client."""
        from google.cloud.dataform_v1 import DataformClient
        from google.cloud.dataform_v1.services.dataform.transports import DataformGrpcTransport

        if target := self._insecure_target():
            import grpc

            return DataformClient(transport=DataformGrpcTransport(channel=grpc.insecure_channel(target, _CHANNEL_OPTIONS)))
        return DataformClient(
            credentials=self.get_credentials(),
            transport=partial(DataformGrpcTransport, channel=_channel_of(DataformGrpcTransport)),
            client_options=self._client_options(),
        )

    def async_client(self) -> DataformAsyncClient:
        """Return the vendor's asynchronous client for the running event loop; :meth:`connect` comes first."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            self._async_clients[loop] = self._build_async_client()
        return self._async_clients[loop]

    def look_at(self, project_id: str, region: str, repository_id: str) -> None:
        """Ask for a repository, to see that the connection may."""
        name = _repository(project_id, region, repository_id)
        with translated(f"Dataform GetRepository {name}"):
            self.client.get_repository(request={"name": name}, retry=None, timeout=self.budget.call)

    # Starting.

    def prepare(self, request: InvocationRequest) -> Intent:
        """
        Return the intent for an invocation: the name of a fresh compilation result.

        For a workflow config, which has none, what it ran lately.

        :raises RemoteJobError: the compilation has errors; not retryable.
        :raises ConfigurationError: the configuration of the compilation or of the invocation cannot be sent.
        """
        config = parameters.code_compilation_config(request["vars"], request["compilation_config"])
        invocations.invocation_config(request["invocation_config"])
        parent = _repository(request["project_id"], request["region"], request["repository_id"])
        ((kind, value),) = request["source"].items()
        name = value if kind == "git_commitish" or "/" in value else f"{parent}/{_COLLECTIONS[kind]}/{value}"
        if kind == "workflow_config":
            since = datetime.now(tz=UTC) - CLOCK_SKEW
            lately = [item.name for item in self._invocations(parent, {kind: name}) if invocations.started(item) >= since]
            return {"parent": parent, "source": {kind: name}, "known": lately, "since": since.isoformat()}
        return {"parent": parent, "source": {"compilation_result": self._compile(parent, {kind: name}, config)}}

    def start(self, request: InvocationRequest, intent: Intent) -> RemoteJob:
        """Create the invocation of an intent."""
        from google.cloud.dataform_v1 import WorkflowInvocation

        fields = dict(intent["source"])
        if config := invocations.invocation_config(request["invocation_config"]):
            fields["invocation_config"] = config
        asked = f"Dataform CreateWorkflowInvocation in {intent['parent']}"
        with translated(asked, changes=True):
            created = self.client.create_workflow_invocation(
                request={"parent": intent["parent"], "workflow_invocation": WorkflowInvocation(fields)},
                retry=None,
                timeout=self.budget.call,
            )
        return invocations.created_job(invocations.received(created, asked, changes=True).name, asked)

    def find(self, intent: Intent) -> RemoteJob | None:
        """Return the invocation that was created for an intent; the earliest one that fits."""
        found = [item for item in self._invocations(intent["parent"], intent["source"]) if invocations.is_named(item)]
        if intent.get("since"):
            since = datetime.fromisoformat(intent["since"])
            found = [item for item in found if item.name not in intent["known"] and invocations.started(item) >= since]
        return invocations.job(min(found, key=invocations.started).name) if found else None

    # Watching.

    def status(self, job: RemoteJob) -> JobStatus:
        """Look at an invocation; at one that has ended, with its actions, as far as they can be read."""
        found = self._invocation(job)
        if invocations.is_running(found):
            return invocations.running(found)
        try:
            return invocations.ended(job, found, self._actions(job))
        except RemoteCallError as error:
            return invocations.ended(job, found, [], incomplete=error)

    async def astatus(self, job: RemoteJob) -> JobStatus:
        """Look at an invocation, from an event loop; without its actions, which a trigger has no use for."""
        asked = f"Dataform GetWorkflowInvocation {job['id']}"
        with translated(asked, of_job=True):
            found = await self.async_client().get_workflow_invocation(
                request={"name": job["name"]}, retry=None, timeout=self.budget.call
            )
        found = invocations.received(found, asked)
        return invocations.running(found) if invocations.is_running(found) else invocations.ended(job, found, [])

    def cancel(self, job: RemoteJob) -> None:
        """Cancel an invocation; one that has ended is no error."""
        try:
            with translated(f"Dataform CancelWorkflowInvocation {job['id']}", of_job=True):
                self.client.cancel_workflow_invocation(request={"name": job["name"]}, retry=None, timeout=self.budget.call)
        except RemoteCallError as error:
            if error.status_code != 400 or not self.status(job).ended:
                raise

    async def acancel(self, job: RemoteJob) -> None:
        """Cancel an invocation, from an event loop."""
        try:
            with translated(f"Dataform CancelWorkflowInvocation {job['id']}", of_job=True):
                await self.async_client().cancel_workflow_invocation(
                    request={"name": job["name"]}, retry=None, timeout=self.budget.call
                )
        except RemoteCallError as error:
            if error.status_code != 400 or not (await self.astatus(job)).ended:
                raise

    def lineage(self, job: RemoteJob) -> Lineage:
        """
        Return which tables an invocation that has ended has made and read, as far as its actions have succeeded.

        :raises RemoteCallError: its actions, or those of its compilation result, cannot be read.
        """
        found = self._invocation(job)
        succeeded = {
            invocations.target_name(action.target) for action in self._actions(job) if invocations.word(action) == "SUCCEEDED"
        }
        compiled = found.resolved_compilation_result or found.compilation_result
        return lineage_of(self._compiled_actions(compiled), succeeded)

    # Parts.

    def _compile(self, parent: str, source: Mapping[str, str], config: Mapping[str, Any]) -> str:
        from google.cloud.dataform_v1 import CompilationResult

        fields: dict[str, Any] = dict(source)
        if config:
            fields["code_compilation_config"] = dict(config)
        asked = f"Dataform CreateCompilationResult in {parent}"
        with translated(asked):
            result = self.client.create_compilation_result(
                request={"parent": parent, "compilation_result": CompilationResult(fields)},
                retry=None,
                timeout=self.budget.call,
            )
        return invocations.compiled(invocations.received(result, asked), asked)

    def _invocation(self, job: RemoteJob) -> WorkflowInvocation:
        asked = f"Dataform GetWorkflowInvocation {job['id']}"
        with translated(asked, of_job=True):
            found = self.client.get_workflow_invocation(request={"name": job["name"]}, retry=None, timeout=self.budget.call)
        return invocations.received(found, asked)

    def _invocations(self, parent: str, source: Mapping[str, str]) -> list[WorkflowInvocation]:
        """Return the invocations of one source. The service's filter is not documented, so this one filters here."""
        ((kind, name),) = source.items()
        request = f"Dataform ListWorkflowInvocations in {parent}"
        with translated(request):
            pager = self.client.list_workflow_invocations(
                request={"parent": parent, "page_size": PAGE_SIZE}, retry=None, timeout=self.budget.call
            )
            pages = (page.workflow_invocations for page in pager.pages)
            return [item for item in self._items(request, pages) if getattr(item, kind) == name]

    def _actions(self, job: RemoteJob) -> list[WorkflowInvocationAction]:
        request = f"Dataform QueryWorkflowInvocationActions {job['id']}"
        with translated(request):
            pager = self.client.query_workflow_invocation_actions(
                request={"name": job["name"], "page_size": PAGE_SIZE}, retry=None, timeout=self.budget.call
            )
            return list(self._items(request, (page.workflow_invocation_actions for page in pager.pages)))

    def _compiled_actions(self, name: str) -> Iterator[CompilationResultAction]:
        request = f"Dataform QueryCompilationResultActions {name}"
        with translated(request):
            pager = self.client.query_compilation_result_actions(
                request={"name": name, "page_size": PAGE_SIZE}, retry=None, timeout=self.budget.call
            )
            yield from self._items(request, (page.compilation_result_actions for page in pager.pages))

    def _items(self, request: str, pages: Iterable[Iterable[Any]]) -> Iterator[Any]:
        """Yield the entries of all pages, until they are too many or take too long."""
        count, end = 0, time.monotonic() + LIST_CALLS * self.budget.call
        for page in pages:
            for item in page:
                count += 1
                yield item
            if count > self.budget.listed or time.monotonic() > end:
                raise RemoteCallError(
                    f"{request} goes on after {count} entries; given up. Does the service repeat a page?", retryable=False
                )

    def _build_async_client(self) -> DataformAsyncClient:
        from google.cloud.dataform_v1 import DataformAsyncClient
        from google.cloud.dataform_v1.services.dataform.transports import DataformGrpcAsyncIOTransport

        if target := self._insecure_target():
            import grpc.aio

            channel = grpc.aio.insecure_channel(target, _CHANNEL_OPTIONS)
            return DataformAsyncClient(transport=DataformGrpcAsyncIOTransport(channel=channel))
        return DataformAsyncClient(
            credentials=self.get_credentials(),
            transport=partial(DataformGrpcAsyncIOTransport, channel=_channel_of(DataformGrpcAsyncIOTransport)),
            client_options=self._client_options(),
        )

    def _insecure_target(self) -> str | None:
        return self.api_endpoint.removeprefix("http://").rstrip("/") if self.api_endpoint.startswith("http://") else None

    def _client_options(self) -> Any:
        options = self.get_client_options()
        if self.api_endpoint:
            options.api_endpoint = self.api_endpoint.removeprefix("https://").rstrip("/")
        return options
