"""How the wait for a remote job ends: polls that fail, limits, people; the same for all services."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.airflow_internals import supervisor
from provider.emulators.rules import Rule
from provider.exceptions import RemoteJobError
from tests.provider.operators.remote_job_calls import LONG, cancels, job_in, starts


def test_polling_survives_errors_and_lost_connections_and_never_cancels(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    deferral = task.begin()
    for fault in ({"fault": "status", "times": 2, **service.fault(503)}, {"fault": "drop"}):
        cloud.rules.add(Rule.model_validate(service.rule(service.poll_call, **fault)))

    assert task.resume(deferral, task.event(deferral))
    assert sum(rule["hits"] for rule in cloud.rules.describe()) == 3
    assert len(starts(cloud, service)) == 1
    assert cancels(cloud, service) == []


def test_job_that_cannot_be_watched_is_left_running_and_the_retry_reattaches(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    deferral = task.begin()
    cloud.rules.add(Rule.model_validate(service.rule(service.poll_call, fault="status", **service.fault(403))))

    event = task.event(deferral)
    assert event["status"] == "error"
    with pytest.raises(RemoteJobError, match="left running"):
        task.resume(deferral, event)
    assert cancels(cloud, service) == []

    task.run()
    assert len(starts(cloud, service)) == 1


@pytest.mark.parametrize("limit", ["wait_timeout", "execution_timeout"])
def test_end_of_the_wait_leaves_the_job_running_and_a_retry_reattaches(start_cloud, service, life, limit):
    cloud = start_cloud(**service.scenario(seconds=2.0))
    value = 0.4 if limit == "wait_timeout" else timedelta(seconds=0.4)
    task = life(lambda: service.make(**{limit: value}))

    with pytest.raises(RemoteJobError, match="left running"):
        task.run()
    assert task.entry["outcome"] == "running"

    cloud.ledger.wait_for(service.ended)
    task.run()
    assert len(starts(cloud, service)) == 1
    assert cancels(cloud, service) == []


@pytest.mark.parametrize("deferrable", [True, False])
def test_end_of_the_wait_cancels_where_asked_to(start_cloud, service, life, deferrable):
    cloud = start_cloud(**service.scenario(seconds=30.0))
    task = life(lambda: service.make(wait_timeout=0.3, cancel_on_timeout=True, deferrable=deferrable))

    with pytest.raises(RemoteJobError, match="cancel_on_timeout"):
        task.run()

    assert [job_in(resource) for resource in cancels(cloud, service)] == [task.entry["job"]["id"]]
    assert task.entry["outcome"] == "failed"


def test_hand_made_context_without_a_store_still_works(start_cloud, service, life, caplog):
    cloud = start_cloud(**service.scenario())
    task = life(service.make)
    task.with_store = False

    with caplog.at_level(logging.WARNING):
        assert task.run()
    assert "cannot re-attach" in caplog.text
    assert len(starts(cloud, service)) == 1


@pytest.mark.parametrize("ended", ["failed", "success", "removed"])
def test_trigger_cancels_only_for_a_task_that_has_ended(start_cloud, service, life, monkeypatch, ended):
    cloud = start_cloud(**service.scenario(seconds=30.0))
    task = life(service.make)
    task.ti.map_index = 3
    trigger = task.trigger(task.begin())
    asked: list[dict[str, Any]] = []
    states: list[str | None] = [None, "deferred", "scheduled", "queued", "running", "up_for_retry", ended]

    def task_state(**key: Any) -> str | None:
        asked.append(key)
        return states[len(asked) - 1]

    monkeypatch.setattr("provider.airflow_internals.supervisor.task_instance_state", task_state)

    for _ in states[:-1]:
        asyncio.run(trigger.cancel_if_task_ended())
    assert cancels(cloud, service) == []

    asyncio.run(trigger.cancel_if_task_ended())
    assert len(cloud.ledger.wait_for(service.cancelled)) == 1
    assert asked == [{"dag_id": "sales", "run_id": "batch-1", "task_id": "job", "map_index": 3}] * 7


def test_stopped_worker_cancels_only_for_a_task_that_somebody_ended(start_cloud, service, life, monkeypatch):
    cloud = start_cloud(**service.scenario(seconds=30.0))
    task = life(service.make)
    task.begin()
    states = iter(["running", "up_for_retry", "scheduled", "deferred", "restarting"])
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: next(states))

    for _ in range(4):
        task.operator.on_kill()
    assert cancels(cloud, service) == []

    task.operator.on_kill()
    assert len(cloud.ledger.wait_for(service.cancelled)) == 1


def test_stopped_worker_leaves_the_job_where_the_state_cannot_be_told(start_cloud, service, life, monkeypatch):
    cloud = start_cloud(**service.scenario(seconds=30.0))
    task = life(service.make)
    task.begin()

    def unreachable(**_: Any) -> str:
        raise OSError("the supervisor is gone")

    monkeypatch.setattr(supervisor, "task_instance_state", unreachable)
    task.operator.on_kill()

    assert cancels(cloud, service) == []


def test_cancel_on_kill_can_be_switched_off(start_cloud, service, life, monkeypatch):
    cloud = start_cloud(**service.scenario(seconds=30.0))
    task = life(lambda: service.make(cancel_on_kill=False))
    deferral = task.begin()
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: "failed")

    task.operator.on_kill()

    assert deferral.trigger.cancel_on_kill is False
    assert cancels(cloud, service) == []


def test_no_secret_leaves_the_process(start_cloud, service, life):
    cloud = start_cloud(
        **service.scenario(seconds=LONG), rules=[service.rule(service.start_call, fault="status", **service.fault(403))]
    )
    secret = cloud.scenario.powerbi.clients[0].client_secret
    task = life(service.make)

    with pytest.raises(AirflowFailException) as failure:
        task.run()
    deferral = task.begin()

    for text in (str(failure.value), str(deferral.trigger.serialize()), str(task.store.stored), str(task.ti.xcoms)):
        assert secret not in text
        assert "Bearer" not in text


def test_the_trigger_of_a_deferral_runs_more_than_once(start_cloud, service, life):
    """A triggerer that dies hands the trigger to another one."""
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    deferral = task.begin()

    assert task.event(deferral) == task.event(deferral)
    assert task.resume(deferral, task.event(deferral))
    assert len(starts(cloud, service)) == 1


def test_airflow_can_round_trip_a_deferral(start_cloud, service, life):
    from airflow.sdk.serde import deserialize, serialize

    start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    deferral = task.begin()

    for plain in (deferral.trigger.serialize()[1], deferral.kwargs):
        assert deserialize(serialize(plain)) == plain
