"""What is Dataform's own, beside what test_dataform_defects shows: sources, and parameters that cannot be."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import ConfigurationError, RemoteJobError
from tests.provider.operators.dataform_world import REPOSITORY, dataform, invocation


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
        ({"query_priority": "URGENT"}, "query_priority is 'URGENT'; use one of INTERACTIVE, BATCH"),
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
    assert task.ti.xcoms["remote_job_url"] == (
        "https://console.cloud.google.com/bigquery/dataform/locations/europe-west3/repositories/sales/workflows/"
        f"{started.resource.rpartition('/')[2]}?project=demo-project"
    )
