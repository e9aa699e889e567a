"""What is Dataform's own: sources, selections, compilation errors, failed actions."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.operators.dataform import DataformWorkflowInvocationOperator

REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"
FAST: dict[str, Any] = {
    "task_id": "job",
    "poll_interval": 0.1,
    "initial_wait": 0.0,
    "http_timeout": 5.0,
    "project_id": "demo-project",
    "region": "europe-west3",
    "repository_id": "sales",
}


def dataform(**changes: Any) -> dict[str, Any]:
    actions = [
        {"target": {"name": "raw", "schema": "staging"}, "seconds": 0.1},
        {"target": {"name": "orders", "schema": "mart"}, "seconds": 0.1, "depends_on": ["raw"], "tags": ["daily"]},
        {"target": {"name": "report", "schema": "mart"}, "seconds": 0.1, "depends_on": ["orders"]},
    ]
    repository = {
        "actions": actions,
        "release_configs": [{"name": "production", "vars": {"env": "prod"}}],
        "workflow_configs": [{"name": "nightly", "release_config": "production", "included_tags": ["daily"]}],
        **changes,
    }
    return {"dataform": {"repositories": {REPOSITORY: repository}}}


def invocation(**kwargs: Any) -> DataformWorkflowInvocationOperator:
    return DataformWorkflowInvocationOperator(**{**FAST, **kwargs})


@pytest.mark.parametrize(
    ("source", "recorded"),
    [
        ({"git_commitish": "release/1"}, {"git_commitish": "release/1"}),
        ({"workspace": "ada"}, {"workspace": f"{REPOSITORY}/workspaces/ada"}),
        ({"release_config": "production"}, {"release_config": f"{REPOSITORY}/releaseConfigs/production"}),
        (
            {"release_config": f"{REPOSITORY}/releaseConfigs/production"},
            {"release_config": f"{REPOSITORY}/releaseConfigs/production"},
        ),
    ],
)
def test_every_source_is_compiled_once_and_run(start_cloud, life, source, recorded):
    cloud = start_cloud(**dataform())

    result = life(lambda: invocation(**source)).run()

    (compiled,) = cloud.ledger.entries(operation="create_compilation_result")
    assert recorded.items() <= dict(compiled.detail).items()
    (started,) = cloud.ledger.entries(operation="create_workflow_invocation")
    assert started.detail["compilation_result"] == compiled.resource
    assert result["workflow_invocation"] == started.resource
    assert result["state"] == "SUCCEEDED"
    assert {row["target"]: row["state"] for row in result["actions"]} == {
        "demo-project.staging.raw": "SUCCEEDED",
        "demo-project.mart.orders": "SUCCEEDED",
        "demo-project.mart.report": "SUCCEEDED",
    }
    assert all(row["job_id"] for row in result["actions"])


def test_workflow_config_runs_its_own_selection(start_cloud, life):
    cloud = start_cloud(**dataform())

    result = life(lambda: invocation(workflow_config="nightly")).run()

    assert [row["target"] for row in result["actions"]] == ["demo-project.mart.orders"]
    (started,) = cloud.ledger.entries(operation="create_workflow_invocation")
    assert started.detail["workflow_config"] == f"{REPOSITORY}/workflowConfigs/nightly"


def test_lost_start_of_a_workflow_config_is_told_from_its_earlier_invocations(start_cloud, life):
    cloud = start_cloud(**dataform())
    earlier = life(lambda: invocation(workflow_config="nightly")).run()
    from provider.emulators.rules import Rule

    cloud.rules.add(Rule(service="dataform", match="CreateWorkflowInvocation", fault="drop", when="after"))

    result = life(lambda: invocation(workflow_config="nightly")).run()

    _, second = cloud.ledger.entries(operation="create_workflow_invocation")
    assert result["workflow_invocation"] == second.resource != earlier["workflow_invocation"]


def test_selection_and_variables_reach_the_service(start_cloud, life):
    cloud = start_cloud(**dataform())

    result = life(
        lambda: invocation(
            git_commitish="main",
            vars={"env": "dev"},
            included_targets=["mart.orders", {"name": "report", "schema": "mart", "database": "demo-project"}],
            transitive_dependencies_included=True,
            fully_refresh_incremental_tables_enabled=True,
            service_account="runner@demo-project.iam.gserviceaccount.com",
            query_priority="BATCH",
        )
    ).run()

    assert cloud.ledger.entries(operation="create_compilation_result")[0].detail["vars"] == {"env": "dev"}
    config = cloud.ledger.entries(operation="create_workflow_invocation")[0].detail["invocation_config"]
    assert [target["name"] for target in config["included_targets"]] == ["orders", "report"]
    assert config["fully_refresh_incremental_tables_enabled"] is True
    assert config["service_account"] == "runner@demo-project.iam.gserviceaccount.com"
    assert config["query_priority"] == "BATCH"
    assert {row["target"].rpartition(".")[2] for row in result["actions"]} == {"raw", "orders", "report"}


def test_compilation_errors_name_the_file_and_are_not_retried(start_cloud, life):
    errors = [{"path": "definitions/orders.sqlx", "message": "Missing ref: rawx"}, {"message": "No dataform.json"}]
    cloud = start_cloud(**dataform(compilation_errors=errors))

    with pytest.raises(AirflowFailException) as failure:
        life(lambda: invocation(git_commitish="main")).run()
    assert "definitions/orders.sqlx: Missing ref: rawx; project: No dataform.json" in str(failure.value)
    assert cloud.ledger.entries(operation="create_workflow_invocation") == []


def test_failed_invocation_lists_its_failed_actions_with_reason_and_job(start_cloud, life):
    actions = [
        {"target": {"name": "orders", "schema": "mart"}, "seconds": 0.1, "failure_reason": "Division by\nzero"},
        {"target": {"name": "clients", "schema": "mart"}, "seconds": 0.1, "failure_reason": "Access Denied."},
        {"target": {"name": "report", "schema": "mart"}, "depends_on": ["orders"]},
    ]
    start_cloud(**dataform(actions=actions, release_configs=[], workflow_configs=[]))
    task = life(lambda: invocation(git_commitish="main"))

    with pytest.raises(RemoteJobError) as failure:
        task.run()
    message = str(failure.value)
    assert "ended as FAILED" in message
    assert "demo-project.mart.orders: Division by zero (BigQuery job " in message
    assert "demo-project.mart.clients: Access Denied (BigQuery job " in message
    assert "1 actions that depend on them were skipped" in message
    assert "\n" not in message


def test_retry_after_a_lost_start_reuses_the_compilation(start_cloud, life, monkeypatch):
    rule = {"service": "dataform", "match": "CreateWorkflowInvocation", "fault": "drop", "when": "before", "times": 3}
    cloud = start_cloud(**dataform(), rules=[rule])
    task = life(lambda: invocation(git_commitish="main"))

    with pytest.raises(RemoteJobError):
        task.run()
    task.run()

    assert len(cloud.ledger.entries(operation="create_compilation_result")) == 1
    assert len(cloud.ledger.entries(operation="create_workflow_invocation", resource=None)) >= 1
    assert task.entry["outcome"] == "success"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, "given: none"),
        ({"git_commitish": "main", "workspace": "ada"}, "given: git_commitish, workspace"),
        ({"workflow_config": "nightly", "included_tags": ["daily"], "vars": {"a": "b"}}, "remove included_tags, vars"),
    ],
)
def test_parameters_that_exclude_each_other(wrong, reason):
    with pytest.raises(ConfigurationError, match=reason):
        invocation(**wrong)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"vars": {"days": 3}}, "put days in quotes"),
        ({"included_targets": [{"table": "orders"}]}, "included_targets has"),
    ],
)
def test_values_the_service_would_refuse(start_cloud, life, wrong, reason):
    cloud = start_cloud(**dataform())

    with pytest.raises(AirflowFailException, match=reason):
        life(lambda: invocation(git_commitish="main", **wrong)).run()
    assert cloud.ledger.entries(operation="create_workflow_invocation") == []


def test_unknown_repository_is_not_retried(start_cloud, life):
    start_cloud(**dataform())

    with pytest.raises(AirflowFailException, match="Check project, region, repository"):
        life(lambda: invocation(git_commitish="main", repository_id="sails")).run()


def test_console_link(start_cloud, life):
    cloud = start_cloud(**dataform())
    task = life(lambda: invocation(git_commitish="main"))
    task.begin()

    (started,) = cloud.ledger.entries(operation="create_workflow_invocation")
    assert task.ti.xcoms["external_job_url"] == (
        "https://console.cloud.google.com/bigquery/dataform/locations/europe-west3/repositories/sales/workflows/"
        f"{started.resource.rpartition('/')[2]}?project=demo-project"
    )
