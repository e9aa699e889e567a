"""The tables that a Dataform run has made are assets that were made, under the names that other DAGs wait for."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from dag_factory.task_operator import asset
from provider.exceptions import RemoteJobError
from provider.operators import dataform
from provider.operators.dataform import DataformWorkflowInvocationOperator
from tests.provider.operators import dataform_world


def operator(**changes: Any) -> DataformWorkflowInvocationOperator:
    place = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}
    return DataformWorkflowInvocationOperator(task_id="stg_orders", **{**place, "emit_assets": True, **changes})


def told(of: DataformWorkflowInvocationOperator, **states: str) -> list[tuple[str, str, str]]:
    """Return alias, name and URI of each asset that a run is told to have made; *states* are those of its actions by name."""
    actions = [{"target": name.replace("__", "."), "state": state} for name, state in states.items()]
    context: Any = {"outlet_events": OutletEventAccessors()}
    result = {"actions": actions}
    assert of.finish(context, result) is result
    events = context["outlet_events"][AssetAlias("dataform:stg_orders")].asset_alias_events
    return [(event.source_alias_name, event.dest_asset_key.name, event.dest_asset_key.uri) for event in events]


def test_each_action_that_succeeded_has_made_its_asset() -> None:
    made = operator()
    assert made.outlets == [AssetAlias("dataform:stg_orders")]
    uri = "bigquery://demo/mart/orders"
    assert told(made, demo__mart__orders="SUCCEEDED", demo__mart__items="FAILED", demo__mart__days="SKIPPED") == [
        ("dataform:stg_orders", uri, uri)
    ]
    assert (asset(uri, "after").name, asset(uri, "after").uri) == (uri, uri)


def test_a_project_of_a_domain_is_one_part_of_the_name() -> None:
    uri = "bigquery://example.com:demo/mart/orders"
    assert [event[2] for event in told(operator(), **{"example.com:demo__mart__orders": "SUCCEEDED"})] == [uri]


def test_what_is_no_table_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(operator(), orders="SUCCEEDED", demo__mart__items="SUCCEEDED") == [
        ("dataform:stg_orders", *["bigquery://demo/mart/items"] * 2)
    ]
    assert "The action orders has no asset" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["orders?old", "orders#old", "orders/"])
def test_a_name_that_airflow_would_cut_is_no_other_tables_asset(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = told(operator(), **{f"demo__mart__{name}": "SUCCEEDED", "demo__mart__items": "SUCCEEDED"})
    assert [event[2] for event in made] == ["bigquery://demo/mart/items"]
    assert f"The action demo.mart.{name} has no asset: Airflow would take" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bestellungen_ä", "a b", "%41", "Orders"])
def test_a_name_that_airflow_leaves_as_it_is(name: str) -> None:
    assert [event[2] for event in told(operator(), **{f"demo__mart__{name}": "SUCCEEDED"})] == [f"bigquery://demo/mart/{name}"]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("permission", [True, False])
def test_actions_that_cannot_be_read_are_read_by_a_retry(start_cloud, life, permission: bool, deferrable: bool) -> None:
    cloud = start_cloud(**dataform_world.dataform())
    status = "UNAVAILABLE" if permission else "PERMISSION_DENIED"
    unread = dataform_world.disturb(cloud, "QueryWorkflowInvocationActions", grpc_status=status, times=None)
    task = life(lambda: dataform_world.of_main(emit_assets=True, deferrable=deferrable))
    events = task.context["outlet_events"] = OutletEventAccessors()

    with pytest.raises(RemoteJobError, match="has succeeded, and which assets it has made cannot be read: ") as caught:
        task.run()

    assert caught.value.retryable
    assert ("The permission is dataform.workflowInvocations.query." in str(caught.value)) is not permission
    assert task.entry["outcome"] == "running"
    assert events[AssetAlias("dataform:job")].asset_alias_events == []
    cloud.rules.remove(unread)

    result = task.run()

    assert len(dataform_world.started(cloud)) == 1
    assert result["workflow_invocation"] == dataform_world.started(cloud)[0].resource
    assert task.entry["outcome"] == "success"
    assert sorted(event.dest_asset_key.uri for event in events[AssetAlias("dataform:job")].asset_alias_events) == [
        f"bigquery://demo-project/{table}" for table in ("mart/orders", "mart/report", "staging/raw")
    ]


def test_of_very_many_the_first_ones_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dataform, "MOST_ASSETS", 2)
    assert len(told(operator(), **{f"demo__mart__t{number}": "SUCCEEDED" for number in range(5)})) == 2
    assert "Of 5 assets that were made Airflow was told of the first 2." in capsys.readouterr().out


def test_without_it_nothing_is_made() -> None:
    quiet = operator(emit_assets=False, outlets=[Asset("bigquery://demo/mart/orders")])
    assert quiet.outlets == [Asset("bigquery://demo/mart/orders")]
    assert told(quiet, demo__mart__orders="SUCCEEDED") == []


def test_assets_that_the_row_names_stay() -> None:
    named = Asset("bigquery://demo/mart/orders")
    assert operator(outlets=[named]).outlets == [named, AssetAlias("dataform:stg_orders")]
