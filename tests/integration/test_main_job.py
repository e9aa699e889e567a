"""The main job through real processes: messages and people start batches, TaskLog says what Airflow says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from demo import expectations
from demo.expectations import FAILING, GOOD
from demo.world import World
from tests.statsd import StatsD

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

ENDED = ("SUCCESS", "ERROR")
FRAME = dict.fromkeys(("start_batch", "batch_watcher"), "SUCCESS")


def logs(world: World, workflow: str, batch_id: str) -> dict[str, dict[str, Any]]:
    """Return the newest try of each task of a batch."""
    (rows,) = world.rows("task_logs")
    mine = [row for row in rows if (row["workflow_id"], row["batch_id"]) == (workflow, batch_id)]
    return {row["task_id"]: row for row in sorted(mine, key=lambda row: row["try_number"])}


def statuses(world: World, workflow: str, batch_id: str) -> dict[str, str]:
    return {task_id: row["status"] for task_id, row in logs(world, workflow, batch_id).items()}


def batch(world: World, workflow: str, batch_id: str) -> dict[str, Any] | None:
    (rows,) = world.rows("task_batches")
    found = [row for row in rows if (row["workflow_id"], row["batch_id"]) == (workflow, batch_id)]
    return found[0] if found else None


def wait_for_end(world: World, workflow: str, batch_id: str) -> dict[str, Any]:
    """Wait until the run has ended and its batch says so, with the rows of both sides equal."""

    def ended() -> dict[str, Any] | None:
        found = batch(world, workflow, batch_id)
        return found if found and found["status"] in ENDED and world.airflow.run_state(workflow, batch_id) != "running" else None

    return world.airflow.wait_for(
        ended, 180, f"batch {batch_id}", explain=lambda: str(batch(world, workflow, batch_id))
    ) or pytest.fail("no batch")


def requests(world: World) -> list[dict[str, Any]]:
    (rows,) = world.rows("batch_requests")
    return rows


def run_ids(world: World, workflow: str) -> list[str]:
    runs = world.airflow.rest("GET", f"/dags/{workflow}/dagRuns", params={"limit": 1000})["dag_runs"]
    return [run["dag_run_id"] for run in runs]


def posted(world: World) -> int:
    return len([entry for entry in world.emulators.ledger.entries(operation="refresh_posted") if entry.outcome == "ok"])


def test_messages_become_batches_and_every_task_instance_is_in_task_log(world: World) -> None:
    world.wait_for_dags((*expectations.EXPECTED_BATCH, "accelerator_dispatcher"))
    message = {"task_id": "stg_orders", "batch_id": GOOD[1], "scope": "workflow", "params": {"country": "{{ 7 * 7 }}"}}
    world.publish(message, message, message, {"task_id": "stg_suppliers", "batch_id": FAILING[1], "scope": "workflow"})
    assert wait_for_end(world, *GOOD)["status"] == "SUCCESS"
    assert wait_for_end(world, *FAILING)["status"] == "ERROR"

    assert statuses(world, *GOOD) == expectations.EXPECTED_TASKS["daily_sales"]
    assert statuses(world, *FAILING) == expectations.EXPECTED_TASKS["stock_levels"]
    failed = logs(world, *FAILING)["stg_suppliers"]
    assert expectations.MISSING_TABLE in failed["error_message"]
    assert failed["remote_job_id"]
    assert failed["started_at"] < failed["ended_at"]
    good = batch(world, *GOOD)
    assert good is not None
    assert (good["source"], good["params"]) == ("message", {"country": "{{ 7 * 7 }}"})
    compiled = world.emulators.ledger.entries(operation="create_compilation_result")
    assert any("{{ 7 * 7 }}" in str(entry.detail) for entry in compiled), "a parameter is data, not a template"


def test_the_same_message_three_times_is_one_run(world: World) -> None:
    mine = [row for row in requests(world) if row["batch_id"] == GOOD[1]]
    assert sorted(row["state"] for row in mine) == ["dispatched", "duplicate", "duplicate"]
    assert run_ids(world, "daily_sales") == [GOOD[1]]
    assert expectations.wrong_calls(world.emulators.ledger.entries()) == []


def test_a_run_started_by_a_person_from_the_middle_becomes_a_batch(world: World) -> None:
    """Through the REST API, as the UI does; then cleared "with downstream" from a task out of scope's parent."""
    run = ("daily_sales", "from_the_middle")
    before = posted(world)
    world.airflow.trigger(*run, conf={"start_task_id": ["refresh_daily_sales"], "country": "DE"})
    found = wait_for_end(world, *run)
    assert (found["status"], found["scope"], found["start_task_ids"]) == ("SUCCESS", "downstream", ["refresh_daily_sales"])
    assert found["params"] == {"country": "DE"}
    skipped = dict.fromkeys(("stg_orders", "stg_customers"), "SKIPPED")
    assert statuses(world, *run) == {**FRAME, "refresh_daily_sales": "SUCCESS", **skipped}
    assert posted(world) == before + 1


def test_a_clear_with_downstream_keeps_the_scope(world: World) -> None:
    run = ("daily_sales", "one_task")
    world.airflow.trigger(*run, conf={"start_task_id": "stg_orders", "scope": "task"})
    wait_for_end(world, *run)
    alone = {**FRAME, "stg_orders": "SUCCESS", "stg_customers": "SKIPPED", "refresh_daily_sales": "SKIPPED"}
    assert statuses(world, *run) == alone
    before = posted(world)
    clear: Mapping[str, Any] = {
        "dag_run_id": run[1],
        "task_ids": ["stg_orders"],
        "include_downstream": True,
        "only_failed": False,
        "reset_dag_runs": True,
        "dry_run": False,
    }
    cleared = world.airflow.rest("POST", "/dags/daily_sales/clearTaskInstances", json=clear)["task_instances"]
    assert {row["task_id"] for row in cleared} == {"stg_orders", "refresh_daily_sales", "batch_watcher"}
    world.airflow.wait_for(lambda: logs(world, *run)["stg_orders"]["try_number"] == 2, 120, "the second try")
    wait_for_end(world, *run)
    assert statuses(world, *run) == alone
    assert posted(world) == before


def test_a_failure_with_all_that_follows_out_of_scope_fails_the_batch(world: World) -> None:
    run = ("stock_levels", "suppliers_alone")
    world.airflow.trigger(*run, conf={"start_task_id": "stg_suppliers", "scope": "task"})
    assert wait_for_end(world, *run)["status"] == "ERROR"
    assert world.airflow.run_state(*run) == "failed"
    assert statuses(world, *run) == {
        "start_batch": "SUCCESS",
        "stg_stock": "SKIPPED",
        "stg_suppliers": "ERROR",
        "refresh_stock_levels": "SKIPPED",
        "batch_watcher": "BLOCKED",
    }


def test_the_sensor_in_a_dag_of_ones_own(world: World) -> None:
    """The example of the docs, with a subscription of its own; the dispatcher starts what came in through it."""
    page = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "PubSubBatchRequestSensor(" in code)
    topic, subscription = "projects/demo-project/topics/own", "projects/demo-project/subscriptions/own"
    with grpc.insecure_channel(world.emulators.pubsub_host) as channel:
        PublisherClient(transport=PublisherGrpcTransport(channel=channel)).create_topic(name=topic)
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        subscriber.create_subscription(name=subscription, topic=topic)
    own = example.replace("projects/my-project/subscriptions/task-batches", subscription)
    (world.dags / "watch_the_inbox.py").write_text(own, encoding="utf-8")
    run = ("watch_the_inbox", "own")
    world.wait_for_dags([run[0]])
    world.airflow.rest("PATCH", f"/dags/{run[0]}", json={"is_paused": False})
    world.airflow.trigger(*run)

    def states() -> dict[str, str | None]:
        return {row["task_id"]: row["state"] for row in world.airflow.task_instances(*run)}

    world.airflow.wait_for(lambda: states()["wait"] == "deferred", 120, "the sensor", explain=lambda: str(states()))
    world.publish({"task_id": "refresh_daily_sales", "batch_id": "by_own_dag", "scope": "task"}, topic=topic)
    assert wait_for_end(world, "daily_sales", "by_own_dag")["status"] == "SUCCESS"
    assert world.airflow.wait_for_run(*run) == "success"
    assert states() == {"wait": "success", "since_when": "success"}
    assert {row["batch_id"]: row["subscription"] for row in requests(world)}["by_own_dag"] == subscription


BAD: tuple[tuple[bytes | dict[str, Any], str], ...] = (
    (b"not JSON {", "JSON"),
    ({"task_id": "nobody", "batch_id": "u1"}, "nobody"),
    ({"task_id": "stg_orders", "batch_id": "x/clear"}, "batch_id"),
    ({"task_id": "stg_orders", "batch_id": "../other/x"}, "batch_id"),
    ({"task_id": "stg_orders", "batch_id": "a?b=1"}, "batch_id"),
    ({"task_id": "stg_orders", "batch_id": "b" * 300}, "batch_id"),
)


def test_bad_messages_are_rejected_with_a_reason_and_the_next_good_one_runs(world: World) -> None:
    before = {workflow: sorted(run_ids(world, workflow)) for workflow in ("daily_sales", "stock_levels")}
    states = {run: world.airflow.run_state("daily_sales", run) for run in before["daily_sales"]}
    ids = world.publish(*(message for message, _ in BAD))
    world.publish({"task_id": "refresh_daily_sales", "batch_id": "after_the_bad", "scope": "task"})
    assert wait_for_end(world, "daily_sales", "after_the_bad")["status"] == "SUCCESS"
    rows = {row["message_id"]: row for row in requests(world)}
    for message_id, (message, word) in zip(ids, BAD, strict=True):
        assert rows[message_id]["state"] == "rejected", message
        assert word in rows[message_id]["reason"]
    assert sorted(run_ids(world, "daily_sales")) == sorted([*before["daily_sales"], "after_the_bad"])
    assert sorted(run_ids(world, "stock_levels")) == before["stock_levels"]
    assert {run: world.airflow.run_state("daily_sales", run) for run in before["daily_sales"]} == states


def test_the_metrics_of_the_intake_reach_a_statsd_server(world: World, statsd: StatsD) -> None:
    again = {"task_id": "refresh_daily_sales", "batch_id": "counted", "scope": "task"}
    world.publish(again, again, b"not JSON {")
    assert wait_for_end(world, "daily_sales", "counted")["status"] == "SUCCESS"
    names = [f"airflow.accelerator.requests.{state}" for state in ("received", "duplicate", "rejected", "dispatched")]
    kinds = {**dict.fromkeys(names, "c"), "airflow.accelerator.requests.oldest_waiting_seconds": "g"}

    def seen() -> dict[str, str]:
        return {name: value.partition("|")[2] for name, value in dict(statsd.values).items() if ".accelerator." in name}

    world.airflow.wait_for(lambda: kinds.items() <= seen().items(), 60, "all metrics", explain=lambda: str(seen()))


def test_a_cycle_in_the_tables_is_named_and_costs_no_other_workflow(world: World) -> None:
    from sqlalchemy import insert

    from provider.metadata.engine import write_session
    from provider.metadata.tables import Task, TaskDependency, Workflow

    config = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}
    with write_session(world.database_url) as session:  # past every check, as a hand in the database would
        session.execute(insert(Workflow), [{"workflow_id": "turning"}])
        session.execute(
            insert(Task),
            [{"task_id": name, "workflow_id": "turning", "task_type": "dataform", "config": config} for name in "ABC"],
        )
        session.execute(insert(TaskDependency), [{"parent_id": a, "child_id": b} for a, b in ("AB", "BC", "CA")])
    for name in ("workflows.py", "definition_errors.py"):
        world.airflow.read_again(name)
    with pytest.raises(Exception, match="1") as refused:
        world.accelerator("validate")
    assert "A → B → C → A" in "".join(refused.value.__notes__)

    def import_errors() -> str:
        return str(world.airflow.rest("GET", "/importErrors")["import_errors"])

    world.airflow.wait_for(lambda: "A → B → C → A" in import_errors(), 120, "the import error", explain=import_errors)
    dags = {dag["dag_id"]: dag for dag in world.airflow.rest("GET", "/dags", params={"limit": 100})["dags"]}
    assert set(expectations.EXPECTED_BATCH) <= set(dags)
    assert "turning" not in dags
    world.airflow.trigger("daily_sales", "beside_the_cycle", conf={"start_task_id": "refresh_daily_sales"})
    assert wait_for_end(world, "daily_sales", "beside_the_cycle")["status"] == "SUCCESS"


def test_in_the_end_both_sides_are_equal(world: World) -> None:
    world.airflow.wait_for(lambda: world.join().equal, 120, "equality", explain=lambda: str(world.join()))
    assert world.join().rows > 20
