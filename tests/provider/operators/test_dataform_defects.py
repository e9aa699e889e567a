"""
Defects of the Google provider's Dataform operators, and the same scenarios with ours: one test for each.

The emulator's ledger is the judge. Those of its transfers to BigQuery and within Cloud Storage are in test_bigquery.py and
test_gcs.py.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import grpc.aio
import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.exceptions import RemoteJobError
from provider.hooks.dataform import hook as dataform_hook
from tests.provider.operators.dataform_world import (
    REPOSITORY,
    cancelled,
    dataform,
    disturb,
    invocation,
    of_main,
    one_action,
    started,
)

pytestmark = pytest.mark.slow  # real lives of tasks, with their waits


def test_defect_create_blocks_a_worker(start_cloud, life):
    """There was no deferrable mode and no trigger: here the worker is free while the invocation runs."""
    cloud = start_cloud(**one_action())
    task = life(of_main)

    deferral = task.begin()

    assert isinstance(deferral, TaskDeferred)
    assert cloud.ledger.entries(operation="workflow_invocation_succeeded") == []
    assert task.resume(deferral, task.event(deferral))["state"] == "SUCCEEDED"


@pytest.mark.parametrize("deferrable", [True, False])
def test_defect_create_returns_the_first_running_snapshot(start_cloud, life, deferrable):
    start_cloud(**one_action())

    result = life(lambda: of_main(deferrable=deferrable)).run()

    assert result["state"] == "SUCCEEDED"
    (action,) = result["actions"]
    assert (action["target"], action["state"]) == ("demo-project.mart.orders", "SUCCEEDED")
    assert action["job_id"]


def test_defect_one_timeout_for_a_call_and_for_the_wait(start_cloud, life, capsys):
    """A call may take half a second and the wait a minute; a slow call is repeated and says nothing about the wait."""
    cloud = start_cloud(**one_action())
    slow = disturb(cloud, "GetWorkflowInvocation", fault="delay", seconds=2.0)

    result = life(lambda: of_main(http_timeout=0.5, wait_timeout=60.0)).run()

    assert result["state"] == "SUCCEEDED"
    assert next(rule["hits"] for rule in cloud.rules.describe() if rule["id"] == slow) == 1
    assert "answered DEADLINE_EXCEEDED" in capsys.readouterr().out
    assert len(started(cloud)) == 1
    with pytest.raises(RemoteJobError, match="still runs .* at the end of the wait"):
        life(lambda: of_main(wait_timeout=0.2)).run()


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_defect_poller_swallows_every_exception(start_cloud, life, where):
    """An invocation that is gone ends the task, with that reason; it was polled for until the timeout."""
    cloud = start_cloud(**one_action(seconds=30.0))
    task = life(lambda: of_main(deferrable=where == "triggerer"))
    gone = {"grpc_status": "NOT_FOUND", "message": "Invocation was deleted", "times": None}
    if where == "worker":
        disturb(cloud, "GetWorkflowInvocation", nth=3, **gone)
        with pytest.raises(RemoteJobError, match="NOT_FOUND: Invocation was deleted"):
            task.run()
        return
    deferral = task.begin()
    disturb(cloud, "GetWorkflowInvocation", **gone)
    with pytest.raises(RemoteJobError, match="NOT_FOUND: Invocation was deleted"):
        task.resume(deferral, task.event(deferral))


def test_defect_failure_text_has_no_failure_reason(start_cloud, life):
    actions = [
        {"target": {"name": "orders", "schema": "mart"}, "seconds": 0.1, "failure_reason": "Division by\nzero"},
        {"target": {"name": "clients", "schema": "mart"}, "seconds": 0.1, "failure_reason": "Access Denied."},
        {"target": {"name": "report", "schema": "mart"}, "depends_on": ["orders"]},
    ]
    start_cloud(**dataform(actions=actions, release_configs=[], workflow_configs=[]))

    with pytest.raises(RemoteJobError) as failure:
        life(of_main).run()
    message = str(failure.value)
    assert "ended as FAILED" in message
    assert "demo-project.mart.orders: Division by zero (BigQuery job " in message
    assert "demo-project.mart.clients: Access Denied (BigQuery job " in message
    assert "1 actions that depend on them were skipped" in message
    assert "\n" not in message


def test_defect_compilation_errors_are_never_looked_at(start_cloud, life):
    """They name file and message, nothing is run, and the task is not retried."""
    errors = [{"path": "definitions/orders.sqlx", "message": "Missing ref: rawx"}, {"message": "No dataform.json"}]
    cloud = start_cloud(**dataform(compilation_errors=errors))

    with pytest.raises(AirflowFailException) as failure:
        life(of_main).run()
    assert "definitions/orders.sqlx: Missing ref: rawx; project: No dataform.json" in str(failure.value)
    assert started(cloud) == []


def test_defect_a_new_client_for_each_call(start_cloud, life, monkeypatch):
    """A hundred triggers poll three times each over one channel."""
    start_cloud(**one_action(seconds=30.0))
    task = life(of_main)
    deferral = task.begin()
    channels: list[Any] = []
    open_channel = grpc.aio.insecure_channel

    def counted(*args: Any, **kwargs: Any) -> Any:
        channels.append(open_channel(*args, **kwargs))
        return channels[-1]

    monkeypatch.setattr(grpc.aio, "insecure_channel", counted)

    async def poll_all() -> None:
        triggers = [task.trigger(deferral) for _ in range(100)]
        for _ in range(3):
            statuses = await asyncio.gather(*(trigger.status() for trigger in triggers))
            assert {status.state for status in statuses} == {"running"}
        await channels[0].close()

    asyncio.run(poll_all())
    assert len(channels) == 1


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_defect_no_retry_of_what_passes_by_itself(start_cloud, life, status):
    """Neither compiling nor polling changes anything, so both are repeated until they are answered."""
    cloud = start_cloud(**one_action())
    for method, nth in (("CreateCompilationResult", 1), ("GetWorkflowInvocation", 2), ("QueryWorkflowInvocationActions", 1)):
        disturb(cloud, method, grpc_status=status, times=4, nth=nth)

    assert life(of_main).run()["state"] == "SUCCEEDED"

    assert [rule["hits"] for rule in cloud.rules.describe()] == [4, 4, 4]
    assert len(started(cloud)) == 1
    assert cancelled(cloud) == []


def test_defect_no_way_to_list_invocations(start_cloud, life):
    """Ours are found by what they were made of, among those of others and over several pages."""
    cloud = start_cloud(**one_action(seconds=0.05))
    names = [life(of_main).run()["workflow_invocation"] for _ in range(3)]
    hook = of_main().service

    for name, entry in zip(names, started(cloud), strict=True):
        intent = {"parent": REPOSITORY, "source": {"compilation_result": entry.detail["compilation_result"]}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dataform_hook, "PAGE_SIZE", 1)
            found = hook.find(intent)
        assert found is not None
        assert found["name"] == name


@pytest.mark.parametrize("fault", [{"fault": "drop"}, {"grpc_status": "DEADLINE_EXCEEDED"}])
def test_defect_create_is_not_idempotent(start_cloud, life, fault):
    """It has no request id. The service did the work and the answer was lost: it is found, not made again."""
    cloud = start_cloud(**one_action())
    disturb(cloud, "CreateWorkflowInvocation", when="after", **fault)

    result = life(of_main).run()

    assert [entry.resource for entry in started(cloud)] == [result["workflow_invocation"]]
    assert len(cloud.ledger.entries(operation="create_compilation_result")) == 1


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_defect_no_on_kill(start_cloud, life, where):
    cloud = start_cloud(**one_action(seconds=30.0))
    task = life(of_main)
    trigger = task.trigger(task.begin())

    task.end_by_a_person(trigger, where)

    (end,) = cloud.ledger.wait_for("workflow_invocation_cancelled")
    assert cancelled(cloud) == [end.resource] == [started(cloud)[0].resource]


def test_defect_on_kill_of_a_trigger_that_is_reassigned_cancels_the_work(start_cloud, life, monkeypatch):
    """apache/airflow#73454: it fires when another triggerer takes over, while the task is deferred as before."""
    cloud = start_cloud(**one_action())
    task = life(of_main)
    deferral = task.begin()
    monkeypatch.setattr("provider.airflow_internals.supervisor.task_instance_state", lambda **_: "deferred")

    asyncio.run(task.trigger(deferral).cancel_if_task_ended())

    assert task.resume(deferral, task.event(deferral))["state"] == "SUCCEEDED"
    assert cancelled(cloud) == []


def test_defect_execution_timeout_is_not_enforced_while_deferred(start_cloud, life):
    """apache/airflow#72030"""
    cloud = start_cloud(**one_action(seconds=30.0))
    task = life(lambda: of_main(execution_timeout=timedelta(seconds=3), cancel_on_timeout=True))

    with pytest.raises(RemoteJobError, match="at the end of the wait. It was cancelled"):
        task.run()

    assert len(task.deferrals) >= 1
    assert cancelled(cloud) == [started(cloud)[0].resource]


def test_defect_full_refresh_is_ignored(start_cloud, life):
    """apache/airflow#53843: the whole selection reaches the service."""
    cloud = start_cloud(**dataform())

    result = life(
        lambda: of_main(
            vars={"env": "dev"},
            included_targets=["mart.orders", {"name": "report", "schema": "mart", "database": "demo-project"}],
            transitive_dependencies_included=True,
            fully_refresh_incremental_tables_enabled=True,
            service_account="runner@demo-project.iam.gserviceaccount.com",
            query_priority="BATCH",
        )
    ).run()

    assert cloud.ledger.entries(operation="create_compilation_result")[0].detail["code_compilation_config"] == {
        "vars": {"env": "dev"}
    }
    config = started(cloud)[0].detail["invocation_config"]
    assert [target["name"] for target in config["included_targets"]] == ["orders", "report"]
    assert config["fully_refresh_incremental_tables_enabled"] is True
    assert config["service_account"] == "runner@demo-project.iam.gserviceaccount.com"
    assert config["query_priority"] == "BATCH"
    assert {row["target"].rpartition(".")[2] for row in result["actions"]} == {"raw", "orders", "report"}


@pytest.mark.parametrize("status", ["PERMISSION_DENIED", "FAILED_PRECONDITION"])
def test_defect_strict_act_as_refuses_the_default_account_without_a_word_on_what_to_do(start_cloud, life, status):
    cloud = start_cloud(**one_action())
    message = "Permission 'iam.serviceAccounts.actAs' denied on service account service-1@gcp-sa-dataform.iam.gserviceaccount.com"
    disturb(cloud, "CreateWorkflowInvocation", grpc_status=status, message=message, times=None)

    with pytest.raises(AirflowFailException, match="strict act-as mode: `service_account` must be an account of your own"):
        life(of_main).run()
    assert started(cloud) == []


def test_other_missing_permissions_are_not_taken_for_act_as(start_cloud, life):
    cloud = start_cloud(**one_action())
    message = "Permission 'dataform.workflowInvocations.create' denied; contact assistance"
    disturb(cloud, "CreateWorkflowInvocation", grpc_status="PERMISSION_DENIED", message=message)

    with pytest.raises(AirflowFailException, match="Give the account the role Dataform Editor"):
        life(lambda: invocation(git_commitish="main")).run()
