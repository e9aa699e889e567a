"""Names of workspaces and items as people write them, and dataflows that Power BI does not know."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.exceptions import RemoteJobError
from provider.hooks.powerbi.names import NAMED
from tests.provider.operators.powerbi_world import dataflow, disturb, model, posted, powerbi

GUIDS = [f"{digit * 8}-{digit * 4}-4{digit * 3}-8{digit * 3}-{digit * 12}" for digit in "123456789"]
GEN2 = "If it is a dataflow of Gen2: applications cannot refresh those"


def world(*names: str, kind: str = "semantic_models", **changes: Any) -> dict[str, Any]:
    """Return a workspace with items of these names; their ids are GUIDS in this order, beginning with the second."""
    items = [{"id": guid, "name": name, "seconds": 0.1, **changes} for guid, name in zip(GUIDS[1:], names, strict=False)]
    return {"id": GUIDS[0], "name": "Finance", kind: items}


def run(life: Any, kind: str, name: str, workspace: str = "Finance") -> Any:
    if kind == "dataflows":
        return life(lambda: dataflow(workspace=workspace, dataflow=name)).run()
    if kind == "reports":
        return life(lambda: model(workspace=workspace, report=name)).run()
    return life(lambda: model(workspace=workspace, semantic_model=name)).run()


@pytest.mark.parametrize("asked", ["finance", "FINANCE", "Finance"])
def test_a_workspace_is_found_without_regard_to_case(start_cloud, life, asked):
    cloud = start_cloud(**powerbi(world("Sales")))

    run(life, "semantic_models", "Sales", workspace=asked)

    assert [entry.detail["groupId"] for entry in posted(cloud)] == [GUIDS[0]]


@pytest.mark.parametrize("asked", ["Finance", "FINANCE"])
def test_an_exact_match_wins_over_one_that_differs_in_case(start_cloud, life, asked):
    other = {"id": GUIDS[8], "name": "FINANCE", "semantic_models": [{"name": "Sales", "seconds": 0.1}]}
    cloud = start_cloud(**powerbi(world("Sales"), other))

    run(life, "semantic_models", "Sales", workspace=asked)

    assert [entry.detail["groupId"] for entry in posted(cloud)] == [{"Finance": GUIDS[0], "FINANCE": GUIDS[8]}[asked]]


def test_workspaces_that_differ_in_case_only_are_ambiguous(start_cloud, life):
    cloud = start_cloud(**powerbi(world("Sales"), {"id": GUIDS[8], "name": "FINANCE"}))

    with pytest.raises(AirflowFailException) as failure:
        run(life, "semantic_models", "Sales", workspace="finance")

    assert f"workspace 'finance' in the tenant is ambiguous: {GUIDS[0]}, {GUIDS[8]}. Give one of these ids." in str(failure.value)
    assert posted(cloud) == []


def test_the_workspaces_that_are_seen_are_listed_up_to_a_bound(start_cloud, life):
    others = [{"name": f"Team {number:02}"} for number in range(NAMED + 3)]
    start_cloud(**powerbi(*others))

    with pytest.raises(AirflowFailException) as failure:
        run(life, "semantic_models", "Sales", workspace="Tea 01")

    listed = ", ".join(f"'Team {number:02}'" for number in range(NAMED))
    assert f"no workspace 'Tea 01' in the tenant that this application can see. It sees: {listed} and 3 more." in str(
        failure.value
    )
    assert "Gen2" not in str(failure.value)


KINDS = {"semantic_models": "semantic model", "dataflows": "dataflow", "reports": "report"}


def items(kind: str, *names: str) -> dict[str, Any]:
    if kind != "reports":
        return world(*names, kind=kind)
    reports = [{"id": GUIDS[4 + number], "name": name, "datasetId": GUIDS[1]} for number, name in enumerate(names)]
    return {**world("Sales"), "reports": reports}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", ["daily", "Daily"])
def test_an_item_is_found_without_regard_to_case(start_cloud, life, kind, asked):
    cloud = start_cloud(**powerbi(items(kind, "Daily")))

    run(life, kind, asked)

    operation = "dataflow_refresh_posted" if kind == "dataflows" else "refresh_posted"
    assert len(cloud.ledger.entries(operation=operation)) == 1


@pytest.mark.parametrize("asked", ["Daily", "DAILY"])
def test_an_item_of_exactly_that_name_wins(start_cloud, life, asked):
    cloud = start_cloud(**powerbi(items("semantic_models", "Daily", "DAILY")))

    run(life, "semantic_models", asked)

    assert [entry.detail["name"] for entry in posted(cloud)] == [asked]


@pytest.mark.parametrize("kind", KINDS)
def test_items_that_differ_in_case_only_are_ambiguous(start_cloud, life, kind):
    cloud = start_cloud(**powerbi(items(kind, "Daily", "DAILY")))

    with pytest.raises(
        AirflowFailException, match=f"{KINDS[kind]} 'daily' in workspace .* is ambiguous: .*, .*. Give one of these"
    ):
        run(life, kind, "daily")

    assert posted(cloud) == []
    assert cloud.ledger.entries(operation="dataflow_refresh_posted") == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_items_that_are_seen_are_listed(start_cloud, life, kind):
    start_cloud(**powerbi(items(kind, "Daily", "Weekly")))

    with pytest.raises(AirflowFailException) as failure:
        run(life, kind, "Dayly")

    assert f"no {KINDS[kind]} 'Dayly' in workspace {GUIDS[0]} that this application can see. It sees: 'Daily', 'Weekly'." in str(
        failure.value
    )
    assert (GEN2 in str(failure.value)) is (kind == "dataflows")


@pytest.mark.parametrize("asked", ["Staging", GUIDS[1]])
def test_a_dataflow_of_gen2_is_an_error_that_says_what_to_do(start_cloud, life, asked):
    """Power BI's API does not list it, and does not know its id."""
    cloud = start_cloud(**powerbi(world("Staging", kind="dataflows", generation=2)))

    with pytest.raises(AirflowFailException, match=f"{GEN2}. Let Fabric run it, .* type `external`"):
        run(life, "dataflows", asked)

    assert cloud.ledger.entries(operation="dataflow_refresh_posted") == []


@pytest.mark.parametrize("call", ["GET */transactions", "POST */refreshes"])
@pytest.mark.parametrize(
    ("status", "code", "explained"),
    [
        (400, "DataflowUnknown", True),
        (404, "DataflowNotFound", True),
        (400, "DailyDataflowRefreshLimitExceeded", False),
        (403, "PowerBINotAuthorizedException", False),
        (503, "ServiceUnavailable", False),
    ],
)
def test_other_refusals_are_not_laid_to_gen2(start_cloud, life, call, status, code, explained):
    cloud = start_cloud(**powerbi(world("Staging", kind="dataflows")))
    disturb(cloud, call, http_status=status, body={"error": {"code": code, "message": "No."}}, times=None)

    with pytest.raises((AirflowFailException, RemoteJobError), match=f"answered {status}: {code}") as failure:
        run(life, "dataflows", GUIDS[1])

    assert (GEN2 in str(failure.value)) is explained
    assert cloud.ledger.entries(operation="dataflow_refresh_posted") == []
