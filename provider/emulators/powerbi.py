# ruff: noqa: TID253 - the HTTP application is this module's subject, and only the emulators import it
"""
The Power BI REST API, with Entra ID beside it, over HTTPS.

Follows https://learn.microsoft.com/rest/api/power-bi and, for enhanced refreshes,
https://learn.microsoft.com/power-bi/connect-data/asynchronous-refresh.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from provider.emulators import profiles
from provider.emulators.entra import Entra, TokenStore
from provider.emulators.http_server import Connections, FaultMiddleware, HttpServer
from provider.emulators.ledger import Ledger
from provider.emulators.powerbi_state import DataflowTransaction, PowerBIError, PowerBIState, Refresh
from provider.emulators.refresh_request import RefreshRequest
from provider.emulators.rules import RuleBook, Service
from provider.emulators.scenario import ReportSpec, Scenario, SemanticModelSpec
from provider.emulators.timeline import Timers

API_PREFIX = "/v1.0/myorg"
HISTORY_DEFAULT = 60
WEB_URL = "https://app.powerbi.com/groups"

Top = Annotated[int | None, Query(alias="$top", ge=1)]


class PowerBIEmulator(HttpServer):
    """
    Power BI and Entra ID on one HTTPS port of loopback.

    :param certificate_file: certificate chain and key.
    :param port: 0 takes a free one.
    """

    def __init__(
        self,
        scenario: Scenario,
        rules: RuleBook,
        ledger: Ledger,
        timers: Timers,
        *,
        certificate_file: Path,
        port: int = 0,
    ) -> None:
        self.tokens = TokenStore(scenario.powerbi.token_seconds)
        connections = Connections()
        app = FastAPI(openapi_url=None, dependencies=[Depends(profiles.recorder(ledger, service_of_path))])
        app.include_router(PowerBIApi(PowerBIState(scenario, ledger, timers), self.tokens, timers).router())
        app.include_router(Entra(scenario, ledger, self.tokens).router())
        _add_error_handlers(app, ledger)
        super().__init__(
            FaultMiddleware(app, rules, ledger, connections, service_of_path),
            port,
            certificate_file=certificate_file,
            connections=connections,
        )
        self.url = f"https://localhost:{self.port}"


def service_of_path(path: str) -> Service:
    """Return the service that a path belongs to."""
    return "powerbi" if path.startswith(API_PREFIX) else "entra"


class PowerBIApi:
    """The REST routes on the state."""

    def __init__(self, state: PowerBIState, tokens: TokenStore, timers: Timers) -> None:
        self._state = state
        self._tokens = tokens
        self._timers = timers

    def router(self) -> APIRouter:
        """Return the routes; each wants a bearer token."""
        router = APIRouter(prefix=f"{API_PREFIX}/groups", dependencies=[Depends(self.authorize)])
        dataset, dataflow = "/{group_id}/datasets/{dataset_id}", "/{group_id}/dataflows/{dataflow_id}"
        for method, path, endpoint in (
            ("GET", "", self.groups),
            ("GET", "/{group_id}", self.group),
            ("GET", "/{group_id}/datasets", self.datasets),
            ("GET", dataset, self.dataset),
            ("POST", f"{dataset}/refreshes", self.post_refresh),
            ("GET", f"{dataset}/refreshes", self.refreshes),
            ("GET", f"{dataset}/refreshes/{{refresh_id}}", self.refresh),
            ("DELETE", f"{dataset}/refreshes/{{refresh_id}}", self.cancel_refresh),
            ("GET", "/{group_id}/dataflows", self.dataflows),
            ("POST", f"{dataflow}/refreshes", self.post_dataflow_refresh),
            ("GET", f"{dataflow}/transactions", self.transactions),
            ("POST", "/{group_id}/dataflows/transactions/{transaction_id}/cancel", self.cancel_transaction),
            ("GET", "/{group_id}/reports", self.reports),
            ("GET", "/{group_id}/reports/{report_id}", self.report),
        ):
            router.add_api_route(path, endpoint, methods=[method], response_model=None)
        return router

    def authorize(self, request: Request) -> None:
        """
        Check the bearer token.

        :raises PowerBIError: 401 without one that was issued here, 403 ``TokenExpired`` for an old one.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        worth = self._tokens.check(token) if scheme.lower() == "bearer" else "unknown"
        if worth == "expired":
            raise PowerBIError(403, "TokenExpired", "Access token has expired, resubmit with a new access token")
        if worth == "unknown":
            raise PowerBIError(401, "PowerBINotAuthorizedException", "The request has no valid access token.")

    def groups(
        self,
        request: Request,
        top: Top = None,
        skip: Annotated[int, Query(alias="$skip", ge=0)] = 0,
        odata_filter: Annotated[str | None, Query(alias="$filter")] = None,
    ) -> JSONResponse:
        """Return the workspaces, by name where asked."""
        name = _name_filter(odata_filter) if odata_filter is not None else None
        with self._timers.lock:
            found = self._state.workspaces(name)[skip:]
        return _odata(request, [_group(item.id, item.name) for item in found[:top]])

    def group(self, group_id: str) -> JSONResponse:
        """Return a workspace."""
        with self._timers.lock:
            workspace = self._state.workspace(group_id)
        return JSONResponse(_group(workspace.id, workspace.name))

    def datasets(self, request: Request, group_id: str) -> JSONResponse:
        """Return a workspace's semantic models."""
        with self._timers.lock:
            models = list(self._state.workspace(group_id).semantic_models)
        return _odata(request, [_dataset(group_id, model) for model in models])

    def dataset(self, group_id: str, dataset_id: str) -> JSONResponse:
        """Return a semantic model."""
        with self._timers.lock:
            return JSONResponse(_dataset(group_id, self._state.model(group_id, dataset_id)))

    async def post_refresh(self, request: Request, group_id: str, dataset_id: str) -> Response:
        """Start a refresh: 202, and its id in the headers that the scenario says."""
        body = await _json_object(request)
        try:
            wanted = RefreshRequest.model_validate(body)
        except ValidationError as error:
            raise PowerBIError(400, "InvalidRequest", _reasons(error)) from error
        with self._timers.lock:
            refresh = self._state.start_refresh(group_id, dataset_id, wanted, body)
        location = f"{request.url.scheme}://{request.url.netloc}{request.url.path}/{refresh.id}"
        headers = {str(name): refresh.id for name in refresh.model.refresh_id_headers}
        if "location" in headers:
            headers["location"] = location
        return Response(status_code=202, headers=headers)

    def refreshes(self, request: Request, group_id: str, dataset_id: str, top: Top = None) -> JSONResponse:
        """Return the refresh history, the newest first."""
        with self._timers.lock:
            found, shown = self._state.history(group_id, dataset_id)
            return _odata(request, [_history_entry(item, shown) for item in found[: top or HISTORY_DEFAULT]])

    def refresh(self, group_id: str, dataset_id: str, refresh_id: str) -> JSONResponse:
        """Return an enhanced refresh's details: 202 while it runs, 200 after."""
        with self._timers.lock:
            now = self._timers.now()
            found = self._state.refresh(group_id, dataset_id, refresh_id)
            return JSONResponse(_details(found, now), status_code=200 if found.ended_at(now) else 202)

    def cancel_refresh(self, group_id: str, dataset_id: str, refresh_id: str) -> Response:
        """Cancel an enhanced refresh."""
        with self._timers.lock:
            self._state.cancel_refresh(group_id, dataset_id, refresh_id)
        return Response(status_code=200)

    def dataflows(self, request: Request, group_id: str) -> JSONResponse:
        """Return a workspace's dataflows."""
        with self._timers.lock:
            found = self._state.dataflows(group_id)
        return _odata(request, [{"objectId": item.id, "name": item.name, "configuredBy": ""} for item in found])

    async def post_dataflow_refresh(self, request: Request, group_id: str, dataflow_id: str) -> Response:
        """Start a refresh of a dataflow: 200 and no id."""
        body = await _json_object(request)
        if body.get("notifyOption") not in ("NoNotification", "MailOnFailure", "MailOnCompletion"):
            raise PowerBIError(400, "InvalidRequest", "notifyOption is required: NoNotification or MailOn…")
        with self._timers.lock:
            self._state.start_dataflow(group_id, dataflow_id)
        return Response(status_code=200)

    def transactions(self, request: Request, group_id: str, dataflow_id: str) -> JSONResponse:
        """Return a dataflow's refreshes, the newest first."""
        with self._timers.lock:
            now = self._timers.now()
            found = self._state.transactions(group_id, dataflow_id)
            return _odata(request, [_transaction(item, now) for item in found])

    def cancel_transaction(self, group_id: str, transaction_id: str) -> JSONResponse:
        """Try to cancel a dataflow's refresh."""
        with self._timers.lock:
            status = self._state.cancel_transaction(group_id, transaction_id)
        return JSONResponse({"transactionId": transaction_id, "status": status})

    def reports(self, request: Request, group_id: str) -> JSONResponse:
        """Return a workspace's reports."""
        with self._timers.lock:
            found = list(self._state.workspace(group_id).reports)
        return _odata(request, [_report(group_id, item) for item in found])

    def report(self, group_id: str, report_id: str) -> JSONResponse:
        """Return a report."""
        with self._timers.lock:
            return JSONResponse(_report(group_id, self._state.report(group_id, report_id)))


def _add_error_handlers(app: FastAPI, ledger: Ledger) -> None:
    def refuse(request: Request, status: int, code: str, message: str) -> JSONResponse:
        detail = {"method": request.method, "message": message}
        ledger.append(service_of_path(request.url.path), "refused", request.url.path, detail=detail, outcome=code)
        return JSONResponse(
            {"error": {"code": code, "message": message}},
            status_code=status,
            headers={"RequestId": str(uuid.uuid4())},
        )

    def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, PowerBIError)
        return refuse(request, error.status, error.code, str(error))

    def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return refuse(request, 400, "BadRequest", "; ".join(str(item["msg"]) for item in error.errors()))

    app.add_exception_handler(PowerBIError, refused)
    app.add_exception_handler(RequestValidationError, invalid)


async def _json_object(request: Request) -> dict[str, Any]:
    content = await request.body()
    try:
        body = json.loads(content) if content.strip() else {}
    except ValueError as error:
        raise PowerBIError(400, "BadRequest", "The body is no valid JSON.") from error
    if not isinstance(body, dict):
        raise PowerBIError(400, "BadRequest", "The body must be a JSON object.")
    return body


def _reasons(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())


def _name_filter(odata_filter: str) -> str:
    found = re.fullmatch(r"\s*name\s+eq\s+'((?:[^']|'')*)'\s*", odata_filter)
    if not found:
        raise PowerBIError(400, "BadRequest", f"Unsupported $filter: {odata_filter}")
    return found[1].replace("''", "'")


def _odata(request: Request, value: list[dict[str, Any]]) -> JSONResponse:
    context = f"{request.url.scheme}://{request.url.netloc}{API_PREFIX}/$metadata"
    return JSONResponse({"@odata.context": context, "value": value})


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _group(group_id: str, name: str) -> dict[str, Any]:
    return {"id": group_id, "name": name, "isReadOnly": False, "isOnDedicatedCapacity": True, "type": "Workspace"}


def _dataset(group_id: str, model: SemanticModelSpec) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "webUrl": f"{WEB_URL}/{group_id}/datasets/{model.id}",
        "addRowsAPIEnabled": False,
        "configuredBy": "",
        "isRefreshable": True,
        "targetStorageMode": "Abf",
    }


def _report(group_id: str, report: ReportSpec) -> dict[str, Any]:
    content = {
        "id": report.id,
        "name": report.name,
        "reportType": "PowerBIReport" if report.datasetId else "PaginatedReport",
        "webUrl": f"{WEB_URL}/{group_id}/reports/{report.id}",
        "datasetId": report.datasetId,
        "datasetWorkspaceId": report.datasetWorkspaceId or (group_id if report.datasetId else None),
    }
    return {key: value for key, value in content.items() if value is not None}


def _history_entry(refresh: Refresh, shown: datetime) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "requestId": refresh.id,
        "id": refresh.number,
        "refreshType": refresh.model.history_refresh_type or ("ViaEnhancedApi" if refresh.request.enhanced else "ViaApi"),
        "startTime": _time(refresh.timeline.started_at),
        "status": refresh.status(shown),
    }
    if refresh.model.extended_status_in_history:
        entry["extendedStatus"] = refresh.extended_status(shown)
    if ended_at := refresh.ended_at(shown):
        entry["endTime"] = _time(ended_at)
    if entry["status"] == "Failed":
        entry["serviceExceptionJson"] = refresh.failure_json()
    entry["refreshAttempts"] = _attempts(refresh, shown)
    return entry


def _attempts(refresh: Refresh, now: datetime) -> list[dict[str, Any]]:
    """Return the attempts that have begun; all but a last successful one carry the failure."""
    attempts = []
    stop = refresh.ended_at(now) or now
    for number in range(refresh.attempts):
        begins = refresh.timeline.started_at + number * refresh.attempt_duration
        ends = begins + refresh.attempt_duration
        if number and begins >= stop:
            break
        attempt: dict[str, Any] = {"attemptId": number + 1, "startTime": _time(begins), "type": "Data"}
        if ends <= stop or refresh.ended_at(now):
            attempt["endTime"] = _time(min(ends, stop))
        if ends <= stop and refresh.failure:
            attempt["serviceExceptionJson"] = refresh.failure_json()
        attempts.append(attempt)
    return attempts


def _details(refresh: Refresh, now: datetime) -> dict[str, Any]:
    status = refresh.extended_status(now)
    details: dict[str, Any] = {
        "startTime": _time(refresh.timeline.started_at),
        "type": refresh.request.type,
        "commitMode": refresh.request.commitMode,
        "status": refresh.status(now),
        "extendedStatus": status,
        "currentRefreshType": refresh.request.type,
        "numberOfAttempts": len(_attempts(refresh, now)),
        "objects": _objects(refresh, {"TimedOut": "Failed"}.get(status, status)),
        "messages": [],
        "refreshAttempts": _attempts(refresh, now),
    }
    if ended_at := refresh.ended_at(now):
        details["endTime"] = _time(ended_at)
    if status in ("Failed", "TimedOut") and refresh.failure:
        details["messages"] = [{"code": refresh.failure.errorCode, "message": refresh.failure.errorDescription, "type": "Error"}]
    return details


def _objects(refresh: Refresh, status: str) -> list[dict[str, Any]]:
    tables = refresh.model.tables
    wanted = [(item.table, item.partition) for item in refresh.request.objects] or [(table, None) for table in tables]
    return [
        {"table": table, "partition": part, "status": status}
        for table, partition in wanted
        for part in ([partition] if partition else tables.get(table) or [table])
    ]


def _transaction(transaction: DataflowTransaction, now: datetime) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": transaction.id,
        "refreshType": "OnDemand",
        "startTime": _time(transaction.timeline.started_at),
        "status": transaction.status(now),
    }
    if transaction.status(now) != "InProgress":
        content["endTime"] = _time(transaction.timeline.ends_at)
    return content
