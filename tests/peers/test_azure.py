"""The Azure provider's Power BI hook, operators and triggers, as released, against our Power BI and Entra ID."""

from __future__ import annotations

import pytest

WORKSPACE_ID = "11111111-1111-4111-8111-111111111111"
MODEL_ID = "22222222-2222-4222-8222-222222222222"
BROKEN_ID = "33333333-3333-4333-8333-333333333333"
OPERATORS = "airflow.providers.microsoft.azure.operators.powerbi"


@pytest.fixture
def azure(connect, peers):
    headers = {"refresh_id_headers": ["location", "RequestId"]}  # that provider reads no other than the second one
    fails = {"errorCode": "QuerySystemError", "errorDescription": "Column amount does not exist"}
    models = [
        {"id": MODEL_ID, "name": "Sales", "seconds": 3, **headers},
        {"id": BROKEN_ID, "name": "Broken", "seconds": 1, "fails": fails, **headers},
    ]
    workspace = {"id": WORKSPACE_ID, "name": "Finance", "semantic_models": models}
    return connect({"powerbi": {"workspaces": [workspace]}}, peers.python)


def refresh(azure, dataset_id):
    return azure.operator(
        f"{OPERATORS}.PowerBIDatasetRefreshOperator",
        conn_id="azure_powerbi",
        group_id=WORKSPACE_ID,
        dataset_id=dataset_id,
        request_body={"type": "full"},
        check_interval=1,
    )


def test_operator_and_trigger_refresh_a_model(azure):
    told = refresh(azure, MODEL_ID)

    assert (told["outcome"], told["deferrals"]) == ("success", 2), told["error"]
    [posted] = azure.ledger.entries("powerbi", "refresh_posted")
    assert azure.ledger.entries("powerbi", "refresh_completed", posted.resource)
    assert told["xcoms"] == {
        "job.powerbi_dataset_refresh_id": posted.resource,
        "job.powerbi_dataset_refresh_status": "Completed",
    }


def test_operator_and_trigger_tell_of_a_failed_refresh(azure):
    told = refresh(azure, BROKEN_ID)

    assert told["outcome"] == "failed"
    assert "QuerySystemError" in told["error"]


def test_operators_list_workspaces_and_models(azure):
    workspaces = azure.operator(f"{OPERATORS}.PowerBIWorkspaceListOperator", conn_id="azure_powerbi")
    models = azure.operator(f"{OPERATORS}.PowerBIDatasetListOperator", conn_id="azure_powerbi", group_id=WORKSPACE_ID)

    assert workspaces["xcoms"] == {"job.powerbi_workspace_ids": [WORKSPACE_ID]}
    assert models["xcoms"] == {"job.powerbi_dataset_ids": [MODEL_ID, BROKEN_ID]}


def test_hook(azure):
    seen = azure.script("tests/peers/azure_hook.py", WORKSPACE_ID, MODEL_ID)

    assert seen["workspaces"] == [WORKSPACE_ID]
    assert seen["datasets"] == [MODEL_ID, BROKEN_ID]
    assert seen["running"] == {"request_id": seen["refresh"], "status": "In Progress", "error": "None"}
    assert seen["history"] == [{"request_id": seen["refresh"], "status": "Cancelled", "error": "None"}]
    assert azure.ledger.wait_for("refresh_cancelled", seen["refresh"])
