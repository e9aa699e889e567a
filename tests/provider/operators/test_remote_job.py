"""The shared life of a remote job, once for each service, against emulators that speak its wire protocol."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.airflow_internals import supervisor
from provider.emulators.rules import Rule
from provider.exceptions import RemoteJobError
from provider.operators.job_ledger import JobLedger

#: Seconds for jobs that must still run when their start is polled for the first time, on a slow machine too.
LONG = 1.5


def starts(cloud: Any, service: Any) -> list[str]:
    return [entry.resource for entry in cloud.ledger.entries(operation=service.started) if entry.outcome == "ok"]


def cancels(cloud: Any, service: Any) -> list[str]:
    return [entry.resource for entry in cloud.ledger.entries(operation=service.cancel) if entry.outcome == "ok"]


def job_in(resource: str) -> str:
    return resource.rpartition("/")[2]


def test_deferred_job_is_recorded_before_the_wait_and_its_result_returned(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)

    deferral = task.begin()

    assert isinstance(deferral, TaskDeferred)
    (started,) = starts(cloud, service)
    job_id = job_in(started)
    assert task.entry["job"]["id"] == job_id
    assert task.entry["outcome"] == "running"
    assert task.entry["tries"] == {"1": {"id": job_id, "url": task.entry["job"]["url"]}}
    assert task.ti.xcoms == {"remote_job_id": job_id, "remote_job_url": task.entry["job"]["url"]}
    assert task.operator.remote_job == {"id": job_id, "url": task.entry["job"]["url"]}

    result = task.resume(deferral, task.event(deferral))

    assert job_id in str(result)
    assert task.entry["outcome"] == "success"
    assert task.operator.remote_job["id"] == job_id
    assert len(starts(cloud, service)) == 1
    assert cancels(cloud, service) == []


def test_event_alone_resumes_as_in_dags_test(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    deferral = task.begin()
    event = task.event(deferral)
    deferral.kwargs = None

    assert task.entry["job"]["id"] in str(task.resume(deferral, event))
    assert len(starts(cloud, service)) == 1


def test_blocking_job_waits_in_the_worker(start_cloud, service, life):
    cloud = start_cloud(**service.scenario())
    task = life(lambda: service.make(deferrable=False))

    result = task.run()

    assert task.entry["job"]["id"] in str(result)
    assert task.deferrals == []
    assert len(starts(cloud, service)) == 1


def test_short_job_is_not_deferred(start_cloud, service, life):
    start_cloud(**service.scenario(seconds=0.2))
    task = life(lambda: service.make(initial_wait=20.0))

    assert task.run()
    assert task.deferrals == []


def test_failed_job_fails_the_try_with_its_reason_and_a_retry_starts_a_new_one(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(failing=1))
    task = life(service.make)

    with pytest.raises(RemoteJobError) as failure:
        task.run()
    message = str(failure.value)
    assert "\n" not in message
    assert task.entry["job"]["id"] in message
    assert task.entry["job"]["url"] in message
    if service.name != "dataflow":  # Power BI tells no reason for a dataflow
        assert "Column amount does not exist" in message
    assert task.entry["outcome"] == "failed"

    if service.name == "dataflow":
        with pytest.raises(RemoteJobError):
            task.run()
    else:
        task.run()
    first, second = starts(cloud, service)
    assert [task.entry["tries"][number]["id"] for number in ("1", "2")] == [job_in(first), job_in(second)]


def test_retry_after_a_lost_worker_reattaches(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    task.begin()  # and nothing ever resumes it

    task.run()

    (started,) = starts(cloud, service)
    assert task.entry["tries"]["1"] == task.entry["tries"]["2"]
    assert task.ti.xcoms["remote_job_id"] == job_in(started)
    assert cancels(cloud, service) == []


def test_retry_after_a_success_that_was_never_reported_takes_the_result(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=LONG))
    task = life(service.make)
    deferral = task.begin()
    task.event(deferral)  # the job has ended, and the worker that should have told so is lost

    assert task.run()
    assert len(starts(cloud, service)) == 1


def test_cleared_task_cancels_the_running_job_and_waits_for_its_end_before_it_starts_anew(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=3.0))
    task = life(service.make)
    task.begin()
    (old,) = starts(cloud, service)
    task.clear()

    outcome = task.begin()
    while isinstance(outcome, TaskDeferred) and outcome.method_name == "execute_again":
        outcome = task.resume(outcome, task.event(outcome))

    _, new = starts(cloud, service)
    assert task.entry["job"]["id"] == job_in(new) != job_in(old)
    (end,) = cloud.ledger.entries(operation=service.cancelled)
    assert end.resource == old
    assert end.seq < cloud.ledger.entries(operation=service.started, resource=new)[0].seq


def test_cleared_task_never_takes_the_result_of_the_cleared_tries(start_cloud, service, life):
    cloud = start_cloud(**service.scenario())
    task = life(service.make)
    task.run()
    task.clear()

    task.run()

    assert len(starts(cloud, service)) == 2
    assert cancels(cloud, service) == []
    assert len(task.entry["tries"]) == 2


class WorkerLost(BaseException):
    """The process is gone."""


def lose_worker_after_the_start(task: Any) -> None:
    def lost(self: JobLedger, job: Any) -> None:
        raise WorkerLost

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobLedger, "record_job", lost)
        with pytest.raises(WorkerLost):
            task.begin()


def test_worker_lost_between_start_and_record_finds_its_job(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=0.6))
    task = life(service.make)

    lose_worker_after_the_start(task)
    entry = task.entry
    assert entry["job"] is None

    task.run()

    (started,) = starts(cloud, service)
    assert task.entry["job"]["id"] == job_in(started)


def test_worker_lost_between_start_and_record_then_cleared_cancels_the_job_it_finds(start_cloud, service, life):
    cloud = start_cloud(**service.scenario(seconds=3.0))
    task = life(service.make)

    lose_worker_after_the_start(task)
    task.clear()

    outcome = task.begin()
    while isinstance(outcome, TaskDeferred) and outcome.method_name == "execute_again":
        outcome = task.resume(outcome, task.event(outcome))

    old, new = starts(cloud, service)
    assert cloud.ledger.entries(operation=service.cancelled)[0].resource == old
    assert task.entry["job"]["id"] == job_in(new)


@pytest.mark.parametrize("fault", ["drop", "status"])
def test_start_whose_answer_is_lost_is_looked_up_and_not_repeated(start_cloud, service, life, fault):
    answer = service.fault(503) if fault == "status" else {}
    rule = service.rule(service.start_call, fault=fault, when="after", **answer)
    cloud = start_cloud(**service.scenario(), rules=[rule])
    task = life(service.make)

    task.run()

    (started,) = starts(cloud, service)
    assert task.entry["job"]["id"] == job_in(started)


def test_start_that_never_arrived_is_repeated_after_the_look_up(start_cloud, service, life):
    rule = service.rule(service.start_call, fault="status", when="before", **service.fault(503))
    cloud = start_cloud(**service.scenario(), rules=[rule])
    task = life(service.make)

    task.run()

    assert len(starts(cloud, service)) == 1
    assert cloud.rules.describe()[0]["seen"] == 2


def test_start_is_not_repeated_while_the_look_up_is_not_answered(start_cloud, service, life):
    listing = {"dataform": "ListWorkflowInvocations", "semantic_model": "GET */refreshes", "dataflow": "GET */transactions"}
    cloud = start_cloud(
        **service.scenario(),
        rules=[
            service.rule(service.start_call, fault="drop", when="after"),
            # The first listing of Power BI is the snapshot before the start.
            service.rule(
                listing[service.name],
                nth=1 if service.name == "dataform" else 2,
                times=None,
                fault="status",
                **service.fault(503),
            ),
        ],
    )
    task = life(service.make)

    with pytest.raises(RemoteJobError):
        task.run()
    assert len(starts(cloud, service)) == 1

    cloud.rules.clear()
    task.run()
    assert len(starts(cloud, service)) == 1


def test_throttled_start_waits_as_long_as_the_service_asks_for(start_cloud, service, life):
    rule = service.rule(service.start_call, fault="status", retry_after=1, **service.fault(429))
    cloud = start_cloud(**service.scenario(), rules=[rule])
    task = life(service.make)

    task.run()

    assert len(starts(cloud, service)) == 1


def test_start_throttled_for_an_hour_gives_the_slot_back(start_cloud, service, life):
    rule = service.rule(service.start_call, fault="status", retry_after=3392, **service.fault(429))
    cloud = start_cloud(**service.scenario(), rules=[rule])

    with pytest.raises(RemoteJobError, match="3392 s"):
        life(service.make).run()
    assert starts(cloud, service) == []


def test_forbidden_start_is_not_retried(start_cloud, service, life):
    rule = service.rule(service.start_call, fault="status", **service.fault(403))
    cloud = start_cloud(**service.scenario(), rules=[rule])

    with pytest.raises(AirflowFailException, match="Give the"):
        life(service.make).run()
    assert starts(cloud, service) == []


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
