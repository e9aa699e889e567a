"""What happens when a refresh of the same model already runs, policy by policy."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from provider.exceptions import RemoteJobError
from tests.provider.operators.powerbi_world import (
    LONG,
    cancelled,
    disturb,
    model,
    posted,
    powerbi,
    start_foreign_refresh,
    workspace,
)

pytestmark = pytest.mark.slow  # real lives of tasks, with their waits


# The policy when one already runs.


def test_policy_when_one_already_runs_wait(start_cloud, life):
    """The default: refresh after it."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    other = start_foreign_refresh()
    task = life(model)

    outcome = task.begin()
    assert isinstance(outcome, TaskDeferred)
    assert outcome.trigger.cancel_on_kill is False
    assert task.operator.remote_job is None
    while isinstance(outcome, TaskDeferred):
        outcome = task.resume(outcome, task.event(outcome))

    first, second = posted(cloud)
    assert first.resource == other["id"]
    assert outcome["id"] == second.resource
    (end, _) = cloud.ledger.entries(operation="refresh_completed")
    assert end.seq < second.seq


def test_policy_when_one_already_runs_adopt(start_cloud, life, monkeypatch):
    """Its end is taken for ours, and it is never cancelled."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    other = start_foreign_refresh(type="full")
    task = life(lambda: model(if_running="adopt"))

    deferral = task.begin()
    assert deferral.trigger.cancel_on_kill is False
    monkeypatch.setattr("provider.airflow_internals.supervisor.task_instance_state", lambda **_: "failed")
    task.operator.on_kill()
    assert cancelled(cloud) == []

    assert task.resume(deferral, task.event(deferral))["id"] == other["id"]
    assert len(posted(cloud)) == 1


def test_policy_when_one_already_runs_skip_and_fail(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    start_foreign_refresh()

    with pytest.raises(AirflowSkipException, match="already runs"):
        life(lambda: model(if_running="skip")).run()
    with pytest.raises(RemoteJobError, match="already runs"):
        life(lambda: model(if_running="fail")).run()
    with pytest.raises(AirflowFailException, match="if_running is 'sometimes'"):
        life(lambda: model(if_running="sometimes")).run()
    assert len(posted(cloud)) == 1


def test_policy_when_one_already_runs_cancel(start_cloud, life):
    """It ends an enhanced refresh, and refuses a classic one."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    start_foreign_refresh(type="full")

    result = life(lambda: model(if_running="cancel")).run()

    assert result["status"] == "Completed"
    assert len(cloud.ledger.entries(operation="refresh_cancelled")) == 1
    start_foreign_refresh()
    with pytest.raises(AirflowFailException, match="classic refresh"):
        life(lambda: model(if_running="cancel")).run()


def test_cancel_of_what_already_runs_outlives_a_passing_error(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    other = start_foreign_refresh(type="full")
    disturb(cloud, "DELETE *", http_status=503)

    outcome = life(lambda: model(if_running="cancel")).begin()

    assert isinstance(outcome, TaskDeferred) or outcome["status"] == "Completed"
    assert cancelled(cloud) == [other["id"]]
