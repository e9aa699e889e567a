"""What OpenLineage's own extractor finds for a task that has ended: tables and models, and the job's id at its service."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.utils.state import TaskInstanceState

from provider.exceptions import RemoteJobError
from provider.operators.remote_job import RemoteJobOperator
from tests.provider.operators import dataform_world, powerbi_world

SHOP: list[dict[str, Any]] = [
    {"target": {"name": "orders", "schema": "shop"}, "kind": "declaration", "description": "Of the shop's database."},
    {
        "target": {"name": "stg_orders", "schema": "staging"},
        "depends_on": ["orders"],
        "description": "Orders, one row each.",
        "columns": {"order_id": "Of the shop.", "customer.name": ""},
    },
    {"target": {"name": "orders_are_unique", "schema": "checks"}, "kind": "assertion", "depends_on": ["stg_orders"]},
    {"target": {"name": "grants"}, "kind": "operations", "depends_on": ["stg_orders"]},
    {
        "target": {"name": "daily", "schema": "mart"},
        "kind": "operations",
        "has_output": True,
        "depends_on": ["stg_orders", "days"],
    },
    {"target": {"name": "days", "schema": "shared"}, "kind": "declaration"},
]
FAST = {"seconds": 0.1}
Names = list[tuple[str, str]]


def found(task: RemoteJobOperator, state: TaskInstanceState = TaskInstanceState.SUCCESS) -> OperatorLineage[Any, Any]:
    """Return what OpenLineage finds when a task has ended in this process."""
    return ExtractorManager().extract_metadata(SimpleNamespace(run_id="B1"), task, state, SimpleNamespace(task=task))


def names(lineage: OperatorLineage[Any, Any]) -> tuple[Names, Names]:
    inputs, outputs = (sorted((each.namespace, each.name) for each in sets) for sets in (lineage.inputs, lineage.outputs))
    return inputs, outputs


def shop(**reasons: str) -> dict[str, Any]:
    """Return the repository; *reasons* are those for which actions fail, by name."""
    actions = [{**FAST, **action, "failure_reason": reasons.get(action["target"]["name"])} for action in SHOP]
    return dataform_world.dataform(actions=actions, release_configs=[], workflow_configs=[])


@pytest.mark.parametrize("deferrable", [True, False])
def test_tables_that_dataform_has_read_and_made(start_cloud, life, deferrable: bool) -> None:
    start_cloud(**shop())
    task = life(lambda: dataform_world.of_main(deferrable=deferrable))
    result = task.run()

    lineage = found(task.operator)

    assert names(lineage) == (
        [("bigquery", "demo-project.shared.days"), ("bigquery", "demo-project.shop.orders")],
        [("bigquery", "demo-project.mart.daily"), ("bigquery", "demo-project.staging.stg_orders")],
    )
    assert lineage.run_facets["externalQuery"].source == "dataform"
    assert lineage.run_facets["externalQuery"].externalQueryId == result["workflow_invocation"].rpartition("/")[2]
    facets = {each.name: each.facets for each in lineage.outputs}
    assert facets["demo-project.mart.daily"] == {}
    described = facets["demo-project.staging.stg_orders"]
    assert described["documentation"].description == "Orders, one row each."
    columns = [(column.name, column.description) for column in described["schema"].fields]
    assert columns == [("order_id", "Of the shop."), ("customer.name", None)]


def test_of_a_run_that_failed_what_has_succeeded(start_cloud, life) -> None:
    start_cloud(**shop(daily="no such table"))
    task = life(dataform_world.of_main, retries=0)
    with pytest.raises(RemoteJobError, match="no such table"):
        task.run()

    assert names(found(task.operator, TaskInstanceState.FAILED)) == (
        [("bigquery", "demo-project.shop.orders")],
        [("bigquery", "demo-project.staging.stg_orders")],
    )


def test_actions_that_cannot_be_read_are_told_of_in_the_log(start_cloud, life, capsys: pytest.CaptureFixture[str]) -> None:
    cloud = start_cloud(**shop())
    task = life(dataform_world.of_main)
    task.run()
    dataform_world.disturb(cloud, "QueryCompilationResultActions", grpc_status="PERMISSION_DENIED", times=None)

    lineage = found(task.operator)

    assert (names(lineage), lineage.run_facets) == (([], []), {})
    assert "Dataform QueryCompilationResultActions" in capsys.readouterr().out


@pytest.mark.parametrize("make", [powerbi_world.model, powerbi_world.dataflow])
def test_what_power_bi_has_refreshed(start_cloud, life, make) -> None:
    start_cloud(**powerbi_world.powerbi())
    task = life(make)
    task.run()

    lineage = found(task.operator)

    job = task.entry["job"]
    assert names(lineage) == ([], [("powerbi", f"{job['workspace_id']}.{job['item_id']}")])
    facet = lineage.run_facets["externalQuery"]
    assert (facet.source, facet.externalQueryId) == ("powerbi", job["id"])


def test_a_task_that_has_started_nothing_has_read_and_made_nothing() -> None:
    for task in (dataform_world.of_main(), powerbi_world.model()):
        lineage = found(task, TaskInstanceState.FAILED)
        assert (names(lineage), lineage.run_facets) == (([], []), {})
