"""Workflows that use each option of a row, and the services that their tasks ask."""

from __future__ import annotations

from typing import Any

from provider.emulators.scenario import Scenario

PROJECT, REGION = "demo-project", "europe-west3"
SECONDS = {"quick": 1, "slow": 600, "some": 3}
"""How long an invocation of each repository takes."""
FAR = "2199-01-01"
TABLE = f"bigquery://{PROJECT}/mart/orders"


def scenario() -> Scenario:
    def repository(name: str) -> str:
        return f"projects/{PROJECT}/locations/{REGION}/repositories/{name}"

    repositories: dict[str, Any] = {
        repository(name): {"actions": [{"target": {"name": "one"}, "seconds": seconds}]} for name, seconds in SECONDS.items()
    }
    repositories[repository("fails")] = {"actions": [{"target": {"name": "one"}, "failure_reason": "no such table"}]}
    repositories[repository("tables")] = {"actions": [{"target": {"schema": "mart", "name": "orders"}}]}
    return Scenario.model_validate(
        {
            "dataform": {"repositories": repositories},
            "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
        }
    )


def task(task_id: str, repository: str = "quick", *, emit_assets: bool = False, **options: Any) -> dict[str, Any]:
    config = {"project_id": PROJECT, "region": REGION, "repository_id": repository, "git_commitish": "main", "poll_interval": 0.2}
    if emit_assets:
        config["emit_assets"] = True
    return {"task_id": task_id, "task_type": "dataform", "config": config, "retries": 0, **options}


def workflow(workflow_id: str, *tasks: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"workflow_id": workflow_id, **options, "tasks": list(tasks)}


WORKFLOWS = [
    workflow(
        "told",
        task(
            "told_task", display_name="Orders, cleaned", doc="Cleans *orders*.", owner="ann", queue="big", weight_rule="absolute"
        )
        | {"priority": 77, "pool_slots": 3},
        task("told_other"),
        display_name="What is told",
        doc="Sales of **the day**",
        owner="bob",
        tags=["sales"],
        schedule="0 5 * * *",
        start_date="2198-01-01",
        end_date=FAR,
        max_active_batches=7,
    ),
    workflow("paused", task("paused_task"), paused_at_first=True),
    workflow("hurried", task("hurried_task", "slow"), run_timeout_seconds=4),
    workflow("gives_up", task("gives_up_task", "fails"), max_failed_batches=2),
    workflow("narrow", *(task(f"narrow_{name}", "some", priority=n) for n, name in enumerate("abc", 1)), max_active_tasks=1),
    workflow("wide_slots", *(task(f"wide_{name}", "some", pool_slots=100) for name in "ab")),
    workflow("alone", task("alone_task", "some", max_active_tis_per_dag=1)),
    workflow(
        "by_ones",
        task(
            "by_ones_task",
            "{{ item.name }}",
            expand=[{"name": "some", "number": number} for number in range(3)],
            max_active_tis_per_dagrun=1,
        ),
    ),
    workflow("after_past", task("past_fails", "fails"), task("past_waits", "fails", depends_on_past=True)),
    workflow(
        "patient",
        task("patient_task", "fails", retry_delay_seconds=1, retry_backoff=4, max_retry_delay_seconds=3) | {"retries": 2},
    ),
    workflow(
        "of_others",
        {
            "task_id": "of_others_waits",
            "task_type": "operator",
            "config": {
                "operator": "airflow.providers.standard.sensors.time_delta.TimeDeltaSensor",
                "arguments": {"delta": "PT3S", "poke_interval": 1, "timeout": 600},
            },
        },
        {
            "task_id": "of_others_asks",
            "task_type": "operator",
            "depends_on": ["of_others_waits"],
            "config": {
                "operator": "airflow.providers.standard.operators.hitl.ApprovalOperator",
                "arguments": {"subject": "Publish {{ batch_id }}?", "body": "{{ params.what }}", "response_timeout": 600},
            },
        },
        {
            "task_id": "of_others_runs",
            "task_type": "operator",
            "depends_on": ["of_others_asks"],
            "config": {
                "operator": "airflow.providers.standard.operators.bash.BashOperator",
                "arguments": {"bash_command": 'echo "$BATCH" && exit 7', "env": {"BATCH": "{{ batch_id }}"}, "append_env": True},
            },
        },
        params=[{"name": "what", "default": "the sales"}],
    ),
    workflow(
        "asked",
        {"task_id": "asked_ann", "task_type": "human_approval", "config": {"subject": "Publish {{ batch_id }}?"}},
        task("asked_behind", depends_on=["asked_ann"]),
        {
            "task_id": "asked_nobody",
            "task_type": "human_approval",
            "config": {"subject": "Go on?", "response_timeout": 2, "on_timeout": "approve"},
        },
        task("asked_last", depends_on=["asked_nobody"]),
    ),
    workflow(
        "many",
        task("many_load", "{{ item.name }}", expand=[{"name": "quick"}, {"name": "fails"}, {"name": "some"}])
        | {"max_active_tis_per_dagrun": 2},
        task("many_behind", depends_on=["many_load"]),
        task("many_after_good", "{{ item }}", expand=["quick", "some"]),
        task("many_last", depends_on=["many_after_good"]),
    ),
    workflow("ended", task("ended_task", "slow", timeout_seconds=4)),
    # A chain: a file starts the first, the second comes after it, the third after both and an asset that a task makes.
    workflow(
        "chain_loads",
        task("chain_load", task_group="landing"),
        task("chain_check", task_group="landing", depends_on=["chain_load"], outlets=["x-test://checked"]),
        task("chain_only_eu", depends_on=["chain_check"], run_if="params.region == 'EU'"),
        task("chain_behind", depends_on=["chain_only_eu"]),
        task("chain_told", depends_on=["chain_only_eu"], on_parent_skip="run", executor="LocalExecutor"),
        file_pattern="gs://landing/*.csv",
        params=[{"name": "region", "default": "US"}],
    ),
    workflow("makes_tables", task("make_tables", "tables", emit_assets=True)),
    workflow("after_table", task("after_table_task"), after=TABLE),
    workflow("chain_models", task("chain_model"), after="chain_loads"),
    workflow("chain_reports", task("chain_report"), after=["chain_loads", "chain_models", "x-test://checked"]),
]
CHAIN = ("chain_loads", "chain_models", "chain_reports")
