"""The commands that ask Airflow and Pub/Sub to do something, against the real ones; their user has the role User."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from demo.world import World
from provider.emulators.scenario import Scenario
from provider.metadata import engine
from tests.waiting import wait_for

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(600)]

#: Seconds for a wait; what is waited for takes a few seconds, or never comes.
NOTICED = 240.0
WORKSPACE = "11111111-1111-4111-8111-111111111111"
MODELS = {"quick": 1, "endless": 600}


def model_id(name: str) -> str:
    return f"22222222-2222-4222-8222-{list(MODELS).index(name):012d}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    models = [{"id": model_id(name), "name": name, "seconds": seconds} for name, seconds in MODELS.items()]
    scenario = {
        "powerbi": {"workspaces": [{"id": WORKSPACE, "name": "Sales", "semantic_models": models}]},
        "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
    }

    def task(task_id: str, model: str, *parents: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "workspace": "{{ params.workspace }}",
            "semantic_model": model,
            "initial_wait": 3,
            "poll_interval": 1,
        }
        config["refresh"] = {"type": "full"}  # Power BI cannot cancel a classic one
        return {"task_id": task_id, "task_type": "power_bi_refresh", "config": config, "depends_on": list(parents)}

    def started(workflow: str, *parents: str, **config: Any) -> dict[str, Any]:
        config = {"workflow": workflow, "initial_wait": 1, "poll_interval": 1, **config}
        return {"task_id": f"run_{workflow}", "task_type": "run_workflow", "config": config, "depends_on": list(parents)}

    params = [{"name": "workspace", "default": "Sales"}, {"name": "days", "type": "integer", "default": 1}]
    workflows = [
        {"workflow_id": "quick", "tasks": [task("first", "quick"), task("second", "quick", "first")], "params": params},
        {"workflow_id": "endless", "tasks": [task("refresh", "endless"), task("after", "endless", "refresh")], "params": params},
        # Three in a row, the first of which a file starts; and one that nobody would wait for.
        {
            "workflow_id": "files",
            "file_pattern": "gs://landing/*.csv",
            "tasks": [task("load", "quick"), started("models", "load", params={"workspace": "{{ params.workspace }}"})],
            "params": params,
        },
        {
            "workflow_id": "models",
            "tasks": [task("model", "quick"), started("reports", "model", start_task_id="report")],
            "params": params,
        },
        {"workflow_id": "reports", "tasks": [task("skipped", "quick"), task("report", "quick", "skipped")], "params": params},
        {"workflow_id": "impatient", "tasks": [started("endless")]},
    ]
    folder = tmp_path_factory.mktemp("commands")
    file = folder / "workflows.yaml"
    file.write_text(yaml.safe_dump({"workflows": workflows}))
    environment = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"}
    with World(folder, definitions=file, scenario=Scenario.model_validate(scenario), environment=environment, api=True) as world:
        world.wait_for_dags(("quick", "endless", "files", "models", "reports", "impatient", "accelerator_dispatcher"))
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


def batch(world: World, batch_id: str) -> dict[str, Any]:
    (batches,) = world.rows("task_batches")
    return next((row for row in batches if row["batch_id"] == batch_id), {})


@pytest.mark.parametrize("connection_id", ["powerbi_default", "airflow_api"])
def test_the_test_button_of_a_connection_works(world: World, connection_id: str) -> None:
    """As Airflow's form sends it, which makes 0 of a port that is left empty."""
    fields = json.loads(world.airflow.environment()[f"AIRFLOW_CONN_{connection_id.upper()}"])
    sent = {
        **fields,
        "connection_id": connection_id,
        "extra": json.dumps(fields.get("extra") or {}),
        "port": fields.get("port") or 0,
    }
    answer = world.airflow.rest("POST", "/connections/test", json=sent)
    assert answer["status"] is True, answer["message"]
    wrong = world.airflow.rest("POST", "/connections/test", json={**sent, "password": "wrong"})
    assert (wrong["status"], "wrong" in wrong["message"]) == (False, False)


def test_a_batch_is_started_and_waited_for(world: World) -> None:
    said = world.accelerator("run", "quick", "--from", "second", "--batch-id", "B1", "--wait", "--timeout", "90").splitlines()
    assert said[0] == f"Batch B1 of quick is started: {world.airflow.url}/dags/quick/runs/B1/plugin/task-batch"
    assert sorted(line.split()[:2] for line in said[1:-1]) == [["SKIPPED", "first"], ["SUCCESS", "second"]]
    assert said[-1].startswith("Batch B1 of quick: SUCCESS; ")
    assert wait_for(lambda: batch(world, "B1").get("status") == "SUCCESS", NOTICED)
    assert (batch(world, "B1")["scope"], batch(world, "B1")["start_task_ids"]) == ("downstream", ["second"])


def test_a_file_runs_three_workflows_one_after_the_other(world: World) -> None:
    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "landing", "objectId": "a.csv", "objectGeneration": "1"}
    world.publish({"name": "a.csv", "size": "5"}, attributes=attributes)

    def chain() -> list[dict[str, Any]]:
        (rows,) = world.rows("task_batches")
        ours = {row["workflow_id"]: row for row in rows if row["workflow_id"] in ("files", "models", "reports")}
        return [ours[name] for name in ("files", "models", "reports") if name in ours]

    assert wait_for(lambda: [row["status"] for row in chain()] == ["SUCCESS"] * 3, 2 * NOTICED)
    files, models, reports = chain()
    assert models["batch_id"] == f"run_models.{files['batch_id']}"
    assert (reports["batch_id"], reports["start_task_ids"]) == (f"run_reports.{models['batch_id']}", ["report"])
    (logs,) = world.rows("task_logs")
    tries = {row["task_id"]: row for row in logs if row["batch_id"] in {row["batch_id"] for row in chain()}}
    order = [tries[task_id] for task_id in ("load", "model", "report")]
    assert all(after["started_at"] >= before["ended_at"] for before, after in itertools.pairwise(order))
    # A task ends after the batch that it waits for, and its row leads there.
    assert tries["run_models"]["ended_at"] >= tries["report"]["ended_at"]
    assert tries["run_models"]["remote_job_id"] == f"models/{models['batch_id']}"
    assert tries["run_models"]["remote_job_url"].endswith(f"/dags/models/runs/{quote(models['batch_id'])}")


def test_the_batch_that_a_task_has_started_ends_with_it(world: World) -> None:
    world.accelerator("run", "impatient", "--batch-id", "B0")
    assert wait_for(lambda: batch(world, "run_endless.B0"), NOTICED)

    def job() -> str | None:
        (logs,) = world.rows("task_logs")
        mine = [row for row in logs if (row["batch_id"], row["task_id"]) == ("run_endless.B0", "refresh")]
        return next((row["remote_job_id"] for row in mine), None)

    assert wait_for(job, NOTICED)
    world.accelerator("cancel", "B0")
    assert wait_for(lambda: batch(world, "run_endless.B0").get("status") == "ERROR", NOTICED)
    entries = world.emulators.ledger.entries
    assert wait_for(lambda: any(one.operation.endswith("_cancelled") and one.resource == job() for one in entries()), NOTICED)


def test_airflow_says_of_wrong_params_what_a_dry_run_says(world: World) -> None:
    told = []
    for option in ([], ["--dry-run"]):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            world.accelerator("run", "quick", "--param", "days=many", *option)
        assert refused.value.stdout == ""
        told.append(refused.value.stderr.splitlines()[-1])
    assert told[0] == told[1]
    assert told[0].startswith("error: Airflow refuses the run: Invalid input for param days: 'many' is not of type 'integer'")


def test_a_cancelled_batch_ends_with_its_remote_job(world: World) -> None:
    world.accelerator("run", "endless", "--batch-id", "B2")

    def job() -> str | None:
        (logs,) = world.rows("task_logs")
        return next((row["remote_job_id"] for row in logs if (row["batch_id"], row["task_id"]) == ("B2", "refresh")), None)

    assert wait_for(job, NOTICED)
    said = world.accelerator("cancel", "B2")
    assert f"refresh: remote job {job()} will be cancelled." in said
    assert wait_for(lambda: batch(world, "B2")["status"] == "ERROR", NOTICED)
    entries = world.emulators.ledger.entries
    assert wait_for(lambda: any(one.operation.endswith("_cancelled") and one.resource == job() for one in entries()), NOTICED)
    assert (batch(world, "B2")["end_cause"], batch(world, "B2")["ended_by"]) == ("marked_failed", "accelerator")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        world.accelerator("cancel", "B2")
    assert "batch B2 of endless has ended already (ERROR)" in refused.value.stderr


def test_a_connection_that_is_in_airflows_database_alone_is_found(world: World) -> None:
    by_variable = json.loads(world.airflow.environment()["AIRFLOW_CONN_AIRFLOW_API"])
    world.airflow.cli("connections", "add", "stored", "--conn-json", json.dumps(by_variable))
    environment = {**world.airflow.environment(), "AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID": "stored"}
    command = [str(Path(sys.executable).parent / "accelerator"), "resume", "quick"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    # Airflow itself warns on the way that the type of the connection has an underscore.
    assert ran.stdout.splitlines()[-1].startswith("quick is resumed")


def test_a_paused_workflow_waits_until_it_is_resumed(world: World) -> None:
    world.accelerator("pause", "quick")
    world.accelerator("run", "quick", "--only", "first", "--batch-id", "B3")
    with pytest.raises(subprocess.CalledProcessError) as waited:
        world.accelerator("run", "quick", "--only", "first", "--batch-id", "B4", "--wait", "--timeout", "5")
    assert "has not ended within 5 s; it goes on." in waited.value.stderr
    world.accelerator("resume", "quick")
    assert wait_for(lambda: batch(world, "B3").get("status") == batch(world, "B4").get("status") == "SUCCESS", NOTICED)


def test_a_published_message_starts_a_batch_once_its_workflow_is_enabled(world: World) -> None:
    def request() -> dict[str, Any]:
        (requests,) = world.rows("batch_requests")
        return next((row for row in requests if row["batch_id"] == "B5"), {})

    assert "is disabled" in world.accelerator("disable", "quick")
    file = world.home.parent / "message.json"
    file.write_text(json.dumps({"task_id": "first", "batch_id": "B5", "scope": "task"}))
    assert "Published as message " in world.accelerator("publish", str(file))
    assert wait_for(lambda: "its workflow is disabled" in (request().get("reason") or ""), NOTICED)
    assert "is enabled" in world.accelerator("enable", "quick")
    assert wait_for(lambda: batch(world, "B5").get("status") == "SUCCESS", NOTICED)
    assert batch(world, "B5")["source"] == "message"
