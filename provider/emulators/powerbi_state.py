"""What the Power BI emulator remembers: workspaces, their content, and the refreshes."""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from provider.emulators.ledger import Ledger
from provider.emulators.refresh_request import RefreshRequest
from provider.emulators.scenario import (
    DataflowSpec,
    FailureSpec,
    ReportSpec,
    Scenario,
    SemanticModelSpec,
    WorkspaceSpec,
)
from provider.emulators.timeline import Phase, Timeline, Timers

ALREADY_RUNNING = "Invalid dataset refresh request. Another refresh request is already executing"
Item = TypeVar("Item", SemanticModelSpec, DataflowSpec, ReportSpec)


class PowerBIError(Exception):
    """A refusal of the REST API."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass
class Refresh:
    """
    A refresh of a semantic model.

    :param number: counts up over all refreshes, as ``id`` in the history does.
    :param attempt_duration: of each attempt.
    :param result: its extended status if nobody cancels.
    """

    id: str
    number: int
    model: SemanticModelSpec
    request: RefreshRequest
    timeline: Timeline
    attempts: int
    attempt_duration: timedelta
    result: str
    failure: FailureSpec | None = None
    recorded: bool = field(default=False, repr=False)

    def extended_status(self, now: datetime) -> str:
        """Return the detailed status at a moment."""
        phase = self.timeline.phase(now)
        if phase is Phase.CANCELLED:
            return "Cancelled"
        return self.result if phase is Phase.DONE else "InProgress"

    def status(self, now: datetime) -> str:
        """Return the general status at a moment; a timed-out refresh is a failed one."""
        return {"InProgress": "Unknown", "TimedOut": "Failed"}.get(self.extended_status(now), self.extended_status(now))

    def ended_at(self, now: datetime) -> datetime | None:
        """Return when it ended, None while it runs."""
        return self.timeline.ends_at if self.timeline.phase(now) in (Phase.DONE, Phase.CANCELLED) else None

    def failure_json(self) -> str:
        """Return ``serviceExceptionJson``."""
        assert self.failure is not None, "only failed refreshes have one"
        return json.dumps(self.failure.model_dump())


@dataclass
class DataflowTransaction:
    """A refresh of a dataflow."""

    id: str
    group_id: str
    dataflow: DataflowSpec
    timeline: Timeline
    recorded: bool = field(default=False, repr=False)

    def status(self, now: datetime) -> str:
        """Return the status at a moment."""
        phase = self.timeline.phase(now)
        if phase is Phase.CANCELLED:
            return "Cancelled"
        if phase is Phase.DONE:
            return "Failed" if self.dataflow.fails else "Success"
        return "InProgress"


class PowerBIState:
    """
    The resources of the emulated service. Callers hold ``timers.lock``.

    :raises PowerBIError: by every method, where the vendor would refuse.
    """

    def __init__(self, scenario: Scenario, ledger: Ledger, timers: Timers) -> None:
        self._ledger = ledger
        self._timers = timers
        self._auto_create = scenario.auto_create
        self._auto_seconds = scenario.auto_seconds
        self._workspaces = {item.id: item.model_copy(deep=True) for item in scenario.powerbi.workspaces}
        self._numbers = itertools.count(1)
        self._failed: Counter[str] = Counter()
        self._refreshes: defaultdict[str, list[Refresh]] = defaultdict(list)
        self._transactions: dict[str, DataflowTransaction] = {}

    def workspaces(self, name: str | None = None) -> list[WorkspaceSpec]:
        """Return all workspaces, or those of a name."""
        found = [item for item in self._workspaces.values() if name is None or item.name == name]
        if not found and name and self._auto_create:
            made = WorkspaceSpec(id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)), name=name)
            self._workspaces[made.id] = made
            found = [made]
        return found

    def workspace(self, group_id: str) -> WorkspaceSpec:
        """Return a workspace."""
        if group_id not in self._workspaces:
            if not self._auto_create:
                raise PowerBIError(404, "PowerBIEntityNotFound", f"Workspace {group_id} is not found.")
            self._workspaces[group_id] = WorkspaceSpec(id=group_id, name=group_id)
        return self._workspaces[group_id]

    def model(self, group_id: str, dataset_id: str) -> SemanticModelSpec:
        """Return a semantic model of a workspace."""
        models = self.workspace(group_id).semantic_models
        found = _by_id(models, dataset_id)
        if found is None and self._auto_create:
            found = SemanticModelSpec(id=dataset_id, name=dataset_id, seconds=self._auto_seconds)
            models.append(found)
        if found is None:
            raise PowerBIError(
                404, "ItemNotFound", f"Dataset {dataset_id} is not found! please verify datasetId is correct and user"
                " have sufficient permissions."
            )  # fmt: skip
        return found

    def dataflows(self, group_id: str) -> list[DataflowSpec]:
        """Return the dataflows of a workspace that Power BI knows."""
        return [item for item in self.workspace(group_id).dataflows if item.generation == 1]

    def dataflow(self, group_id: str, dataflow_id: str) -> DataflowSpec:
        """Return a dataflow of a workspace."""
        dataflows = self.workspace(group_id).dataflows
        found = _by_id(dataflows, dataflow_id)
        if found is None and self._auto_create:
            found = DataflowSpec(id=dataflow_id, name=dataflow_id, seconds=self._auto_seconds)
            dataflows.append(found)
        if found is None or found.generation != 1:
            raise PowerBIError(404, "DataflowNotFound", f"Dataflow {dataflow_id} is not found.")
        return found

    def report(self, group_id: str, report_id: str) -> ReportSpec:
        """Return a report of a workspace."""
        found = _by_id(self.workspace(group_id).reports, report_id)
        if found is None:
            raise PowerBIError(404, "PowerBIEntityNotFound", f"Report {report_id} is not found.")
        return found

    def start_refresh(self, group_id: str, dataset_id: str, request: RefreshRequest, body: dict[str, Any]) -> Refresh:
        """Start a refresh unless one runs."""
        model = self.model(group_id, dataset_id)
        now = self._timers.now()
        if any(refresh.ended_at(now) is None for refresh in self._refreshes[model.id]):
            raise PowerBIError(model.already_running_status, "InvalidRequest", ALREADY_RUNNING)
        refresh = self._plan_refresh(model, request, now)
        self._refreshes[model.id].append(refresh)
        self._ledger.append(
            "powerbi",
            "refresh_posted",
            refresh.id,
            detail={"groupId": group_id, "datasetId": model.id, "name": model.name, "body": body},
            at=now,
        )
        self._watch_refresh(refresh)
        return refresh

    def history(self, group_id: str, dataset_id: str) -> tuple[list[Refresh], datetime]:
        """Return the refreshes that the history shows, the newest first, and the moment that it shows."""
        model = self.model(group_id, dataset_id)
        shown = self._timers.now() - timedelta(seconds=model.history_lag_seconds)
        known = [refresh for refresh in self._refreshes[model.id] if refresh.timeline.started_at <= shown]
        return known[::-1], shown

    def refresh(self, group_id: str, dataset_id: str, refresh_id: str) -> Refresh:
        """Return an enhanced refresh; the service keeps no details of others."""
        model = self.model(group_id, dataset_id)
        for refresh in self._refreshes[model.id]:
            if refresh.id == refresh_id and refresh.request.enhanced:
                return refresh
        raise PowerBIError(404, "ItemNotFound", f"Refresh {refresh_id} is not found.")

    def cancel_refresh(self, group_id: str, dataset_id: str, refresh_id: str) -> None:
        """Cancel an enhanced refresh that runs."""
        refresh = self.refresh(group_id, dataset_id, refresh_id)
        if not refresh.timeline.cancel(self._timers.now()):
            raise PowerBIError(400, "InvalidRequest", f"Refresh {refresh_id} has ended and cannot be cancelled.")
        self._ledger.append("powerbi", "refresh_cancel_requested", refresh_id)
        self._watch_refresh(refresh)

    def start_dataflow(self, group_id: str, dataflow_id: str) -> None:
        """Start a refresh of a dataflow; the service tells no id."""
        dataflow = self.dataflow(group_id, dataflow_id)
        now = self._timers.now()
        transaction_id = f"{now:%Y-%m-%dT%H:%M:%S.%f}0Z@{uuid.uuid4()}${next(self._numbers)}"
        transaction = DataflowTransaction(transaction_id, group_id, dataflow, Timeline(now, timedelta(seconds=dataflow.seconds)))
        self._transactions[transaction_id] = transaction
        self._ledger.append(
            "powerbi",
            "dataflow_refresh_posted",
            transaction_id,
            detail={"groupId": group_id, "dataflowId": dataflow.id, "name": dataflow.name},
            at=now,
        )
        self._watch_transaction(transaction)

    def transactions(self, group_id: str, dataflow_id: str) -> list[DataflowTransaction]:
        """Return a dataflow's refreshes, the newest first."""
        dataflow = self.dataflow(group_id, dataflow_id)
        return [item for item in reversed(self._transactions.values()) if item.dataflow.id == dataflow.id]

    def cancel_transaction(self, group_id: str, transaction_id: str) -> str:
        """Try to cancel a dataflow's refresh and return how that went, in the service's words."""
        transaction = self._transactions.get(transaction_id)
        if transaction is None or transaction.group_id != group_id:
            return "notFound"
        if not transaction.timeline.cancel(self._timers.now()):
            return "alreadyConcluded"
        self._watch_transaction(transaction)
        return "successfullyMarked"

    def _plan_refresh(self, model: SemanticModelSpec, request: RefreshRequest, now: datetime) -> Refresh:
        duration, result, failure = timedelta(seconds=model.seconds), "Completed", None
        if missing := _missing_object(model, request):
            result, failure = "Failed", FailureSpec(errorCode="ModelRefresh_ObjectNotFound", errorDescription=missing)
        elif model.fails and (model.failing_refreshes is None or self._failed[model.id] < model.failing_refreshes):
            self._failed[model.id] += 1
            result, failure = "Failed", model.fails
        elif request.enhanced and duration > request.attempt_timeout:
            duration, result = request.attempt_timeout, "TimedOut"
            failure = FailureSpec(
                errorCode="RefreshTimeout", errorDescription=f"The refresh exceeded its timeout of {request.timeout}."
            )
        attempts = 1 if failure is None else 1 + request.retryCount
        return Refresh(
            str(uuid.uuid4()),
            next(self._numbers),
            model,
            request,
            Timeline(now, duration * attempts),
            attempts,
            duration,
            result,
            failure,
        )

    def _watch_refresh(self, refresh: Refresh) -> None:
        def settle(now: datetime) -> None:
            if refresh.recorded or refresh.ended_at(now) is None:
                return
            refresh.recorded = True
            outcome = {"TimedOut": "timed_out"}.get(refresh.extended_status(now), refresh.status(now).lower())
            detail: dict[str, Any] = {"datasetId": refresh.model.id, "name": refresh.model.name}
            if outcome in ("failed", "timed_out") and refresh.failure:
                detail["errorCode"] = refresh.failure.errorCode
            self._ledger.append("powerbi", f"refresh_{outcome}", refresh.id, detail=detail, at=refresh.timeline.ends_at)

        self._timers.at(refresh.timeline.ends_at, settle)

    def _watch_transaction(self, transaction: DataflowTransaction) -> None:
        def settle(now: datetime) -> None:
            if transaction.recorded or transaction.status(now) == "InProgress":
                return
            transaction.recorded = True
            outcome = {"Success": "completed"}.get(transaction.status(now), transaction.status(now).lower())
            self._ledger.append("powerbi", f"dataflow_refresh_{outcome}", transaction.id, at=transaction.timeline.ends_at)

        self._timers.at(transaction.timeline.ends_at, settle)


def _by_id(items: Sequence[Item], item_id: str) -> Item | None:
    return next((item for item in items if item.id.lower() == item_id.lower()), None)


def _missing_object(model: SemanticModelSpec, request: RefreshRequest) -> str | None:
    for wanted in request.objects:
        if model.tables and wanted.table not in model.tables:
            return f"The table '{wanted.table}' does not exist in the model '{model.name}'."
        if model.tables and wanted.partition and wanted.partition not in model.tables[wanted.table]:
            return f"The partition '{wanted.partition}' does not exist in the table '{wanted.table}'."
    return None
