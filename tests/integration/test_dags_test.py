"""``airflow dags test`` on a laptop: emulators, no scheduler, no triggerer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

import pytest

from demo import expectations
from demo.world import World
from provider.metadata import engine

#: What OpenLineage was told, one event a line.
LINEAGE = "lineage.jsonl"

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("laptop")
    transport = {"type": "file", "log_file_path": str(folder / LINEAGE), "append": True}
    environment = {"AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport)}
    with World(folder, services=False, environment=environment) as world:
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


@pytest.mark.parametrize(("workflow", "code"), [("daily_sales", 0), ("stock_levels", 1)])
def test_each_run_leaves_the_right_rows_and_none_open(laptop: World, workflow: str, code: int) -> None:
    (known,) = laptop.rows("task_batches")
    result = laptop.airflow.cli("dags", "test", workflow)
    assert result.returncode == code, result.stdout[-3000:] + result.stderr[-3000:]
    batches, logs = laptop.rows("task_batches", "task_logs")
    (batch,) = [row for row in batches if row["batch_id"] not in {row["batch_id"] for row in known}]
    assert (batch["workflow_id"], batch["status"], batch["source"]) == (workflow, expectations.EXPECTED_BATCH[workflow], "test")
    assert batch["ended_at"] is not None
    mine = {row["task_id"]: row["status"] for row in logs if row["batch_id"] == batch["batch_id"]}
    assert mine == expectations.EXPECTED_TASKS[workflow]
    assert laptop.join().equal


def test_openlineage_was_told_of_tables_and_models(laptop: World) -> None:
    events = [json.loads(line) for line in (laptop.home.parent / LINEAGE).read_text().splitlines()]
    ended = [event for event in events if event["eventType"] in ("COMPLETE", "FAIL")]
    jobs = [event for event in ended if "externalQuery" in event["run"]["facets"]]
    made = {event["job"]["name"]: [f"{one['namespace']} {one['name']}" for one in event["outputs"]] for event in jobs}
    assert made == {
        "daily_sales.stg_orders": ["bigquery demo-project.sales.stg_orders"],
        "daily_sales.stg_customers": ["bigquery demo-project.sales.stg_customers"],
        "daily_sales.refresh_daily_sales": ["powerbi 11111111-1111-4111-8111-111111111111.22222222-2222-4222-8222-222222222222"],
        "stock_levels.stg_suppliers": [],
        "stock_levels.stg_stock": ["bigquery demo-project.inventory.stg_stock"],
    }
    assert all(not event["outputs"] for event in ended if event not in jobs)


def test_a_run_from_the_middle(laptop: World) -> None:
    result = laptop.airflow.cli("dags", "test", "daily_sales", "--conf", '{"start_task_id": "refresh_daily_sales"}')
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    batches, logs = laptop.rows("task_batches", "task_logs")
    newest = max(batches, key=lambda row: row["created_at"])
    assert {row["task_id"]: row["status"] for row in logs if row["batch_id"] == newest["batch_id"]} == {
        "start_batch": "SUCCESS",
        "stg_orders": "SKIPPED",
        "stg_customers": "SKIPPED",
        "refresh_daily_sales": "SUCCESS",
        "batch_watcher": "SUCCESS",
    }
    assert laptop.join().equal


def test_a_dag_without_start_batch_is_no_batch(laptop: World) -> None:
    (known,) = laptop.rows("task_batches")
    result = laptop.airflow.cli("dags", "test", "accelerator_maintenance")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert laptop.rows("task_batches") == [known]


def test_workflows_come_from_a_file_and_the_schema_goes_back_without_a_shell(laptop: World) -> None:
    file = laptop.home / "more.yaml"
    file.write_text("workflows: [{workflow_id: more, tasks: [{task_id: waits, task_type: external}]}]\n")
    maintenance = ("dags", "test", "accelerator_maintenance", "--conf")
    imported = laptop.airflow.cli(*maintenance, json.dumps({"action": "import", "file": str(file)}))
    assert imported.returncode == 0, imported.stdout[-3000:] + imported.stderr[-3000:]
    assert "created    more (tasks: 1)" in imported.stdout + imported.stderr
    (workflows,) = laptop.rows("workflows")
    assert "more" in {row["workflow_id"] for row in workflows}

    asked = laptop.airflow.cli(*maintenance, '{"action": "db downgrade", "to": "0002"}')
    assert asked.returncode == 1
    assert "the views v_batch_summary" in asked.stdout + asked.stderr
    agreed = laptop.airflow.cli(*maintenance, '{"action": "db downgrade", "to": "0002", "yes": true}')
    assert agreed.returncode == 0, agreed.stdout[-3000:] + agreed.stderr[-3000:]
    with sqlite3.connect(laptop.database_url.removeprefix("sqlite:///")) as database:  # our own reader asks for later columns
        left = database.execute("SELECT workflow_id, schedule FROM workflows ORDER BY workflow_id").fetchall()
    assert left == sorted((row["workflow_id"], row["schedule"]) for row in workflows)
