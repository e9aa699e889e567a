"""A job's own end decides, whatever becomes of its details; a service that never answers does not keep a worker's slot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from provider.exceptions import RemoteJobError
from provider.hooks.wait_budget import WaitBudget
from tests.provider.operators.dataform_world import disturb, of_main, one_action, started
from tests.provider.operators.powerbi_world import disturb as disturb_power_bi
from tests.provider.operators.powerbi_world import enhanced, model, posted, powerbi, workspace
from tests.provider.operators.waits import SHORT_WAITS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ACTIONS = "QueryWorkflowInvocationActions"
STATUS = "GetWorkflowInvocation"
SHORT_OUTAGE = replace(SHORT_WAITS, outage=1.0)


def seen(cloud: Any, rule: int) -> int:
    return next(int(item["hits"]) for item in cloud.rules.describe() if item["id"] == rule)


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(("status", "asked"), [("INTERNAL", WaitBudget().details), ("PERMISSION_DENIED", 1)])
def test_invocation_has_succeeded_and_its_actions_cannot_be_read(start_cloud, life, capsys, status, asked, deferrable):
    cloud = start_cloud(**one_action(seconds=0.2))
    rule = disturb(cloud, ACTIONS, grpc_status=status, times=None)

    result = life(lambda: of_main(deferrable=deferrable)).run()

    assert (result["state"], result["actions"]) == ("SUCCEEDED", [])
    assert "has ended (SUCCEEDED), without details" in capsys.readouterr().out
    assert seen(cloud, rule) == asked


@pytest.mark.parametrize("status", ["INTERNAL", "PERMISSION_DENIED"])
def test_invocation_has_failed_and_its_actions_cannot_be_read(start_cloud, life, status):
    cloud = start_cloud(**one_action(seconds=0.2, failure_reason="Column amount does not exist"))
    disturb(cloud, ACTIONS, grpc_status=status, times=None)
    task = life(of_main)

    with pytest.raises(RemoteJobError, match=f"ended as FAILED. Its actions cannot be read: .* answered {status}"):
        task.run()

    assert task.entry["outcome"] == "failed"


def test_service_that_is_unavailable_from_the_first_poll_on_frees_the_slot(start_cloud, life):
    """The task defers after its initial wait, and the trigger ends after the outage; a retry re-attaches."""
    cloud = start_cloud(**one_action(seconds=2.0))
    rule = disturb(cloud, STATUS, grpc_status="UNAVAILABLE", times=None)
    task = life(lambda: of_main(initial_wait=0.5, budget=SHORT_OUTAGE))

    deferral = task.begin()
    assert isinstance(deferral, TaskDeferred)
    event = task.event(deferral)
    assert event["status"] == "error"
    with pytest.raises(RemoteJobError, match="UNAVAILABLE.*The job was left running; a retry re-attaches"):
        task.resume(deferral, event)

    cloud.rules.remove(rule)
    assert task.run()["state"] == "SUCCEEDED"
    assert len(started(cloud)) == 1


def test_service_that_is_unavailable_ends_a_wait_that_holds_its_slot(start_cloud, life):
    cloud = start_cloud(**one_action(seconds=30.0))
    disturb(cloud, STATUS, grpc_status="UNAVAILABLE", times=None)

    with pytest.raises(RemoteJobError, match="UNAVAILABLE.*The job was left running; a retry re-attaches"):
        life(lambda: of_main(deferrable=False, budget=SHORT_OUTAGE)).run()


@pytest.mark.parametrize("fault", [{"http_status": 403}, {"http_status": 500}, {"fault": "drop"}])
def test_refresh_has_succeeded_and_its_details_are_refused(start_cloud, life, capsys, fault):
    """The history tells the end."""
    cloud = start_cloud(**powerbi(workspace(seconds=0.3)))
    task = life(enhanced)
    deferral = task.begin()
    cloud.ledger.wait_for("refresh_completed")
    rule = disturb_power_bi(cloud, "GET */refreshes/*", times=None, **fault)

    event = task.event(deferral)
    assert event["status"] == "ended"
    assert task.resume(deferral, event)["status"] == "Completed"

    assert "has ended (Completed), without details" in capsys.readouterr().out
    assert 2 <= seen(cloud, rule) <= 1 + WaitBudget().details
    assert len(posted(cloud)) == 1


@pytest.mark.parametrize("make", [enhanced, model])
def test_refresh_has_failed_and_its_details_are_refused(start_cloud, life, make):
    failure = {"errorCode": "QuerySystemError", "errorDescription": "Column amount does not exist"}
    cloud = start_cloud(**powerbi(workspace(seconds=0.3, fails=failure)))
    task = life(make)
    deferral = task.begin()
    cloud.ledger.wait_for("refresh_failed")
    disturb_power_bi(cloud, "GET */refreshes/*", times=None, http_status=500)

    with pytest.raises(RemoteJobError, match="ended as Failed: QuerySystemError: Column amount does not exist"):
        task.resume(deferral, task.event(deferral))


def test_invocation_has_ended_and_its_actions_never_do(start_cloud, life, capsys):
    """A list that goes on for longer than a list may is as good as none."""
    cloud = start_cloud(**one_action(seconds=0.2))
    disturb(cloud, ACTIONS, fault="delay", seconds=3.0, times=None)

    assert life(lambda: of_main(http_timeout=0.5, budget=replace(SHORT_WAITS, details=2))).run()["state"] == "SUCCEEDED"

    assert "answered DEADLINE_EXCEEDED" in capsys.readouterr().out
