from __future__ import annotations

import itertools
import json
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import dataform_v1, dataform_v1beta1
from google.protobuf.json_format import MessageToDict
from googleapiclient.discovery_cache import documents

REPOSITORY = "projects/demo/locations/europe-west3/repositories/sales"
BROKEN = "projects/demo/locations/europe-west3/repositories/broken"
SCENARIO = {
    "dataform": {
        "repositories": {
            REPOSITORY: {
                "default_database": "demo",
                "default_schema": "sales",
                "cancel_seconds": 0.1,
                "actions": [
                    {"target": {"name": "raw"}, "tags": ["daily"], "seconds": 0.05},
                    {"target": {"name": "stage"}, "depends_on": ["raw"], "seconds": 0.05},
                    {"target": {"name": "mart"}, "tags": ["daily"], "depends_on": ["stage"], "seconds": 0.05},
                    {"target": {"name": "bad"}, "seconds": 0.05, "failure_reason": "no table", "failing_runs": 1},
                    {"target": {"name": "below"}, "depends_on": ["bad"], "seconds": 0.05},
                    {"target": {"name": "off"}, "disabled": True},
                    {"target": {"name": "slow"}, "seconds": 600},
                    {"target": {"name": "after_slow"}, "depends_on": ["slow"], "seconds": 1},
                ],
                "release_configs": [{"name": "production", "vars": {"env": "prod"}}],
                "workflow_configs": [
                    {"name": "daily", "release_config": "production", "included_tags": ["daily"]},
                    {"name": "hourly", "release_config": "production", "included_targets": ["raw"]},
                ],
            },
            BROKEN: {"compilation_errors": [{"message": "Unexpected token", "path": "definitions/a.sqlx"}]},
        }
    }
}


@pytest.fixture(params=[dataform_v1, dataform_v1beta1], ids=["v1", "v1beta1"])
def api(request):
    return request.param


@pytest.fixture
def emulators(start):
    return start(SCENARIO)


@pytest.fixture
def client(api, emulators, dataform_client):
    return dataform_client(api, emulators)


def compiled(client, **result):
    result = result or {"git_commitish": "main"}
    return client.create_compilation_result(parent=REPOSITORY, compilation_result=result)


def invoked(client, *targets, compilation=None, **config):
    return client.create_workflow_invocation(
        parent=REPOSITORY,
        workflow_invocation={
            "compilation_result": compilation or compiled(client).name,
            "invocation_config": {"included_targets": [{"name": name} for name in targets], **config},
        },
    )


def actions_of(client, invocation):
    return {action.target.name: action for action in client.query_workflow_invocation_actions(request={"name": invocation.name})}


def test_compilation_result_keeps_what_was_asked(client):
    result = compiled(client, git_commitish="v2", code_compilation_config={"vars": {"day": "2026-01-02"}, "schema_suffix": "dev"})

    assert result == client.get_compilation_result(name=result.name)
    assert result.git_commitish == "v2"
    assert dict(result.code_compilation_config.vars) == {"day": "2026-01-02"}
    assert len(result.resolved_git_commit_sha) == 40
    actions = list(client.query_compilation_result_actions(request={"name": result.name}))
    mart = next(action for action in actions if action.target.name == "mart")
    assert mart.target.schema == "sales_dev"
    assert mart.canonical_target.schema == "sales"
    assert [target.name for target in mart.relation.dependency_targets] == ["stage"]


def test_compilation_result_of_release_config_and_workspace(client):
    released = compiled(client, release_config=f"{REPOSITORY}/releaseConfigs/production")
    assert dict(released.code_compilation_config.vars) == {"env": "prod"}
    worked = compiled(client, workspace=f"{REPOSITORY}/workspaces/mine")
    assert worked.workspace == f"{REPOSITORY}/workspaces/mine"


def test_invocation_succeeds_in_dependency_order(client, api, emulators):
    invocation = invoked(client, "mart", transitive_dependencies_included=True)
    assert invocation.state == api.WorkflowInvocation.State.RUNNING
    assert "end_time" not in invocation.invocation_timing

    emulators.ledger.wait_for("workflow_invocation_succeeded", invocation.name)
    ended = client.get_workflow_invocation(name=invocation.name)
    assert ended.state == api.WorkflowInvocation.State.SUCCEEDED
    timing = ended.invocation_timing
    assert timing.end_time - timing.start_time == timedelta(seconds=0.15)
    actions = actions_of(client, invocation)
    assert set(actions) == {"raw", "stage", "mart"}
    assert actions["raw"].invocation_timing.end_time == actions["stage"].invocation_timing.start_time
    assert all(action.bigquery_action.job_id for action in actions.values())


def test_failed_action_fails_invocation_and_skips_its_dependents(client, api, emulators):
    invocation = invoked(client, "bad", "raw", transitive_dependents_included=True)
    entry = emulators.ledger.wait_for("workflow_invocation_failed", invocation.name)[0]

    assert entry.detail["failure_reasons"] == {"demo.sales.bad": "no table"}
    assert client.get_workflow_invocation(name=invocation.name).state == api.WorkflowInvocation.State.FAILED
    states = api.WorkflowInvocationAction.State
    actions = actions_of(client, invocation)
    assert (actions["bad"].state, actions["bad"].failure_reason) == (states.FAILED, "no table")
    assert (actions["below"].state, actions["below"].failure_reason) == (states.SKIPPED, "")
    assert actions["mart"].state == states.SUCCEEDED


def test_failing_runs_end(client, emulators):
    first, second = invoked(client, "bad"), invoked(client, "bad")
    emulators.ledger.wait_for("workflow_invocation_failed", first.name)
    emulators.ledger.wait_for("workflow_invocation_succeeded", second.name)


def test_disabled_action(client, api):
    invocation = invoked(client, "off")
    assert actions_of(client, invocation)["off"].state == api.WorkflowInvocationAction.State.DISABLED


def test_tags_and_everything(client):
    assert set(actions_of(client, invoked(client, included_tags=["daily"]))) == {"raw", "mart"}
    assert len(actions_of(client, invoked(client))) == 8


def test_cancel(client, api, emulators):
    invocation = invoked(client, "slow", "after_slow")
    states, action_states = api.WorkflowInvocation.State, api.WorkflowInvocationAction.State
    assert {name: action.state for name, action in actions_of(client, invocation).items()} == {
        "slow": action_states.RUNNING,
        "after_slow": action_states.PENDING,
    }
    client.cancel_workflow_invocation(request={"name": invocation.name})
    assert client.get_workflow_invocation(name=invocation.name).state in (states.CANCELING, states.CANCELLED)

    emulators.ledger.wait_for("workflow_invocation_cancelled", invocation.name)
    assert client.get_workflow_invocation(name=invocation.name).state == states.CANCELLED
    assert {action.state for action in actions_of(client, invocation).values()} == {action_states.CANCELLED}
    with pytest.raises(exceptions.FailedPrecondition, match="CANCELLED"):
        client.cancel_workflow_invocation(request={"name": invocation.name})
    assert not emulators.ledger.entries(operation="workflow_invocation_succeeded")


def test_delete_only_what_has_ended(client, emulators):
    invocation = invoked(client, "slow")
    with pytest.raises(exceptions.FailedPrecondition):
        client.delete_workflow_invocation(name=invocation.name)
    client.cancel_workflow_invocation(request={"name": invocation.name})
    emulators.ledger.wait_for("workflow_invocation_cancelled", invocation.name)
    client.delete_workflow_invocation(name=invocation.name)
    with pytest.raises(exceptions.NotFound):
        client.get_workflow_invocation(name=invocation.name)


def test_workflow_config(client, emulators):
    invocation = client.create_workflow_invocation(
        parent=REPOSITORY, workflow_invocation={"workflow_config": f"{REPOSITORY}/workflowConfigs/daily"}
    )
    assert invocation.workflow_config.endswith("/daily")
    source = client.get_compilation_result(name=invocation.resolved_compilation_result)
    assert source.release_config == f"{REPOSITORY}/releaseConfigs/production"
    assert dict(source.code_compilation_config.vars) == {"env": "prod"}
    assert set(actions_of(client, invocation)) == {"raw", "mart"}


def test_configs_are_listed_in_pages(client):
    pager = client.list_workflow_configs(request={"parent": REPOSITORY, "page_size": 1})
    assert [[config.name.rpartition("/")[2] for config in page.workflow_configs] for page in pager.pages] == [
        ["daily"],
        ["hourly"],
    ]
    assert client.get_workflow_config(name=f"{REPOSITORY}/workflowConfigs/daily").release_config
    assert [config.git_commitish for config in client.list_release_configs(parent=REPOSITORY)] == ["main"]
    assert client.get_release_config(name=f"{REPOSITORY}/releaseConfigs/production").git_commitish == "main"
    assert client.get_repository(name=REPOSITORY).name == REPOSITORY


def test_invocations_are_listed_in_pages_newest_first(client):
    compilation = compiled(client).name
    names = [invoked(client, "raw", compilation=compilation).name for _ in range(5)]
    pager = client.list_workflow_invocations(request={"parent": REPOSITORY, "page_size": 2})
    pages = [[item.name for item in page.workflow_invocations] for page in pager.pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert list(itertools.chain(*pages)) == names[::-1]
    ordered = client.list_workflow_invocations(request={"parent": REPOSITORY, "order_by": "name"})
    assert [item.name for item in ordered] == sorted(names)
    # Whoever re-attaches filters by the compilation result.
    assert {item.compilation_result for item in client.list_workflow_invocations(parent=REPOSITORY)} == {compilation}


def test_new_invocations_do_not_shift_the_next_page(client):
    old = [invoked(client, "raw").name for _ in range(3)]
    first = next(client.list_workflow_invocations(request={"parent": REPOSITORY, "page_size": 2}).pages)
    invoked(client, "raw")
    token = first.next_page_token
    rest = client.list_workflow_invocations(request={"parent": REPOSITORY, "page_size": 2, "page_token": token})
    assert [item.name for item in first.workflow_invocations] + [item.name for item in rest] == old[::-1]


def listed(**request):
    return lambda client: list(client.list_workflow_invocations(request={"parent": REPOSITORY, **request}))


REFUSED = {
    "no resource name": lambda client: client.get_repository(name="nonsense"),
    "name of another collection": lambda client: client.get_workflow_invocation(name=f"{REPOSITORY}/compilationResults/x"),
    "no source": lambda client: compiled(client, code_compilation_config={"vars": {"a": "b"}}),
    "workspace of another repository": lambda client: compiled(client, workspace=f"{BROKEN}/workspaces/x"),
    "settings beside a release config": lambda client: compiled(
        client, release_config=f"{REPOSITORY}/releaseConfigs/production", code_compilation_config={"vars": {"a": "b"}}
    ),
    "unknown target": lambda client: invoked(client, "nobody"),
    "unknown tag": lambda client: invoked(client, included_tags=["nobody"]),
    "no compilation": lambda client: client.create_workflow_invocation(parent=REPOSITORY, workflow_invocation={}),
    "page token": listed(page_token="x"),
    "page size": listed(page_size=-1),
    "order": listed(order_by="state"),
    "filter": listed(filter="state = RUNNING"),
}
NOT_FOUND = {
    "repository": lambda client: client.get_repository(name=REPOSITORY + "2"),
    "release config": lambda client: client.get_release_config(name=f"{REPOSITORY}/releaseConfigs/x"),
    "workflow config": lambda client: client.get_workflow_config(name=f"{REPOSITORY}/workflowConfigs/x"),
    "compilation result": lambda client: client.get_compilation_result(name=f"{REPOSITORY}/compilationResults/x"),
    "invocation": lambda client: client.get_workflow_invocation(name=f"{REPOSITORY}/workflowInvocations/x"),
    "release to compile": lambda client: compiled(client, release_config=f"{REPOSITORY}/releaseConfigs/x"),
    "compilation to run": lambda client: invoked(client, "raw", compilation=f"{REPOSITORY}/compilationResults/x"),
}


@pytest.mark.parametrize(
    ("call", "refusal"),
    [pytest.param(call, exceptions.InvalidArgument, id=name) for name, call in REFUSED.items()]
    + [pytest.param(call, exceptions.NotFound, id=name) for name, call in NOT_FOUND.items()],
)
def test_refusals(client, emulators, call, refusal):
    with pytest.raises(refusal):
        call(client)
    assert all(entry.outcome != "ok" for entry in emulators.ledger.entries(operation="create_workflow_invocation"))


def test_what_is_not_emulated_says_so(client):
    with pytest.raises(exceptions.MethodNotImplemented):
        client.create_workspace(parent=REPOSITORY, workspace={}, workspace_id="x")


def test_refusals_are_in_the_ledger(client, emulators):
    with pytest.raises(exceptions.NotFound):
        client.get_repository(name=REPOSITORY + "2")
    entry = emulators.ledger.entries("dataform", "get_repository")[0]
    assert (entry.resource, entry.outcome) == (REPOSITORY + "2", "NOT_FOUND")


def test_compilation_errors(client):
    result = client.create_compilation_result(parent=BROKEN, compilation_result={"git_commitish": "main"})
    assert [(error.path, error.message) for error in result.compilation_errors] == [("definitions/a.sqlx", "Unexpected token")]
    with pytest.raises(exceptions.FailedPrecondition, match="1 compilation error"):
        client.create_workflow_invocation(parent=BROKEN, workflow_invocation={"compilation_result": result.name})


def test_both_versions_see_the_same_resources(emulators, dataform_client):
    stable, beta = (dataform_client(api, emulators) for api in (dataform_v1, dataform_v1beta1))
    invocation = invoked(stable, "raw", service_account="runner@demo", query_priority="BATCH")
    seen = beta.get_workflow_invocation(name=invocation.name)
    assert seen.invocation_config.service_account == "runner@demo"
    assert seen.invocation_config.query_priority == dataform_v1beta1.InvocationConfig.QueryPriority.BATCH


def test_many_invocations_wait_at_once(emulators, dataform_client):
    client = dataform_client(dataform_v1, emulators)
    compilation = compiled(client).name
    names = {invoked(client, "slow", compilation=compilation).name for _ in range(1000)}
    listed = client.list_workflow_invocations(request={"parent": REPOSITORY, "page_size": 1000})
    assert {item.name for item in listed} == names
    assert {item.state for item in listed} == {dataform_v1.WorkflowInvocation.State.RUNNING}


async def test_async_client(emulators):
    async with grpc.aio.insecure_channel(emulators.dataform_endpoint.removeprefix("http://")) as channel:
        transport = dataform_v1.DataformAsyncClient.get_transport_class("grpc_asyncio")(channel=channel)
        client = dataform_v1.DataformAsyncClient(transport=transport)
        result = await client.create_compilation_result(
            parent=REPOSITORY, compilation_result=dataform_v1.CompilationResult(git_commitish="main")
        )
        invocation = await client.create_workflow_invocation(
            parent=REPOSITORY,
            workflow_invocation=dataform_v1.WorkflowInvocation(
                compilation_result=result.name,
                invocation_config={"included_targets": [{"name": "slow"}]},
            ),
        )
        assert [item.name async for item in await client.list_workflow_invocations(parent=REPOSITORY)] == [invocation.name]
        await client.cancel_workflow_invocation(request={"name": invocation.name})
    assert emulators.ledger.wait_for("workflow_invocation_cancelled", invocation.name)


def test_unknown_repositories_are_made_up(start, dataform_client, api):
    emulators = start({"auto_create": True, "auto_seconds": 0.05})
    client = dataform_client(api, emulators)
    result = client.create_compilation_result(
        parent=REPOSITORY, compilation_result={"release_config": f"{REPOSITORY}/releaseConfigs/any"}
    )
    invocation = invoked(client, "my_table", compilation=result.name, included_tags=["mine"])
    assert set(actions_of(client, invocation)) == {"my_table", "tagged_mine"}
    emulators.ledger.wait_for("workflow_invocation_succeeded", invocation.name)
    by_config = client.create_workflow_invocation(
        parent=REPOSITORY, workflow_invocation={"workflow_config": f"{REPOSITORY}/workflowConfigs/any"}
    )
    emulators.ledger.wait_for("workflow_invocation_succeeded", by_config.name)


def test_what_the_rest_transport_would_see_is_in_the_vendors_discovery_document(client, api, emulators):
    """Every field of an answer is one of the public REST description's, which was not written here."""
    version = api.__name__.rpartition("_")[2]
    document = json.loads((Path(documents.__path__[0]) / f"dataform.{version}.json").read_text())
    schemas = document["schemas"]

    def check(value, schema):
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema
        if isinstance(value, dict) and "properties" in schema:
            for key, inner in value.items():
                assert key in schema["properties"], key
                check(inner, schema["properties"][key])
        elif isinstance(value, list):
            for inner in value:
                check(inner, schema["items"])
        elif "enum" in schema:
            assert value in schema["enum"]

    invocation = invoked(client, "bad")
    emulators.ledger.wait_for("workflow_invocation_failed", invocation.name)
    for message, schema in (
        (client.get_workflow_invocation(name=invocation.name), "WorkflowInvocation"),
        (client.get_compilation_result(name=invocation.compilation_result), "CompilationResult"),
        (actions_of(client, invocation)["bad"], "WorkflowInvocationAction"),
    ):
        check(MessageToDict(type(message).pb(message)), {"$ref": schema})
