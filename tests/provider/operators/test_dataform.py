"""What is Dataform's own, beside what test_dataform_defects shows: sources, and parameters that cannot be."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException
from google.cloud import dataform_v1

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.dataform import parameters
from provider.hooks.dataform.hook import DataformInvocationHook
from tests.provider.operators.dataform_world import REPOSITORY, dataform, invocation, of_main


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


@pytest.mark.parametrize("field", parameters.COMPILATION_FIELDS)
def test_every_setting_of_the_compilation_arrives(start_cloud, life, field):
    cloud = start_cloud(**dataform())

    life(lambda: invocation(git_commitish="main", compilation_config={field: "other"})).run()

    (compiled,) = cloud.ledger.entries(operation="create_compilation_result")
    assert compiled.detail["code_compilation_config"] == {field: "other"}
    service = of_main().service
    assert isinstance(service, DataformInvocationHook)
    found = service.client.get_compilation_result(name=compiled.resource)
    assert found.code_compilation_config == dataform_v1.CodeCompilationConfig({field: "other"})


def test_settings_of_the_compilation_and_variables_go_together(start_cloud, life):
    cloud = start_cloud(**dataform())
    settings = {"schema_suffix": "dev", "database_suffix": "test", "table_prefix": "t"}

    result = life(lambda: invocation(workspace="ada", vars={"env": "dev"}, compilation_config=settings)).run()

    (compiled,) = cloud.ledger.entries(operation="create_compilation_result")
    assert compiled.detail["code_compilation_config"] == {**settings, "vars": {"env": "dev"}}
    assert result["actions"][0]["target"] == "demo-project_test.staging_dev.t_raw"


def test_an_empty_setting_overrides_nothing(start_cloud, life):
    """A template may become one, such as a suffix that production has not."""
    cloud = start_cloud(**dataform())

    life(lambda: invocation(release_config="production", vars={}, compilation_config={})).run()
    life(lambda: invocation(git_commitish="main", compilation_config={"schema_suffix": ""})).run()

    released, compiled = cloud.ledger.entries(operation="create_compilation_result")
    assert released.detail["code_compilation_config"] == {"vars": {"env": "prod"}}
    assert compiled.detail["code_compilation_config"] == {}


def test_a_setting_that_only_a_rendered_value_shows_is_refused(start_cloud, life):
    """The result of another task is not there when the DAG is built."""
    cloud = start_cloud(**dataform())

    def made():
        operator = invocation(git_commitish="main", compilation_config=object())
        operator.compilation_config = {"suffix": "dev"}
        return operator

    with pytest.raises(AirflowFailException, match="compilation_config has no 'suffix'; it has"):
        life(made).run()
    assert cloud.ledger.entries(service="dataform") == []


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
        (
            {"workflow_config": "nightly", "included_tags": ["daily"], "vars": {"a": "b"}},
            "workflow_config brings its own vars, included_tags; remove them here",
        ),
        ({"workflow_config": "nightly", "compilation_config": {"table_prefix": "x"}}, "its own compilation_config; remove it"),
        ({"release_config": "production", "vars": {"a": "b"}}, "release_config brings its own vars; remove it here"),
        (
            {"release_config": "production", "vars": {"a": "b"}, "compilation_config": {"schema_suffix": "dev"}},
            "release_config brings its own vars, compilation_config; remove them here",
        ),
        ({"git_commitish": "main", "compilation_config": {"schema": "x"}}, "has no 'schema'; it has default_database, "),
        ({"git_commitish": "main", "compilation_config": {"vars": {"a": "b"}}}, "compilation_config has no 'vars'; it has"),
    ],
)
def test_parameters_that_exclude_each_other(wrong, reason):
    with pytest.raises(ConfigurationError, match=reason):
        invocation(**wrong)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"vars": {"days": 3}}, "put days in quotes in `vars`"),
        ({"vars": ["days"]}, "`vars` must be an object of texts"),
        ({"compilation_config": {"schema_suffix": 3}}, "put schema_suffix in quotes in `compilation_config`"),
        ({"compilation_config": {"table_prefix": None}}, "put table_prefix in quotes in `compilation_config`"),
        ({"compilation_config": ["dev"]}, "`compilation_config` must be an object of texts"),
        ({"included_targets": [{"table": "orders"}]}, "included_targets has"),
        ({"query_priority": "URGENT"}, "query_priority is 'URGENT'; use one of INTERACTIVE, BATCH"),
    ],
)
def test_values_the_service_would_refuse(start_cloud, life, wrong, reason):
    cloud = start_cloud(**dataform())

    with pytest.raises(AirflowFailException, match=reason):
        life(lambda: invocation(git_commitish="main", **wrong)).run()
    assert cloud.ledger.entries(service="dataform") == []


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
