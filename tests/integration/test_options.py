"""Each option of a row in effect: as Airflow has stored it, and in what a real Airflow does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import yaml

from demo.world import World
from provider.metadata import engine
from tests.integration.option_workflows import CHAIN, TABLE, WORKFLOWS, scenario

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An Airflow with the workflows above, each of which has been started already."""
    folder = tmp_path_factory.mktemp("options")
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump({"workflows": WORKFLOWS}))
    allowed = {"AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS": "airflow.providers.standard.*"}
    with World(folder, definitions=definitions, scenario=scenario(), environment=allowed, api=True) as world:
        world.wait_for_dags(one["workflow_id"] for one in WORKFLOWS)
        for dag_id in (
            "hurried",
            "gives_up",
            "narrow",
            "wide_slots",
            "alone",
            "by_ones",
            "patient",
            "ended",
            "of_others",
            "many",
            "asked",
        ):
            world.airflow.trigger(dag_id, "first")
        for dag_id in ("alone", "by_ones"):
            world.airflow.trigger(dag_id, "second")
        yield world
    engine.dispose_engines()


def dag(world: World, dag_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = world.airflow.rest("GET", f"/dags/{dag_id}/details")
    return answer


def instance(world: World, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = world.airflow.rest("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
    return answer


#: When instances of tasks ran, by run, task and map index.
Spans = dict[tuple[str, str, int], tuple[datetime, datetime]]


def spans(world: World, *runs: tuple[str, str]) -> Spans:
    """Return when the tasks of the rows ran, once all runs have ended."""
    found = {}
    for dag_id, run_id in runs:
        world.airflow.wait_for_run(dag_id, run_id)
        for one in world.airflow.task_instances(dag_id, run_id):
            if one["task_id"] not in ("start_batch", "batch_watcher"):
                found[run_id, one["task_id"], one["map_index"]] = (
                    datetime.fromisoformat(one["start_date"]),
                    datetime.fromisoformat(one["end_date"]),
                )
    return found


def overlap(spans: Spans) -> bool:
    in_order = sorted(spans.values())
    return any(after[0] < before[1] for before, after in itertools.pairwise(in_order))


def test_what_people_are_told(world: World) -> None:
    found = dag(world, "told")
    assert (found["dag_display_name"], found["doc_md"].splitlines()[0]) == ("What is told", "Sales of **the day**")
    assert [tag["name"] for tag in found["tags"]] == ["sales"]
    assert (sorted(found["owners"]), found["max_active_runs"]) == (["ann", "bob"], 7)
    assert (found["start_date"][:4], found["end_date"][:4]) == ("2198", "2199")
    own = world.airflow.rest("GET", "/dags/told/tasks/told_task")
    assert (own["task_display_name"], own["doc_md"], own["owner"]) == ("Orders, cleaned", "Cleans *orders*.", "ann")
    assert (own["queue"], own["pool_slots"], own["weight_rule"], own["priority_weight"]) == ("big", 3, "absolute", 77)


def test_an_instance_goes_to_the_queue_with_its_weight(world: World) -> None:
    world.airflow.trigger("told", "now")
    assert world.airflow.wait_for_run("told", "now") == "success"
    found = instance(world, "told", "now", "told_task")
    assert (found["queue"], found["pool_slots"], found["priority_weight"]) == ("big", 3, 77)


def test_a_workflow_that_begins_paused_is_paused(world: World) -> None:
    assert dag(world, "paused")["is_paused"] is True
    assert dag(world, "narrow")["is_paused"] is False


def test_a_batch_ends_at_its_time(world: World) -> None:
    assert world.airflow.wait_for_run("hurried", "first") == "failed"
    assert instance(world, "hurried", "first", "hurried_task")["state"] == "skipped"

    def told() -> bool:
        (rows,) = world.rows("task_logs")
        return any(row["task_id"] == "hurried_task" and row["end_cause"] == "run_timeout" for row in rows)

    world.airflow.wait_for(told, 60, "the record of the end")


def test_a_try_ends_at_its_time(world: World) -> None:
    """Airflow keeps no word of it: a process that cannot write within its time, on a busy machine, leaves no more than an end."""
    for run_id in ("first", "second", "third"):
        if run_id != "first":
            world.airflow.trigger("ended", run_id)
        assert world.airflow.wait_for_run("ended", run_id) == "failed"
        (rows,) = world.rows("task_logs")
        causes = {row["end_cause"] for row in rows if row["task_id"] == "ended_task"}
        assert causes <= {"execution_timeout", "task"}
        if "execution_timeout" in causes:
            return
    pytest.fail("no process has told that its try was ended at its time")


def test_after_so_many_failed_batches_the_workflow_is_paused(world: World) -> None:
    world.airflow.wait_for_run("gives_up", "first")
    assert dag(world, "gives_up")["is_paused"] is False
    world.airflow.trigger("gives_up", "second")
    world.airflow.wait_for_run("gives_up", "second")
    world.airflow.wait_for(lambda: dag(world, "gives_up")["is_paused"], 60, "the pause")


def test_no_more_tasks_at_once_and_the_important_one_first(world: World) -> None:
    found = spans(world, ("narrow", "first"))
    assert not overlap(found)
    assert [task_id for _, task_id, _ in sorted(found, key=lambda key: found[key])] == ["narrow_c", "narrow_b", "narrow_a"]


def test_slots_of_a_pool(world: World) -> None:
    assert not overlap(spans(world, ("wide_slots", "first")))


def test_one_try_at_once_in_all_batches(world: World) -> None:
    found = spans(world, ("alone", "first"), ("alone", "second"))
    assert len(found) == 2
    assert not overlap(found)


def test_one_try_at_once_in_one_batch(world: World) -> None:
    runs = [spans(world, ("by_ones", run_id)) for run_id in ("first", "second")]
    assert [len(found) for found in runs] == [3, 3]
    assert [overlap(found) for found in runs] == [False, False]
    assert overlap(runs[0] | runs[1])


def test_waits_for_the_past_where_runs_have_a_logical_date(world: World) -> None:
    for day, run_id in enumerate(("first", "second"), 1):
        body = {"dag_run_id": run_id, "logical_date": f"2026-01-0{day}T00:00:00Z"}
        world.airflow.rest("POST", "/dags/after_past/dagRuns", json=body)
        if run_id == "first":
            world.airflow.wait_for_run("after_past", "first")

    def state(task_id: str) -> Any:
        return instance(world, "after_past", "second", task_id)["state"]

    world.airflow.wait_for(lambda: state("past_fails") == "failed", 120, "the task that waits for nothing")
    assert state("past_waits") is None


def test_a_batch_of_a_message_has_no_past(world: World) -> None:
    """It has no logical date, by which Airflow would know the one before."""
    for run_id in ("by_message_1", "by_message_2"):
        world.airflow.trigger("after_past", run_id)
        assert world.airflow.wait_for_run("after_past", run_id) == "failed"
        assert instance(world, "after_past", run_id, "past_waits")["state"] == "failed"


def test_waits_between_tries_grow_to_the_longest(world: World) -> None:
    assert world.airflow.wait_for_run("patient", "first") == "failed"
    tries = world.airflow.rest("GET", "/dags/patient/dagRuns/first/taskInstances/patient_task/tries")["task_instances"]
    times = sorted((datetime.fromisoformat(one["start_date"]), datetime.fromisoformat(one["end_date"])) for one in tries)
    assert len(times) == 3
    waits = [(after[0] - before[1]).total_seconds() for before, after in itertools.pairwise(times)]
    # Without the growth both would be 1 s, and without the longest wait the second one 4 s; how soon Airflow looks adds to them.
    assert waits[0] >= 1
    assert waits[1] >= 3


def test_operators_of_other_packages(world: World) -> None:
    """A sensor, a question to a person, and a command that fails."""
    run = "/dags/of_others/dagRuns/first"

    def asked() -> bool:
        return bool(instance(world, "of_others", "first", "of_others_asks")["state"] == "awaiting_input")

    world.airflow.wait_for(asked, 180, "the question")
    question = world.airflow.rest("GET", f"{run}/taskInstances/of_others_asks/-1/hitlDetails")
    assert (question["subject"], question["body"]) == ("Publish first?", "the sales")
    assert instance(world, "of_others", "first", "of_others_waits")["state"] == "success"
    world.airflow.rest("PATCH", f"{run}/taskInstances/of_others_asks/-1/hitlDetails", json={"chosen_options": ["Approve"]})
    assert world.airflow.wait_for_run("of_others", "first") == "failed"

    told = {"of_others_waits": "SUCCESS", "of_others_asks": "SUCCESS", "of_others_runs": "ERROR"}

    def recorded() -> dict[str, dict[str, Any]]:
        (rows,) = world.rows("task_logs")
        return {row["task_id"]: row for row in rows if row["task_id"] in told}

    world.airflow.wait_for(
        lambda: {name: row["status"] for name, row in recorded().items()} == told,
        60,
        "the record",
        explain=lambda: str(recorded()),
    )
    assert "non-zero exit code 7" in recorded()["of_others_runs"]["error_message"]


def test_a_person_is_asked(world: World) -> None:
    """Ann rejects: what is behind is skipped, and the batch is a success. Nobody answers the other question, which goes on."""
    question = "/dags/asked/dagRuns/first/taskInstances/asked_ann"
    world.airflow.wait_for(
        lambda: instance(world, "asked", "first", "asked_ann")["state"] == "awaiting_input", 180, "the question"
    )
    assert world.airflow.rest("GET", f"{question}/-1/hitlDetails")["subject"] == "Publish first?"
    world.airflow.rest("PATCH", f"{question}/-1/hitlDetails", json={"chosen_options": ["Reject"]})
    assert world.airflow.wait_for_run("asked", "first") == "success"
    told = {"asked_ann": "SUCCESS", "asked_behind": "SKIPPED", "asked_nobody": "SUCCESS", "asked_last": "SUCCESS"}

    def recorded() -> dict[str, str]:
        (rows,) = world.rows("task_logs")
        return {row["task_id"]: row["status"] for row in rows if row["task_id"] in told}

    world.airflow.wait_for(lambda: recorded() == told, 60, "the record", explain=lambda: str(recorded()))


def test_a_task_has_an_instance_for_each_value(world: World) -> None:
    """Each has rows of its own; what comes behind waits for all; a restart runs the one again that failed; a scope skips all."""

    def recorded(run_id: str) -> dict[tuple[str, int], list[str]]:
        (rows,) = world.rows("task_logs")
        found: dict[tuple[str, int], list[str]] = {}
        for row in sorted(rows, key=lambda row: row["try_number"]):
            if row["workflow_id"] == "many" and row["batch_id"] == run_id and row["task_id"].startswith("many"):
                found.setdefault((row["task_id"], row["map_index"]), []).append(row["status"])
        return found

    def are(run_id: str, expected: dict[tuple[str, int], list[str]]) -> None:
        world.airflow.wait_for(lambda: recorded(run_id) == expected, 90, "the record", explain=lambda: str(recorded(run_id)))

    assert world.airflow.wait_for_run("many", "first") == "failed"
    good = {key: ["SUCCESS"] for key in (("many_after_good", 0), ("many_after_good", 1), ("many_last", -1))}
    loads = {("many_load", 0): ["SUCCESS"], ("many_load", 1): ["ERROR"], ("many_load", 2): ["SUCCESS"]}
    are("first", {**good, **loads, ("many_behind", -1): ["BLOCKED"]})
    shown = world.airflow.rest("GET", "/dags/many/dagRuns/first/taskInstances/many_load/listMapped")["task_instances"]
    assert {one["map_index"]: one["rendered_map_index"] for one in shown} == {0: "quick", 1: "fails", 2: "some"}
    preview = world.accelerator("restart", "first", "--workflow", "many", "--dry-run")
    assert "many_load[1]" in preview
    assert "many_load[0]" not in preview
    world.accelerator("restart", "first", "--workflow", "many")
    world.airflow.wait_for(lambda: recorded("first")["many_load", 1] == ["ERROR", "ERROR"], 120, "the second try")
    assert {key: told for key, told in recorded("first").items() if key in good} == good
    assert recorded("first")["many_load", 0] == ["SUCCESS"]

    world.airflow.trigger("many", "behind_alone", conf={"start_task_id": "many_last", "scope": "task"})
    assert world.airflow.wait_for_run("many", "behind_alone") == "success"
    skipped = {(name, index): ["SKIPPED"] for name, count in (("many_load", 3), ("many_after_good", 2)) for index in range(count)}
    are("behind_alone", {**skipped, ("many_behind", -1): ["SKIPPED"], ("many_last", -1): ["SUCCESS"]})


def test_a_workflow_comes_after_a_table_that_dataform_has_made(world: World) -> None:
    world.airflow.trigger("makes_tables", "B1")
    assert world.airflow.wait_for_run("makes_tables", "B1") == "success"

    def followers() -> list[dict[str, Any]]:
        (rows,) = world.rows("task_batches")
        return [row for row in rows if row["workflow_id"] == "after_table"]

    world.airflow.wait_for(
        lambda: [row["status"] for row in followers()] == ["SUCCESS"], 120, "its batch", explain=lambda: str(followers())
    )
    (follower,) = followers()
    assert follower["source"] == "asset"
    events = world.airflow.rest("GET", f"/dags/after_table/dagRuns/{follower['batch_id']}/upstreamAssetEvents")["asset_events"]
    assert [(one["uri"], one["source_task_id"], one["source_run_id"]) for one in events] == [(TABLE, "make_tables", "B1")]


def test_workflows_come_one_after_the_other(world: World) -> None:
    """A file starts the first of three; a restart of its last task lets those that come after it run again."""

    def batches() -> list[list[dict[str, Any]]]:
        (rows,) = world.rows("task_batches")
        return [sorted((row for row in rows if row["workflow_id"] == name), key=lambda row: row["created_at"]) for name in CHAIN]

    def ended(*counts: int) -> bool:
        found = batches()
        return tuple(map(len, found)) == counts and all(row["status"] == "SUCCESS" for rows in found for row in rows)

    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectId": "a.csv", "objectGeneration": "1"}
    world.publish({"name": "a.csv", "size": "5"}, attributes=attributes)
    world.airflow.wait_for(lambda: ended(1, 1, 1), 240, "the chain", explain=lambda: str(batches()))
    (loads,), (models,), (reports,) = batches()
    assert (loads["source"], models["source"], reports["source"]) == ("message", "asset", "asset")
    (rows,) = world.rows("task_logs")
    last = {row["batch_id"]: row["ended_at"] for row in sorted(rows, key=lambda row: row["ended_at"] or row["updated_at"])}
    assert last[loads["batch_id"]] <= models["created_at"] <= last[models["batch_id"]] <= reports["created_at"]
    own = {row["task_id"]: (row["status"], row["error_message"]) for row in rows if row["batch_id"] == loads["batch_id"]}
    assert {name: told for name, told in own.items() if name.startswith("chain")} == {
        **dict.fromkeys(("chain_load", "chain_check", "chain_told"), ("SUCCESS", None)),
        "chain_only_eu": ("SKIPPED", "run_if does not hold: params.region == 'EU'"),
        "chain_behind": ("SKIPPED", "parent skipped: chain_only_eu"),
    }
    drawn = world.airflow.client(None).get("/ui/structure/structure_data", params={"dag_id": "chain_loads"}).json()
    (group,) = (node for node in drawn["nodes"] if node["id"] == "landing")
    assert {"chain_check", "chain_load"} <= {child["id"] for child in group["children"]}
    assert instance(world, "chain_loads", loads["batch_id"], "chain_told")["executor"] == "LocalExecutor"

    again = ("restart", loads["batch_id"], "--from", "chain_check")
    preview = world.accelerator(*again, "--dry-run")
    assert {line.split()[1] for line in preview.splitlines() if line.startswith(("SUCCESS", "SKIPPED"))} == {
        *("chain_check", "chain_only_eu", "chain_behind", "chain_told")
    }
    starts = "starts a new batch once all that it comes after has succeeded anew"
    assert f"chain_models {starts}: chain_loads." in preview
    assert f"chain_reports {starts}: chain_loads, chain_models, x-test://checked." in preview
    world.accelerator(*again)
    world.airflow.wait_for(lambda: ended(1, 2, 2), 240, "the chain once more", explain=lambda: str(batches()))
    (rows,) = world.rows("task_logs")
    tries = {row["task_id"]: row["try_number"] for row in rows if row["batch_id"] == loads["batch_id"]}
    assert (tries["chain_load"], tries["chain_check"], tries["chain_told"]) == (1, 2, 2)
