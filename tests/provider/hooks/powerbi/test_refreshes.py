"""What Power BI says of refreshes, and what it means."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from provider.hooks.paths import is_guid
from provider.hooks.powerbi import entries
from provider.hooks.powerbi.answers import Entry, read
from provider.hooks.powerbi.refreshes import Dataflow, SemanticModel
from provider.hooks.powerbi.transport import ApiRequest
from provider.hooks.remote_job import JobBusyError, JobNotFoundError, RemoteCallError
from provider.hooks.wait_budget import WaitBudget


class Answers:
    """The API with prepared answers: JSON bodies or errors."""

    portal_url = "https://app.powerbi.com"
    budget = WaitBudget()

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests: list[ApiRequest] = []

    async def send(self, request: ApiRequest) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, RemoteCallError):
            raise answer
        return httpx.Response(200, json=answer)

    async def get(self, path: str) -> httpx.Response:
        return await self.send(ApiRequest("GET", path))


def model(*answers: Any) -> SemanticModel:
    return SemanticModel("w", "m", Answers(*answers))  # type: ignore[arg-type]


def handle(item: SemanticModel | Dataflow, **changes: Any) -> dict[str, Any]:
    return {**item.job("r1", enhanced=True), **changes}


def status(*answers: Any, **changes: Any) -> Any:
    """Look at an enhanced refresh of the model."""
    item = model(*answers)
    return run(item.status(handle(item, **changes)))


def run(call: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(call)


class TestConversation:
    @pytest.mark.parametrize(
        ("entry", "state"),
        [
            ({"status": "Unknown"}, "running"),
            ({"status": "Unknown", "extendedStatus": "NotStarted"}, "running"),
            ({"status": "Failed", "extendedStatus": "NotStarted"}, "failed"),
            ({"status": "Completed", "extendedStatus": "Cancelled"}, "failed"),
            ({"status": "Unknown", "extendedStatus": "Completed"}, "done"),
            ({"status": "Completed", "extendedStatus": "Unknown"}, "done"),
            ({"status": "Completed"}, "done"),
            ({"status": "Failed"}, "failed"),
            ({"status": "Cancelled"}, "failed"),
            ({"status": "Disabled"}, "failed"),
            ({"status": "Failed", "extendedStatus": "TimedOut"}, "failed"),
            ({"status": "Sleeping"}, "running"),
            ({}, "running"),
        ],
    )
    def test_states_unknown_ones_run(self, entry, state):
        assert entries.state(read(Entry, entry)) == state

    @pytest.mark.parametrize(
        ("entry", "ours"),
        [
            ({"refreshType": "ViaEnhancedApi"}, True),
            ({"refreshType": "ReliableProcessing"}, True),
            ({"refreshType": "ViaApi"}, False),
            ({"refreshType": "Scheduled"}, False),
            ({"refreshType": "OnDemand"}, False),
            ({"refreshType": "ViaEnhancedApi", "startTime": "2026-01-01T09:59:59Z"}, False),
            ({"refreshType": "ViaEnhancedApi", "requestId": "known"}, False),
        ],
    )
    def test_which_refresh_can_be_a_lost_start(self, entry, ours):
        intent = {"known": ["known"], "since": "2026-01-01T10:00:00+00:00", "enhanced": True}
        entry = {"requestId": "r1", "startTime": "2026-01-01T10:00:00.5Z", "status": "Unknown", **entry}

        found = run(model({"value": [entry]}).find(intent))

        assert (found is not None) is ours

    def test_earliest_candidate_is_taken(self):
        intent: dict[str, Any] = {"known": [], "since": None, "enhanced": True}
        late, early = ({"requestId": str(n), "startTime": f"2026-01-01T10:0{n}:00Z"} for n in (5, 2))

        assert run(model({"value": [late, early]}).find(intent))["id"] == "2"

    def test_refresh_without_details_is_looked_up_in_the_history(self):
        gone = RemoteCallError("404", status_code=404, retryable=False)

        found = status(gone, {"value": [{"requestId": "r1", "status": "Completed"}]})

        assert found.state == "done"

    def test_refresh_that_is_listed_nowhere_is_waited_for_and_then_given_up(self):
        gone = RemoteCallError("404", status_code=404, retryable=False)
        young = status(gone, {"value": []})
        assert (young.state, young.detail) == ("running", "not listed yet")

        with pytest.raises(JobNotFoundError, match="dropped"):
            status(gone, {"value": []}, started_at="2026-01-01T10:00:00+00:00")

    def test_error_of_a_look_is_not_an_end(self):
        with pytest.raises(RemoteCallError):
            status(RemoteCallError("503", status_code=503), {"value": [{"requestId": "r1", "status": "Unknown"}]})

    def test_reason_in_the_nested_form_of_the_service(self):
        exception = (
            '{"error":{"code":"DM_GWPipeline","pbi.error":{"details":[{"code":"Reason","detail":{"value":"no driver"}}]}}}'
        )

        found = entries.job_status(
            "Refresh", handle(model()), read(Entry, {"status": "Failed", "serviceExceptionJson": exception})
        )

        assert "DM_GWPipeline; Reason: no driver." in found.error

    def test_dataflow_transaction_id_is_one_part_of_the_path(self):
        api = Answers({"status": "successful"})
        dataflow = Dataflow("w", "d", api)  # type: ignore[arg-type]
        run(dataflow.cancel(handle(dataflow, id="2020-01-01T00:00:00Z@guid$3")))

        assert api.requests[0].path == "groups/w/dataflows/transactions/2020-01-01T00%3A00%3A00Z%40guid%243/cancel"

    def test_id_is_a_guid_in_its_usual_form_only(self):
        assert is_guid("22222222-2222-4222-8222-222222222222")
        assert not is_guid("22222222222242228222222222222222")
        assert not is_guid("Sales")


def entry(minutes_ago: float | None, status: str, *, ended: bool = False, name: str = "r", **more: Any) -> dict[str, Any]:
    """An entry of a history that began so long ago."""
    begun = None if minutes_ago is None else datetime.now(UTC) - timedelta(minutes=minutes_ago)
    times = {} if begun is None else {"startTime": begun.isoformat()}
    if ended:
        times["endTime"] = ((begun or datetime.now(UTC)) + timedelta(seconds=30)).isoformat()
    return {"requestId": name, "status": status, **times, **more}


class TestHistoriesThatUsersReport:
    """One reading of an entry, for one's own refresh and for what is in the way."""

    @pytest.mark.parametrize(
        ("found", "state"),
        [
            (entry(10, "Unknown"), "running"),
            (entry(10, "Unknown", ended=True), "failed"),  # it ran for ever
            (entry(10, "Unknown", ended=True, extendedStatus="InProgress"), "running"),
            (entry(10, "InProgress", ended=True), "running"),
            (entry(10, "Unknown", ended=True, extendedStatus="Completed"), "done"),
            (entry(10, "PartiallyCompleted", ended=True), "running"),
            (entry(26 * 60, "PartiallyCompleted", ended=True), "failed"),
            (entry(26 * 60, "Unknown"), "failed"),
            (entry(24 * 60, "Unknown"), "running"),
            (entry(None, "Unknown"), "running"),
            ({"status": None}, "running"),
        ],
    )
    def test_reading(self, found, state):
        assert entries.state(read(Entry, found)) == state
        assert status(found).state == state

    def test_refresh_that_ended_no_one_knows_how_says_so(self):
        assert "ended as Unknown: the service does not say how it ended." in status(entry(10, "Unknown", ended=True)).error

    @pytest.mark.parametrize(
        "history",
        [
            [entry(3 * 7 * 24 * 60, "Unknown")],  # a zombie of three weeks ago blocked every start
            [entry(5, "Completed", ended=True), entry(90, "Unknown")],
            [entry(5, "Failed", ended=True)],
            [],
        ],
    )
    def test_what_has_ended_unseen_blocks_nothing(self, history):
        assert run(model({"value": history}).prepare(enhanced=False))["known"] == ["r"] * len(history)

    @pytest.mark.parametrize(
        "history",
        [
            [entry(5, "Unknown", name="other")],
            [entry(5, "InProgress", ended=True, name="other")],  # was taken for free, and the start refused for ever
            [entry(5, "Unknown", name="other"), entry(90, "Completed", ended=True)],
            [entry(5, "Failed", ended=True), entry(90, "Unknown", name="other")],
        ],
    )
    def test_what_runs_is_in_the_way(self, history):
        with pytest.raises(JobBusyError, match="other of m already runs"):
            run(model({"value": history}).prepare(enhanced=False))

    @pytest.mark.parametrize(("code", "retryable"), [(403, False), (500, True)])
    def test_known_end_decides_where_details_are_refused_or_broken(self, code, retryable):
        error = RemoteCallError(f"{code}", status_code=code, retryable=retryable)

        found = status(error, {"value": [{"requestId": "r1", "status": "Completed"}]})

        assert (found.state, found.incomplete) == ("done", error)

    @pytest.mark.parametrize("value", [None, 3, "text", {"a": 1}, [3, None, "x"]])
    def test_values_of_wrong_types_are_passed_over(self, value):
        odd = {"status": "Failed", "refreshAttempts": value, "messages": value, "objects": value, "numberOfAttempts": value}
        assert status({**odd, "startTime": value, "endTime": value}).state == "failed"
