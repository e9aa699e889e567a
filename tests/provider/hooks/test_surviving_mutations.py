"""What could be broken without a test that noticed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.cloud.dataform_v1 import WorkflowInvocation, WorkflowInvocationAction

from provider.exceptions import RemoteJobError
from provider.hooks.bigquery import BigQueryJobHook
from provider.hooks.dataform import invocations
from provider.hooks.powerbi.errors import response_error
from provider.hooks.powerbi.refreshes import SemanticModel
from provider.hooks.remote_job import RemoteCallError
from provider.links import BigQueryJobLink, DataformInvocationLink, PowerBILink, RemoteJobLink
from provider.operators import remote_job
from tests.provider.defects.raw_server import RawServer, http
from tests.provider.hooks.powerbi.test_refreshes import Answers, handle


@pytest.mark.parametrize("code", [400, 404, 409])
@pytest.mark.parametrize(
    ("status", "refused"), [("Unknown", True), ("InProgress", True), ("Completed", False), ("Failed", False)]
)
def test_refused_cancel_of_a_running_refresh_is_not_done(code, status, refused):
    refusal = RemoteCallError("refused", status_code=code, retryable=False)
    item = SemanticModel("w", "m", Answers(refusal, {"requestId": "r1", "status": status}))  # type: ignore[arg-type]

    if refused:
        with pytest.raises(RemoteCallError, match="refused"):
            asyncio.run(item.cancel(handle(item)))
    else:
        asyncio.run(item.cancel(handle(item)))


@pytest.mark.parametrize(
    ("state", "running"),
    [(WorkflowInvocation.State.CANCELING, True), (0, True), (1, True), (99, True), (2, False), (3, False), (4, False)],
)
def test_unknown_state_of_dataform_is_no_end(state, running):
    assert invocations.is_running(WorkflowInvocation(state=state)) is running


@pytest.mark.parametrize(
    ("state", "ended"), [("PENDING", False), ("RUNNING", False), ("FINISHING", False), ("done", False), ("DONE", True)]
)
def test_unknown_state_of_bigquery_is_no_end(monkeypatch, state, ended):
    extra = '{"conn_type": "google_cloud_platform", "extra": {"project": "demo", "is_anonymous": true}}'
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", extra)
    job: dict[str, Any] = {"jobReference": {"projectId": "demo", "location": "EU", "jobId": "one"}, "status": {"state": state}}
    job["configuration"] = {"query": {"query": "select 1"}}
    with RawServer(lambda method, path, headers: http(200, job)) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        status = BigQueryJobHook().status({"project_id": "demo", "location": "EU", "job_id": "one"})

    assert (status.ended, status.detail) == (ended, state)


class Ledger:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def record_outcome(self, outcome: str) -> None:
        self.outcomes.append(outcome)


@pytest.mark.parametrize("ends", [True, False])
def test_cancelled_job_counts_as_failed_only_once_it_has_ended(ends, caplog):
    """Otherwise a retry starts a second job beside the first."""
    ledger = Ledger()
    seen: list[list[str]] = []

    class Patient:
        def cancel(self, job: dict[str, Any]) -> None:
            seen.append(list(ledger.outcomes))

        def wait(self, job: dict[str, Any], budget: Any, slot_seconds: float) -> None:
            seen.append(list(ledger.outcomes))
            if not ends:
                raise TimeoutError

    class Operator(remote_job.RemoteJobOperator):
        job_noun = "job"
        _patient: Any = Patient()

        def request(self, context: Any, earlier: Any) -> dict[str, Any]:
            raise AssertionError

    operator = Operator(task_id="job", cancel_on_timeout=True)
    with pytest.raises(RemoteJobError, match="It was cancelled"):
        operator._time_out(ledger, {"id": "1", "url": ""}, TimeoutError("still runs."))  # type: ignore[arg-type]

    assert seen == [[], []]
    assert ledger.outcomes == (["failed"] if ends else [])


@pytest.mark.parametrize("code", [400, 429])
def test_refreshes_of_the_day_that_are_used_up_have_a_hint_and_no_retry(code):
    import httpx

    message = "Invalid dataset refresh request. Number of refresh requests in last 24 hours exceeded limit"
    answer = httpx.Response(code, json={"error": {"code": "Request Throttled", "message": message}})

    error = response_error("Power BI POST refreshes", "POST", answer)

    assert not error.retryable
    assert "The refreshes of the day are used up" in str(error)


@pytest.mark.parametrize("kind", ["bigquery_action", "notebook_action", "data_preparation_action"])
def test_every_kind_of_action_tells_its_job(kind):
    action = WorkflowInvocationAction({kind: {"job_id": "bq-1"}, "target": {"name": "dp"}, "state": 6})
    status = invocations.ended({"id": "i", "name": "n", "url": ""}, WorkflowInvocation(state=4), [action])

    assert status.result["actions"][0]["job_id"] == "bq-1"
    assert "(BigQuery job bq-1)" in status.error


def test_buttons_are_called_as_people_know_the_service():
    links = (RemoteJobLink(), BigQueryJobLink(), DataformInvocationLink(), PowerBILink())
    assert [link.name for link in links] == ["Remote job", "BigQuery job", "Dataform workflow invocation", "Power BI"]
