"""One request → its run: what is sent to Airflow's supervisor, and what each of its answers leads to."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

from provider.dispatch.by_supervisor import SupervisorRuns
from provider.dispatch.outcomes import conf_of_request, start_dag_run
from tests.provider.operators.supervisor import ALREADY_EXISTS, Supervisor, claimed_request, refusal, run_of

RUNS = SupervisorRuns()
ORIGIN = {"request_id": 7, "message_id": "m7", "workflow_id": "daily_sales", "batch_id": "B1"}


def test_the_run_has_the_batch_id_and_carries_the_request(supervisor: Supervisor) -> None:
    assert start_dag_run(claimed_request(batch_id="a+b:c~d"), RUNS).state == "dispatched"
    (sent,) = supervisor.sent
    assert isinstance(sent, TriggerDagRun)
    assert (sent.dag_id, sent.run_id, sent.logical_date, sent.reset_dag_run) == ("daily_sales", "a+b:c~d", None, False)
    assert sent.conf == {
        "day": "{{ ds }}",
        "start_task_id": ["stg_orders"],
        "scope": "workflow",
        "_accelerator": {**ORIGIN, "batch_id": "a+b:c~d"},
    }


@pytest.mark.parametrize("batch_id", ["x/clear", "../other/x", "a?b=1", "a#b", "x" * 300, "manual__x", "", "a%2fclear"])
def test_a_row_with_a_hostile_batch_id_reaches_no_supervisor(supervisor: Supervisor, batch_id: str) -> None:
    outcome = start_dag_run(claimed_request(batch_id=batch_id), RUNS)
    assert outcome.state == "rejected"
    assert "batch_id" in str(outcome.reason)
    assert supervisor.sent == []


@pytest.mark.parametrize("workflow_id", ["..", "a/b", "a?b", ""])
def test_a_row_with_a_hostile_workflow_id_reaches_no_supervisor(supervisor: Supervisor, workflow_id: str) -> None:
    assert start_dag_run(claimed_request(workflow_id=workflow_id), RUNS).state == "rejected"
    assert supervisor.sent == []


def test_a_run_of_our_own_is_there_already(supervisor: Supervisor) -> None:
    """The process died between the start and its record."""
    ours = claimed_request()
    supervisor.answers["B1"] = ALREADY_EXISTS
    supervisor.runs["B1"] = run_of(ours, conf_of_request(ours))
    assert start_dag_run(ours, RUNS).state == "dispatched"


@pytest.mark.parametrize(
    ("conf", "state"),
    [
        (None, "rejected"),
        ({}, "rejected"),
        ({"_accelerator": "7"}, "rejected"),
        ({"_accelerator": {"request_id": 8, "message_id": "m7"}}, "duplicate"),
        ({"_accelerator": {"request_id": 7, "message_id": "of another inbox"}}, "duplicate"),
    ],
)
def test_a_run_of_somebody_else_is_there_already(supervisor: Supervisor, conf: dict[str, Any] | None, state: str) -> None:
    supervisor.answers["B1"] = ALREADY_EXISTS
    supervisor.runs["B1"] = run_of(claimed_request(), conf)
    outcome = start_dag_run(claimed_request(), RUNS)
    assert outcome.state == state
    assert "exists already (manual, running)" in str(outcome.reason)


def test_what_airflow_says_of_params_with_a_secret_is_not_repeated(supervisor: Supervisor) -> None:
    said = "Invalid input for param api_password: 'hunter2' is too short\n\nOn instance:\n    'hunter2'"
    supervisor.answers["B1"] = refusal(400, "value_error", said)
    reason = str(start_dag_run(claimed_request(params={"day": "x", "api_password": "hunter2"}), RUNS).reason)
    assert "Airflow refuses the run: Invalid input for param api_password (the rest may quote a secret)" in reason
    assert "hunter2" not in reason
    supervisor.answers["B1"] = refusal(400, "value_error", "'hunter2' is no good")
    reason = str(start_dag_run(claimed_request(params={"nested": {"token": "hunter2"}}), RUNS).reason)
    assert "hunter2" not in reason


def test_a_completion_that_airflow_refuses_asks_for_a_start(supervisor: Supervisor) -> None:
    supervisor.answers["B1"] = refusal(400, "value_error", "No value passed for param day")
    outcome = start_dag_run(claimed_request(kind="completion", params={}), RUNS)
    assert outcome.state == "rejected"
    assert "start the batch with the params it needs" in str(outcome.reason)


def test_a_completion_starts_its_batch_and_tells_what_is_done(supervisor: Supervisor) -> None:
    behind = claimed_request(kind="completion", task_id="stg_orders", start_task_ids=["refresh"], scope="downstream", params={})
    assert start_dag_run(behind, RUNS).state == "dispatched"
    external = claimed_request(kind="completion", task_id="check", start_task_ids=["check"], scope="downstream", params={})
    assert start_dag_run(external, RUNS).state == "dispatched"
    assert [getattr(sent, "conf", None) for sent in supervisor.sent] == [
        {"start_task_id": ["refresh"], "scope": "downstream", "_accelerator": {**ORIGIN, "completed_task_id": "stg_orders"}},
        {"start_task_id": ["check"], "scope": "downstream", "_accelerator": ORIGIN},
    ]


def test_a_completion_of_a_run_of_somebody_else_is_an_event_of_it(supervisor: Supervisor) -> None:
    supervisor.answers["B1"] = ALREADY_EXISTS
    supervisor.runs["B1"] = run_of(claimed_request(), {})
    assert start_dag_run(claimed_request(kind="completion"), RUNS).state == "recorded"


def test_a_file_starts_the_whole_workflow_with_its_address(supervisor: Supervisor) -> None:
    params = {"bucket": "landing", "object": "a.csv", "generation": "1"}
    file = claimed_request(kind="file", task_id=None, start_task_ids=None, params=params)
    assert start_dag_run(file, RUNS).state == "dispatched"
    (sent,) = supervisor.sent
    assert isinstance(sent, TriggerDagRun)
    assert sent.conf == {**params, "scope": "workflow", "_accelerator": ORIGIN}


def test_a_run_that_is_deleted_in_this_moment_is_tried_again(supervisor: Supervisor) -> None:
    supervisor.answers["B1"] = ALREADY_EXISTS
    supervisor.runs["B1"] = refusal(404, "not_found")
    assert start_dag_run(claimed_request(), RUNS).state == "received"


@pytest.mark.parametrize(
    ("answer", "state", "outage"),
    [
        (refusal(400, "value_error", "Invalid input for param day"), "rejected", False),
        (refusal(400, "denied_run_type"), "rejected", False),
        (refusal(422), "rejected", False),
        (refusal(400, "import_errors"), "received", False),
        (refusal(404, "not_found"), "received", False),
        (refusal(403), "received", False),
        (refusal(500), "received", True),
        (refusal(None), "received", True),
        (ErrorResponse(error=ErrorType.GENERIC_ERROR, detail=None), "received", True),
    ],
)
def test_what_airflow_refuses(supervisor: Supervisor, answer: Any, state: str, outage: bool) -> None:
    supervisor.answers["B1"] = answer
    outcome = start_dag_run(claimed_request(), RUNS)
    assert (outcome.state, outcome.outage) == (state, outage)
    assert outcome.reason


def test_the_reason_is_airflows_own(supervisor: Supervisor) -> None:
    supervisor.answers["B1"] = refusal(400, "value_error", "Invalid input for param day:\n\n  'x' is not a date")
    assert "Invalid input for param day: 'x' is not a date" in str(start_dag_run(claimed_request(), RUNS).reason)


def test_an_answer_at_first_hand_is_understood_too(supervisor: Supervisor) -> None:
    """``airflow dags test`` has no supervisor process in between."""
    import httpx
    from airflow.sdk.api.client import ServerResponseError

    response = httpx.Response(
        400,
        json={"detail": {"reason": "value_error", "message": "bad day"}},
        request=httpx.Request("POST", "http://server/dag-runs/daily_sales/B1"),
    )
    error = ServerResponseError.from_response(response)
    assert error is not None
    supervisor.answers["B1"] = error
    outcome = start_dag_run(claimed_request(), RUNS)
    assert (outcome.state, "bad day" in str(outcome.reason)) == ("rejected", True)
