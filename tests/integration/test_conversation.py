"""
A conversation of the original system, replayed to a real Airflow: ``conversation.yaml`` says what is said.

Airflow has two slots for tasks, and two tasks wait for the shop: nothing else could run if their wait took one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.world import EXAMPLES, World
from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario
from provider.metadata import engine

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

SCRIPT = yaml.safe_load((Path(__file__).parent / "conversation.yaml").read_text())
WORKFLOW = "orders"
EDGES = [
    ("start_batch", "receive_orders"),
    ("receive_orders", "stg_orders"),
    ("stg_orders", "check_orders"),
    ("check_orders", "refresh_orders"),
]
TASKS = ("start_batch", "receive_orders", "stg_orders", "check_orders", "refresh_orders", "batch_watcher")
ALL = dict.fromkeys(TASKS, "SUCCESS")
BEHIND = {**ALL, "receive_orders": "SKIPPED", "stg_orders": "SKIPPED"}
FAILED = {**ALL, "check_orders": "ERROR", "refresh_orders": "BLOCKED", "batch_watcher": "BLOCKED"}
BATCHES = {
    "Batch_001": ("SUCCESS", ALL),
    "Batch_002": ("ERROR", FAILED),
    "Batch_003": ("SUCCESS", ALL),
    "Batch_004": ("SUCCESS", BEHIND),
}
LOST = Rule(service="pubsub", match="Acknowledge", fault="status", grpc_status="INTERNAL")


def scenario() -> Scenario:
    example = yaml.safe_load((EXAMPLES / "emulators.yaml").read_text())
    example["pubsub"]["topics"][0]["subscriptions"][0]["ack_deadline_seconds"] = 10
    example["rules"] = [LOST.model_copy(update={"match": "none"}).model_dump()]  # Google's own emulator loses nothing
    return Scenario.model_validate(example)


class Talk:
    """Says what the script says, one after the other, and remembers under which ids."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: list[tuple[dict[str, Any], list[str]]] = []
        self.lost: list[str] = []
        self.triggers: list[str] = []

    def replay(self) -> None:
        for line in SCRIPT["conversation"]:
            if "say" in line:
                self.say(line)
            else:
                self.wait(line["wait"])

    def say(self, line: dict[str, Any]) -> None:
        """Publish a message, and each repetition once the one before is acknowledged."""
        ids: list[str] = []
        for number in range(1 + line.get("again", 0)):
            lost = number == 0 and bool(line.get("lost"))
            if lost:
                self.world.emulators.rules.add(LOST)
            ids += self.world.publish(line["say"])
            self.world.emulators.ledger.wait_for("acked", ids[-1], timeout=60)
            self.lost += ids[-1:] if lost else []
        self.said.append((line, ids))

    def wait(self, states: dict[str, dict[str, str]]) -> None:
        for batch_id, tasks in states.items():
            for task_id, state in tasks.items():
                wait_for_state(self.world, batch_id, task_id, state)
                if state == "deferred":
                    self.wait_for_free_slot(batch_id, task_id)

    def wait_for_free_slot(self, batch_id: str, task_id: str) -> None:
        """A task that waits is a trigger, and the process that made it so has gone."""
        row = instances(self.world, batch_id)[task_id]
        self.world.airflow.wait_for(
            lambda: not self.world.airflow.titled(f"airflow worker -- {row['id']}"), 30, f"the end of the process of {task_id}"
        )
        self.triggers.append(instances(self.world, batch_id)[task_id]["trigger"]["classpath"])


def requests(world: World) -> list[dict[str, Any]]:
    (rows,) = world.rows("batch_requests")
    return rows


def instances(world: World, batch_id: str) -> dict[str, dict[str, Any]]:
    return {row["task_id"]: row for row in world.airflow.task_instances(WORKFLOW, batch_id)}


def states(world: World, batch_id: str) -> dict[str, str | None]:
    run = f"/dags/{WORKFLOW}/dagRuns/{batch_id}"
    if world.airflow.client().get(f"/api/v2{run}").is_error:  # the run is not there yet
        return {}
    return {task_id: row["state"] for task_id, row in instances(world, batch_id).items()}


def wait_for_state(world: World, batch_id: str, task_id: str, state: str) -> None:
    world.airflow.wait_for(
        lambda: states(world, batch_id).get(task_id) == state,
        120,
        f"{task_id} of {batch_id} to be {state}",
        explain=lambda: str(states(world, batch_id)),
    )


def batches(world: World) -> dict[str, dict[str, Any]]:
    (rows,) = world.rows("task_batches")
    return {row["batch_id"]: row for row in rows}


def wait_for_batch(world: World, batch_id: str, status: str) -> None:
    world.airflow.wait_for(
        lambda: batches(world).get(batch_id, {}).get("status") == status,
        120,
        f"{batch_id} to be {status}",
        explain=lambda: f"{states(world, batch_id)} {batches(world).get(batch_id)}",
    )


def logs(world: World, batch_id: str) -> dict[tuple[str, int], dict[str, Any]]:
    (rows,) = world.rows("task_logs")
    return {(row["task_id"], row["try_number"]): row for row in rows if row["batch_id"] == batch_id}


def statuses(world: World, batch_id: str) -> dict[str, str]:
    """Return the status of the newest try of each task."""
    return {task_id: row["status"] for (task_id, _number), row in sorted(logs(world, batch_id).items())}


def invocations(world: World) -> list[str]:
    """Return the batch of each Dataform compilation, which is made for one invocation."""
    return sorted(
        entry.detail["code_compilation_config"]["vars"]["batch"]
        for entry in world.emulators.ledger.entries(operation="create_compilation_result")
    )


def refreshes(world: World) -> int:
    return len([entry for entry in world.emulators.ledger.entries(operation="refresh_posted") if entry.outcome == "ok"])


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """The whole conversation, after which every batch has ended."""
    folder = tmp_path_factory.mktemp("conversation")
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump({"workflows": SCRIPT["workflows"]}))
    slots = {"AIRFLOW__CORE__PARALLELISM": "2"}
    with World(folder, definitions=definitions, scenario=scenario(), environment=slots) as world:
        world.wait_for_dags((WORKFLOW, "accelerator_dispatcher"))
        talk = Talk(world)
        talk.replay()
        for batch_id, (status, _) in BATCHES.items():
            wait_for_batch(world, batch_id, status)
        yield talk
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


def test_each_message_becomes_what_it_must(talk: Talk) -> None:
    rows = {row["message_id"]: row for row in requests(talk.world)}
    for line, ids in talk.said:
        assert [rows[message_id]["state"] for message_id in ids] == line["becomes"], line
    assert len(rows) == sum(len(ids) for _line, ids in talk.said), "one row a message, however often it is delivered"
    deliveries = [len(talk.world.emulators.ledger.entries(operation="delivered", resource=lost)) for lost in talk.lost]
    assert deliveries == [2] * sum(line.get("lost", 0) for line, _ids in talk.said)


def test_one_run_for_each_batch(talk: Talk) -> None:
    runs = talk.world.airflow.rest("GET", f"/dags/{WORKFLOW}/dagRuns", params={"limit": 100})["dag_runs"]
    assert sorted(run["dag_run_id"] for run in runs) == sorted(BATCHES) == sorted(batches(talk.world))
    assert {batch_id: statuses(talk.world, batch_id) for batch_id in BATCHES} == {
        batch_id: expected for batch_id, (_status, expected) in BATCHES.items()
    }


@pytest.mark.parametrize("batch_id", sorted(BATCHES))
def test_each_task_ran_once_and_in_order(talk: Talk, batch_id: str) -> None:
    rows = instances(talk.world, batch_id)
    ran = {task_id for task_id, row in rows.items() if row["state"] in ("success", "failed")}
    assert ran == {task_id for task_id, status in BATCHES[batch_id][1].items() if status in ("SUCCESS", "ERROR")}
    assert {task_id: rows[task_id]["try_number"] for task_id in ran} == dict.fromkeys(ran, 1)
    for parent, child in EDGES:
        if {parent, child} <= ran:
            assert datetime.fromisoformat(rows[parent]["end_date"]) <= datetime.fromisoformat(rows[child]["start_date"])


def test_the_services_were_asked_once_for_each_batch(talk: Talk) -> None:
    assert invocations(talk.world) == ["Batch_001", "Batch_002", "Batch_003"]
    assert refreshes(talk.world) == 3


def test_a_task_done_elsewhere_waits_in_the_triggerer(talk: Talk) -> None:
    """And while two of them wait, with two slots for tasks, a batch runs to its end."""
    assert talk.triggers == ["provider.triggers.completion.TaskCompletionTrigger"] * 5


def test_the_error_is_the_messages(talk: Talk) -> None:
    failed = logs(talk.world, "Batch_002")["check_orders", 1]
    assert "37 orders have no customer" in failed["error_message"]
    assert "37 orders have no customer" in batches(talk.world)["Batch_002"]["error"]


def test_a_batch_that_began_behind_a_task_says_that_it_is_done(talk: Talk) -> None:
    assert "elsewhere" in logs(talk.world, "Batch_004")["stg_orders", 1]["error_message"]
    assert batches(talk.world)["Batch_004"]["start_task_ids"] == ["check_orders"]


def test_after_a_clear_a_later_word_makes_the_batch_a_success(talk: Talk) -> None:
    world, batch_id = talk.world, "Batch_002"
    body = {
        "dag_run_id": batch_id,
        "task_ids": ["check_orders"],
        "include_downstream": True,
        "only_failed": False,
        "dry_run": False,
    }
    world.airflow.rest("POST", f"/dags/{WORKFLOW}/clearTaskInstances", json=body)
    wait_for_state(world, batch_id, "check_orders", "deferred")
    world.publish({"task_id": "check_orders", "batch_id": batch_id, "previous_task_id": "check_orders", "status": "SUCCESS"})
    wait_for_batch(world, batch_id, "SUCCESS")
    assert statuses(world, batch_id) == ALL
    assert {key: row["status"] for key, row in logs(world, batch_id).items() if key[0] == "check_orders"} == {
        ("check_orders", 1): "ERROR",
        # Airflow may unschedule what it has scheduled, if it still saw the run as ended, and counts once more: then it is 3.
        ("check_orders", instances(world, batch_id)["check_orders"]["try_number"]): "SUCCESS",
    }
    assert invocations(world) == ["Batch_001", "Batch_002", "Batch_003"]
    assert refreshes(world) == 4


def test_in_the_end_both_sides_are_equal(talk: Talk) -> None:
    world = talk.world
    world.airflow.wait_for(lambda: world.join().equal, 120, "equality", explain=lambda: str(world.join()))
    assert world.join().rows == len(ALL) * len(BATCHES) + 1  # the second try of the task that a person cleared
