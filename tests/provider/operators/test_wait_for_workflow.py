"""A task that waits for a batch of another workflow: found by its id, followed to its end, and never touched."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.exceptions import RemoteJobError
from provider.hooks.airflow_runs import AirflowRunsHook
from provider.operators.wait_for_workflow import WaitForWorkflowOperator
from tests.provider.operators.airflow_world import Airflow
from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.waits import FAST

SAME = "batch-1"


def task(**arguments: Any) -> TaskLife:
    return TaskLife(lambda: WaitForWorkflowOperator(**{**FAST, "workflow_id": "loads", **arguments}))


def run(airflow: Airflow, state: str, batch_id: str = SAME) -> None:
    airflow.runs[batch_id] = {"dag_run_id": batch_id, "state": state}


def methods(airflow: Airflow) -> set[str]:
    return {asked[0] for asked in airflow.server.asked}


def test_it_waits_for_the_batch_of_the_same_id(airflow: Airflow) -> None:
    run(airflow, "running")
    life = task()
    deferral = life.begin()
    assert isinstance(deferral, TaskDeferred)
    assert life.ti.xcoms == {
        "remote_job_id": f"loads/{SAME}",
        "remote_job_url": f"https://airflow.example.com/dags/loads/runs/{SAME}",
    }
    airflow.end(SAME)

    assert life.resume(deferral, life.event(deferral)) == {"workflow_id": "loads", "batch_id": SAME}
    assert methods(airflow) == {"GET"}


@pytest.mark.parametrize("batch_id", ["Batch_2", "scheduled__2026-11-29T05:00:00+00:00", "manual__x"])
def test_another_id(airflow: Airflow, batch_id: str) -> None:
    run(airflow, "success", batch_id)
    assert task(batch_id=batch_id).run() == {"workflow_id": "loads", "batch_id": batch_id}


def test_a_batch_that_comes_later_is_waited_for(airflow: Airflow) -> None:
    life = task()
    deferral = life.begin()
    assert isinstance(deferral, TaskDeferred)
    again = life.resume(deferral, {"status": "ended"})  # an event is a hint
    assert isinstance(again, TaskDeferred)
    run(airflow, "success")

    assert life.resume(again, life.event(again))["batch_id"] == SAME


def test_a_failed_batch_fails_it_with_the_tasks_that_failed(airflow: Airflow) -> None:
    run(airflow, "running")
    life = task()
    deferral = life.begin()
    airflow.failed_tasks = ["stg_orders"]
    airflow.end(SAME, "failed")
    said = rf"batch {SAME} of the workflow loads failed in stg_orders; restart it there, and clear this task\."
    with pytest.raises(AirflowFailException, match=said):
        life.resume(deferral, life.event(deferral))


def test_after_a_restart_of_the_other_a_clear_waits_anew(airflow: Airflow) -> None:
    run(airflow, "failed")
    life = task()
    with pytest.raises(AirflowFailException):
        life.run()
    life.clear()
    run(airflow, "running")
    deferral = life.begin()
    assert isinstance(deferral, TaskDeferred)
    airflow.end(SAME)
    assert life.resume(deferral, life.event(deferral))["batch_id"] == SAME


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_a_person_who_ends_or_clears_the_task_ends_nothing_else(airflow: Airflow, where: str) -> None:
    run(airflow, "running")
    life = task()
    life.end_by_a_person(life.trigger(life.begin()), where)
    life.clear()
    assert isinstance(life.begin(), TaskDeferred)

    assert (airflow.runs[SAME]["state"], methods(airflow)) == ("running", {"GET"})
    assert life.entry["service"] is None, "the reconciler must not end it either"


@pytest.mark.parametrize(("there", "seen"), [(True, "running"), (False, "there is no such batch yet")])
def test_a_wait_is_bounded_and_says_what_was_there(airflow: Airflow, there: bool, seen: str) -> None:
    if there:
        run(airflow, "running")
    said = rf"loads/{SAME} still runs \({seen}\) at the end of the wait\. Start or restart batch {SAME} of the workflow loads"
    with pytest.raises(RemoteJobError, match=said):
        task(wait_timeout=0.0, deferrable=False).run()
    deferred = task(wait_timeout=0.3)
    with pytest.raises(RemoteJobError, match=said):
        deferred.run()
    assert methods(airflow) == {"GET"}


@pytest.mark.parametrize("batch_id", ["", "..", "a/b", "None of them", "x" * 1025])
def test_what_is_no_id_is_not_asked_for(airflow: Airflow, batch_id: str) -> None:
    with pytest.raises(AirflowFailException, match="is no id of a batch; correct batch_id"):
        task(batch_id=batch_id).run()
    assert airflow.server.asked == []


@pytest.mark.parametrize("batch_id", [None, SAME])
def test_nobody_waits_for_itself(airflow: Airflow, batch_id: str | None) -> None:
    with pytest.raises(AirflowFailException, match="waits for the batch it is in; name another workflow, or batch_id"):
        task(workflow_id="sales", batch_id=batch_id).run()
    run(airflow, "success", "batch-0")
    assert task(workflow_id="sales", batch_id="batch-0").run()["batch_id"] == "batch-0"


def test_airflow_dags_test_hands_over_the_event_alone(airflow: Airflow) -> None:
    run(airflow, "running")
    life = task()
    deferral = life.begin()
    airflow.end(SAME)
    deferral.kwargs = {}
    assert life.resume(deferral, {"status": "ended"})["batch_id"] == SAME


def test_a_handle_says_that_it_is_awaited() -> None:
    handle = {"id": "loads/x", "url": "", "workflow_id": "loads", "batch_id": "x", "awaited": True}
    assert AirflowRunsHook.check_job(handle) == handle
