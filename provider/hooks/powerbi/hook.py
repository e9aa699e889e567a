"""Hook for the Power BI REST API, for workers (blocking) and triggerers (asynchronous)."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, TypeVar
from uuid import UUID

from airflow.sdk import BaseHook

from provider.exceptions import AcceleratorError
from provider.hooks.paths import PathPart
from provider.hooks.powerbi import names
from provider.hooks.powerbi.refreshes import Dataflow, Refreshable, SemanticModel, refreshable
from provider.hooks.powerbi.settings import PowerBISettings
from provider.hooks.powerbi.tokens import TokenSource
from provider.hooks.powerbi.transport import PowerBIApi
from provider.hooks.remote_job import Intent, JobStatus, RemoteJob
from provider.hooks.remote_service import ForeignHandle, RemoteService
from provider.hooks.wait_budget import WaitBudget
from provider.threads import LoopThread

__all__ = ["PowerBIHook"]

T = TypeVar("T")

#: Blocking callers' calls run here: one way to the service, with one connection pool and one token.
_calls = LoopThread("accelerator-powerbi")


class RefreshRequest(TypedDict):
    """
    What a refresh is asked for with. Workspace and item are given by id or name.

    :param workspace: workspace of the item; of the report, where that is given.
    :param semantic_model: the semantic model to refresh, or
    :param report: a report whose semantic model is to be refreshed, or
    :param dataflow: the dataflow to refresh.
    :param body: body of the start, as the API has it.
    :param enhanced: whether the body asks for an enhanced refresh.
    """

    workspace: str
    semantic_model: NotRequired[str]
    report: NotRequired[str]
    dataflow: NotRequired[str]
    body: Mapping[str, Any]
    enhanced: bool


class RefreshIntent(ForeignHandle):
    """What finds a refresh again, see :meth:`~provider.hooks.powerbi.refreshes.Refreshable.prepare`."""

    kind: Literal["semantic_model", "dataflow"]
    workspace_id: UUID
    item_id: UUID
    enhanced: bool
    known: list[str]
    since: str | None


class RefreshHandle(ForeignHandle):
    """Handle of a refresh, see :meth:`~provider.hooks.powerbi.refreshes.Refreshable.job`."""

    id: PathPart
    url: str = ""
    kind: Literal["semantic_model", "dataflow"]
    workspace_id: UUID
    item_id: UUID
    enhanced: bool
    started_at: str | None = None


class PowerBIHook(BaseHook, RemoteService[RefreshRequest]):
    """
    Talks to the Power BI REST API: the remote service ``powerbi``.

    :param powerbi_conn_id: connection of type ``powerbi``, see
        :class:`~provider.hooks.powerbi.settings.PowerBISettings`.
    :param budget: bounds of its calls and answers.

    .. seealso:: https://learn.microsoft.com/rest/api/power-bi/
    """

    conn_name_attr = "powerbi_conn_id"
    default_conn_name = "powerbi_default"
    conn_type = "powerbi"
    hook_name = "Power BI"

    name: ClassVar[str] = "powerbi"
    noun: ClassVar[str] = "Power BI refresh"
    connection_fields: ClassVar[tuple[str, ...]] = ("powerbi_conn_id",)
    job_model: ClassVar[type[ForeignHandle]] = RefreshHandle
    intent_model: ClassVar[type[ForeignHandle]] = RefreshIntent

    def __init__(self, powerbi_conn_id: str = default_conn_name, *, budget: WaitBudget | None = None) -> None:
        super().__init__()
        self.powerbi_conn_id = powerbi_conn_id
        self.budget = budget or WaitBudget()
        self._settings: PowerBISettings | None = None

    def connect(self) -> None:
        """Read the connection."""
        if self._settings is None:
            self._settings = PowerBISettings.from_connection(self.get_connection(self.powerbi_conn_id))

    async def aconnect(self) -> None:
        """Read the connection, from an event loop."""
        if self._settings is None:
            self._settings = PowerBISettings.from_connection(await self.aget_connection(self.powerbi_conn_id))

    @property
    def settings(self) -> PowerBISettings:
        """What the connection says."""
        self.connect()
        assert self._settings is not None
        return self._settings

    # The remote service.

    def prepare(self, request: RefreshRequest) -> Intent:
        """Return the intent to refresh; raises JobBusyError while another refresh runs."""
        return self._run(self._prepare(request))

    def start(self, request: RefreshRequest, intent: Intent) -> RemoteJob:
        """Start the refresh of an intent; raises JobBusyError while another one runs."""
        return self._run(self._refreshable(intent).start(request["body"], intent))

    def find(self, intent: Intent) -> RemoteJob | None:
        """Return the refresh that was started for an intent, where the history lists it."""
        return self._run(self.afind(intent))

    async def afind(self, intent: Intent) -> RemoteJob | None:
        """Do what :meth:`find` does, from an event loop."""
        await self.aconnect()
        return await self._refreshable(intent).find(intent)

    def status(self, job: RemoteJob) -> JobStatus:
        """Look at a refresh; raises JobNotFoundError for one the service does not know."""
        return self._run(self.astatus(job))

    async def astatus(self, job: RemoteJob) -> JobStatus:
        """Do what :meth:`status` does, from an event loop."""
        await self.aconnect()
        return await self._refreshable(job).status(job)

    def cancel(self, job: RemoteJob) -> None:
        """Cancel a refresh; raises CannotCancelError where the service cannot."""
        self._run(self.acancel(job))

    async def acancel(self, job: RemoteJob) -> None:
        """Do what :meth:`cancel` does, from an event loop."""
        await self.aconnect()
        await self._refreshable(job).cancel(job)

    # What people ask for.

    def test_connection(self) -> tuple[bool, str]:
        """Get a new token (none that was kept, not even a refusal), and ask for one workspace."""
        try:
            found = self._run(PowerBIApi(self.settings, self.budget, TokenSource(self.settings)).listed("groups", {"$top": "1"}))
        except AcceleratorError as error:
            return False, str(error)
        seen = f"it sees workspace {found[0].name!r}" if found else "it sees no workspace yet: add it to one"
        return True, f"Application {self.settings.client_id} got a token, and {seen}."

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        self.connect()  # here, as the supervisor of a task is asked from the task's own thread
        return _calls.run(call)

    def _api(self) -> PowerBIApi:
        return PowerBIApi(self.settings, self.budget)

    def _refreshable(self, handle: Mapping[str, Any]) -> Refreshable:
        return refreshable(handle, self._api())

    async def _prepare(self, request: RefreshRequest) -> Intent:
        api = self._api()
        workspace_id = await names.resolve_workspace(api, request["workspace"])
        item: Refreshable
        if "dataflow" in request:
            item = Dataflow(workspace_id, await names.resolve_dataflow(api, workspace_id, request["dataflow"]), api)
        else:
            if "report" in request:
                workspace_id, model_id = await names.resolve_report(api, workspace_id, request["report"])
            else:
                model_id = await names.resolve_semantic_model(api, workspace_id, request["semantic_model"])
            item = SemanticModel(workspace_id, model_id, api)
        return await item.prepare(request["enhanced"])
