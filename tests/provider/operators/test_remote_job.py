"""The shared life of a remote job, once for each service, against emulators that speak its wire protocol."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.exceptions import RemoteJobError
from provider.operators.job_ledger import JobLedger
from tests.provider.operators.remote_job_calls import LONG, cancels, job_in, starts


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


def test_a_job_is_told_of_once_it_is_recorded(start_cloud, service, life):
    start_cloud(**service.scenario(seconds=LONG))
    told: list[Any] = []

    def make() -> Any:
        operator = service.make()
        operator.tell_remote_job = told.append
        return operator

    task = life(make)
    task.begin()

    assert told == [task.entry]


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
