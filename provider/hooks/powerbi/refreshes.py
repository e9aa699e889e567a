"""The two things Power BI refreshes, semantic models and dataflows: what they share, and where they differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from provider.hooks.paths import is_part, path
from provider.hooks.powerbi.answers import Entry, parse_time, read, read_all
from provider.hooks.powerbi.entries import in_the_way, is_new, job_status, service_time
from provider.hooks.powerbi.errors import GEN2_HINT, already_running, hint_for
from provider.hooks.powerbi.transport import ApiRequest, PowerBIApi, json_object
from provider.hooks.remote_job import (
    AcceptedWithoutIdError,
    CannotCancelError,
    Intent,
    JobBusyError,
    JobNotFoundError,
    JobStatus,
    RemoteCallError,
    RemoteJob,
)

if TYPE_CHECKING:
    import httpx

#: Seconds after which a refresh that is listed nowhere counts as dropped by the service, which happens to all but the
#: first two of a burst.
LISTED_WITHIN = 600.0
#: The history of a semantic model keeps this many refreshes.
HISTORY_LENGTH = "60"

# The refreshes a start of ours can never appear as. This is not a list of what it can: live services answer other words
# than the documented ones.
_CLASSIC, _ENHANCED = "ViaApi", "ViaEnhancedApi"
_NOT_BY_API = frozenset({"Scheduled", "OnDemand", "OnDemandTraining", "ViaXmlaEndpoint"})


class Refreshable(ABC):
    """
    One semantic model or dataflow.

    :param workspace_id: id of its workspace.
    :param item_id: its own id.
    :param api: how to reach the service.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]

    def __init__(self, workspace_id: str, item_id: str, api: PowerBIApi) -> None:
        self.workspace_id = workspace_id
        self.item_id = item_id
        self.api = api

    @property
    @abstractmethod
    def url(self) -> str:
        """Address in the Power BI service."""

    @property
    @abstractmethod
    def history_request(self) -> ApiRequest:
        """Request for the latest refreshes, newest first."""

    @property
    @abstractmethod
    def start_path(self) -> str:
        """Path that a start is posted to."""

    @abstractmethod
    def started_id(self, response: httpx.Response) -> str | None:
        """Return the id in the answer to a start."""

    @abstractmethod
    def could_be_ours(self, entry: Entry, enhanced: bool) -> bool:
        """Whether an entry's kind does not rule out that a start of ours made it."""

    @abstractmethod
    async def status(self, job: RemoteJob) -> JobStatus:
        """
        Look at a refresh.

        :raises JobNotFoundError: the service does not know it.
        """

    @abstractmethod
    async def cancel(self, job: RemoteJob) -> None:
        """
        Cancel a refresh; one that has ended is no error.

        :raises CannotCancelError: the service cannot.
        """

    def job(self, job_id: str, *, enhanced: bool, started_at: str | None = None) -> RemoteJob:
        """Return the handle of a refresh."""
        return {
            "id": job_id,
            "url": self.url,
            "kind": self.kind,
            "workspace_id": self.workspace_id,
            "item_id": self.item_id,
            "enhanced": enhanced,
            "started_at": started_at or datetime.now(tz=UTC).isoformat(),
        }

    async def history(self) -> tuple[list[Entry], str | None]:
        """Return the latest refreshes, and the service's time."""
        response = await self.api.send(self.history_request)
        return read_all(Entry, json_object(response), self.api.budget.listed), service_time(response)

    async def prepare(self, enhanced: bool) -> Intent:
        """
        Return the intent to start a refresh: what there was before, so that ours can be told from it.

        :param enhanced: whether it will be an enhanced one.
        :raises JobBusyError: a refresh runs already; a start would be refused, queued, or silently dropped.
        """
        entries, now = await self.history()
        self._raise_if_busy(entries)
        return {
            "kind": self.kind,
            "workspace_id": self.workspace_id,
            "item_id": self.item_id,
            "enhanced": enhanced,
            "known": [entry.id for entry in entries if entry.id],
            "since": now,
        }

    async def start(self, body: Mapping[str, Any], intent: Intent) -> RemoteJob:
        """
        Post the start.

        :raises JobBusyError: another refresh runs.
        :raises AcceptedWithoutIdError: the answer names no refresh, and the history does not list it yet.
        """
        try:
            response = await self.api.send(ApiRequest("POST", self.start_path, json=body))
        except RemoteCallError as error:
            if not already_running(error):
                raise
            entries, _ = await self.history()
            self._raise_if_busy(entries)
            raise JobBusyError(str(error), other=None) from error
        if job_id := self.started_id(response):
            return self.job(job_id, enhanced=intent["enhanced"])
        if found := await self.find(intent):
            return found
        raise AcceptedWithoutIdError(f"{self.noun} of {self.item_id} was accepted without an id.")

    async def find(self, intent: Intent) -> RemoteJob | None:
        """Return the refresh that a start with this intent made; the earliest one that fits."""
        entries, _ = await self.history()
        fitting = [
            entry
            for entry in entries
            if entry.id and is_new(entry, intent["known"], intent["since"]) and self.could_be_ours(entry, intent["enhanced"])
        ]
        if not fitting:
            return None
        earliest = min(fitting, key=lambda entry: entry.start_time or datetime.max.replace(tzinfo=UTC))
        return self._listed_job(earliest)

    async def status_in_history(self, job: RemoteJob) -> JobStatus | None:
        """Look for a refresh in the history."""
        entries, _ = await self.history()
        for entry in entries:
            if entry.id == job["id"]:
                return job_status(self.noun, job, entry)
        return None

    def unlisted(self, job: RemoteJob) -> JobStatus:
        """Judge a refresh that is listed nowhere: the service is slow to list it, or has dropped it."""
        begun = parse_time(job.get("started_at"))
        if begun is None or (datetime.now(tz=UTC) - begun).total_seconds() > LISTED_WITHIN:
            raise JobNotFoundError(
                f"{self.noun} {job['id']} is not in the history of {self.item_id}: the service has dropped it, as it does "
                "with all but two of a burst of starts."
            )
        return JobStatus("running", "not listed yet")

    def _listed_job(self, entry: Entry) -> RemoteJob:
        return self.job(
            str(entry.id),
            enhanced=entry.refresh_type == _ENHANCED,
            started_at=None if entry.start_time is None else entry.start_time.isoformat(),
        )

    def _raise_if_busy(self, entries: list[Entry]) -> None:
        if (entry := in_the_way(entries)) is not None:
            other = self._listed_job(entry) if entry.id else None
            raise JobBusyError(f"{self.noun}: {entry.id or 'another one'} of {self.item_id} already runs.", other=other)


class SemanticModel(Refreshable):
    """
    A semantic model (dataset).

    .. seealso:: https://learn.microsoft.com/power-bi/connect-data/asynchronous-refresh
    """

    kind = "semantic_model"
    noun = "Power BI semantic model refresh"

    @property
    def url(self) -> str:
        """Page of the item in the Power BI service."""
        return f"{self.api.portal_url}/{path('groups', self.workspace_id, 'datasets', self.item_id, 'details')}"

    @property
    def start_path(self) -> str:
        """Path that a start is posted to."""
        return path("groups", self.workspace_id, "datasets", self.item_id, "refreshes")

    @property
    def history_request(self) -> ApiRequest:
        """Request for the latest refreshes, newest first."""
        return ApiRequest("GET", self.start_path, params={"$top": HISTORY_LENGTH})

    def started_id(self, response: httpx.Response) -> str | None:
        """Return the id in the answer to a start; None where it has none."""
        headers: Mapping[str, str] = response.headers
        tail = headers.get("Location", "").rstrip("/").rpartition("/")[2]
        return next(filter(is_part, (tail, headers.get("x-ms-request-id"), headers.get("RequestId"))), None)

    def could_be_ours(self, entry: Entry, enhanced: bool) -> bool:
        """Whether an entry's kind does not rule out that a start of ours made it."""
        return entry.refresh_type not in _NOT_BY_API | {_CLASSIC if enhanced else _ENHANCED}

    async def status(self, job: RemoteJob) -> JobStatus:
        """Look at a refresh."""
        # The details are documented for enhanced refreshes only, and tell more; the history tells of both.
        if not job["enhanced"]:
            if found := await self.status_in_history(job):
                return found
            return await self._details(job) or self.unlisted(job)
        try:
            if found := await self._details(job):
                return found
        except RemoteCallError as error:
            if error.status_code == 429:  # no more calls, and the history is one
                raise
            return await self._status_without_details(job, error)
        return await self.status_in_history(job) or self.unlisted(job)

    async def _status_without_details(self, job: RemoteJob, error: RemoteCallError) -> JobStatus:
        """Read the end of a refresh from the history where its details are refused or broken: a known end decides."""
        try:
            found = await self.status_in_history(job)
        except RemoteCallError:
            raise error from None
        if found is None or not found.ended:
            raise error
        return replace(found, incomplete=error)

    async def _details(self, job: RemoteJob) -> JobStatus | None:
        try:
            response = await self.api.get(self._refresh_path(job))
        except RemoteCallError as error:
            if error.status_code in (400, 404):
                return None
            raise
        return job_status(self.noun, job, read(Entry, json_object(response)))

    async def cancel(self, job: RemoteJob) -> None:
        """Cancel a refresh."""
        if not job["enhanced"]:
            raise CannotCancelError(
                f"{self.noun} {job['id']} is a classic refresh, and Power BI cancels enhanced ones only. Give `refresh` "
                "to make it one."
            )
        try:
            await self.api.send(ApiRequest("DELETE", self._refresh_path(job)))
        except RemoteCallError as error:
            if error.status_code not in (400, 404, 409) or not (await self.status(job)).ended:
                raise

    def _refresh_path(self, job: RemoteJob) -> str:
        return f"{self.start_path}/{path(job['id'])}"


class Dataflow(Refreshable):
    """
    A dataflow (Gen1). A start is answered without an id, so its transaction is told by the difference of the history.

    .. seealso:: https://learn.microsoft.com/rest/api/power-bi/dataflows/get-dataflow-transactions
    """

    kind = "dataflow"
    noun = "Power BI dataflow refresh"

    @property
    def url(self) -> str:
        """Page of the item in the Power BI service."""
        return f"{self.api.portal_url}/{path('groups', self.workspace_id, 'dataflows', self.item_id)}"

    @property
    def start_path(self) -> str:
        """Path that a start is posted to."""
        return path("groups", self.workspace_id, "dataflows", self.item_id, "refreshes")

    @property
    def history_request(self) -> ApiRequest:
        """Request for the latest refreshes, newest first."""
        return ApiRequest("GET", path("groups", self.workspace_id, "dataflows", self.item_id, "transactions"))

    def started_id(self, response: httpx.Response) -> str | None:
        """Return the id in the answer to a start; None where it has none."""
        del response  # its headers name the request, not the transaction
        return None

    async def prepare(self, enhanced: bool) -> Intent:
        """Return the intent to start a refresh; a refusal says what to do about a dataflow of Gen2."""
        with _explained_for_gen2():
            return await super().prepare(enhanced)

    async def start(self, body: Mapping[str, Any], intent: Intent) -> RemoteJob:
        """Post the start; see :meth:`prepare`."""
        with _explained_for_gen2():
            return await super().start(body, intent)

    def could_be_ours(self, entry: Entry, enhanced: bool) -> bool:
        """Whether an entry's kind does not rule out that a start of ours made it."""
        del enhanced
        return entry.refresh_type != "Scheduled"

    async def status(self, job: RemoteJob) -> JobStatus:
        """Look at a refresh."""
        return await self.status_in_history(job) or self.unlisted(job)

    async def cancel(self, job: RemoteJob) -> None:
        """Cancel a refresh."""
        transaction = path("groups", self.workspace_id, "dataflows", "transactions", job["id"], "cancel")
        response = await self.api.send(ApiRequest("POST", transaction))
        answer = json_object(response).get("status")
        if answer in ("invalid", "notFound"):
            raise CannotCancelError(f"{self.noun} {job['id']} cannot be cancelled: the service answers {answer!r}.")


@contextmanager
def _explained_for_gen2() -> Iterator[None]:
    """Say what to do about a dataflow of Gen2 where the service gives no reason that is known to be another."""
    try:
        yield
    except RemoteCallError as error:
        if error.status_code not in (400, 404) or hint_for(str(error))[0]:
            raise
        raise RemoteCallError(f"{error} {GEN2_HINT}", retryable=False, status_code=error.status_code) from error


_KINDS: dict[str, type[Refreshable]] = {cls.kind: cls for cls in (SemanticModel, Dataflow)}


def refreshable(handle: Mapping[str, Any], api: PowerBIApi) -> Refreshable:
    """Return what an intent or a job handle is about."""
    return _KINDS[handle["kind"]](handle["workspace_id"], handle["item_id"], api)
