"""The tables that a Dataform run has made are assets that were made, under the names that other DAGs wait for."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from dag_factory.task_operator import asset
from provider.operators import dataform
from provider.operators.dataform import DataformWorkflowInvocationOperator


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
