"""What the Power BI emulator answers, against the vendor's own OpenAPI description."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from provider.emulators.entra import TokenStore
from provider.emulators.ledger import Ledger
from provider.emulators.powerbi import API_PREFIX, PowerBIApi
from provider.emulators.powerbi_state import PowerBIState
from provider.emulators.refresh_request import RefreshRequest
from provider.emulators.scenario import Scenario
from provider.emulators.timeline import Timers

CONTRACT = Path(__file__).parents[4] / "shared" / "contracts" / "powerbi-swagger.json"
pytestmark = pytest.mark.skipif(not CONTRACT.is_file(), reason=f"the vendor's description is not at {CONTRACT}")
# Live services answer values that the description's lists lack.
LIVE_STATUS = "Cancelled"


@pytest.fixture(scope="module")
def swagger():
    description = json.loads(CONTRACT.read_text())
    description["definitions"]["DatasetRefreshDetail"]["properties"]["status"]["enum"].append(LIVE_STATUS)
    return description


@pytest.fixture
def check(swagger):
    def validate(value, definition):
        jsonschema.validate(
            value,
            {"$ref": f"#/definitions/{definition}", "definitions": swagger["definitions"]},
            cls=jsonschema.Draft4Validator,
            format_checker=jsonschema.FormatChecker(),
        )
        known = properties(swagger["definitions"], definition)
        for item in value["value"] if isinstance(value.get("value"), list) else [value]:
            assert known == {"value", "odata.context"} or set(item) - ADDED <= known, set(item) - known

    return validate


# In live answers and in the reference's samples, absent from or spelled otherwise in the description.
ADDED = {"id", "extendedStatus", "isRefreshable", "targetStorageMode", "type", "datasetWorkspaceId"}


def properties(definitions, name):
    definition = definitions[name]
    own = set(definition.get("properties", {}))
    for part in definition.get("allOf", []):
        own |= properties(definitions, part["$ref"].rpartition("/")[2]) if "$ref" in part else set(part["properties"])
    return own


GROUP, GOOD, BAD, SLOW, FLOW, REPORT, RDL = (f"{number:08d}-0000-4000-8000-000000000000" for number in range(7))
WORKSPACE = {
    "id": GROUP,
    "name": "Group",
    "semantic_models": [
        {"id": GOOD, "name": "Good", "seconds": 0.05, "tables": {"Sales": ["2026"]}},
        {"id": BAD, "name": "Bad", "seconds": 0.05, "fails": {"errorDescription": "No credentials."}},
        {"id": SLOW, "name": "Slow", "seconds": 600},
    ],
    "dataflows": [{"id": FLOW, "name": "Flow", "seconds": 0.05}],
    "reports": [{"id": REPORT, "name": "Report", "datasetId": GOOD}, {"id": RDL, "name": "Paginated"}],
}


@pytest.fixture
def emulators(start):
    return start({"powerbi": {"workspaces": [WORKSPACE]}})


@pytest.fixture
def client(emulators, powerbi_client):
    return powerbi_client(emulators)


def test_every_route_is_the_vendors(swagger):
    timers = Timers()
    try:
        scenario = Scenario()
        state = PowerBIState(scenario, Ledger(), timers)
        routes: list[Any] = PowerBIApi(state, TokenStore(1), timers).router().routes
    finally:
        timers.stop()
    vendors = {(method.upper(), re.sub(r"\{\w+}", "{}", path)) for path, item in swagger["paths"].items() for method in item}
    ours = {(method, re.sub(r"\{\w+}", "{}", route.path)) for route in routes for method in route.methods}
    assert len(ours) == 14
    assert all(path.startswith(API_PREFIX) for _, path in ours)
    assert ours <= vendors


def test_request_fields_are_the_vendors(swagger):
    fields = set(swagger["definitions"]["DatasetRefreshRequest"]["properties"])
    assert set(RefreshRequest.model_fields) == fields | {"timeout"}  # documented, absent from the description


@pytest.mark.parametrize(
    ("path", "collection", "item"),
    [
        ("groups", "Groups", "Group"),
        (f"groups/{GROUP}/datasets", "Datasets", "Dataset"),
        (f"groups/{GROUP}/dataflows", "Dataflows", "Dataflow"),
        (f"groups/{GROUP}/reports", "Reports", "Report"),
    ],
)
def test_lists(client, check, path, collection, item):
    answer = client.get(path).json()
    check(answer, collection)
    assert answer["value"]
    for entry in answer["value"]:
        check(entry, item)


def test_single_resources(client, check):
    check(client.get(f"groups/{GROUP}").json(), "Group")
    check(client.get(f"groups/{GROUP}/datasets/{GOOD}").json(), "Dataset")
    check(client.get(f"groups/{GROUP}/reports/{REPORT}").json(), "Report")


@pytest.mark.parametrize(("model", "end"), [(GOOD, "completed"), (BAD, "failed"), (SLOW, "cancelled")])
def test_refreshes(client, check, emulators, model, end):
    path = f"groups/{GROUP}/datasets/{model}/refreshes"
    location = client.post(path, json={"type": "full"}).headers["location"]

    def check_all():
        details, history = client.get(location).json(), client.get(path).json()
        check(details, "DatasetRefreshDetail")
        check(history, "Refreshes")
        for entry in history["value"]:
            check(entry, "Refresh")
        return details

    assert check_all()["extendedStatus"] in ("InProgress", end.title())
    if end == "cancelled":
        client.delete(location)
    emulators.ledger.wait_for(f"refresh_{end}")
    assert check_all()["extendedStatus"] == end.title()


def test_dataflow_transactions(client, check, emulators):
    client.post(f"groups/{GROUP}/dataflows/{FLOW}/refreshes", json={"notifyOption": "NoNotification"})
    emulators.ledger.wait_for("dataflow_refresh_completed")
    answer = client.get(f"groups/{GROUP}/dataflows/{FLOW}/transactions").json()
    check(answer, "DataflowTransactions")
    check(answer["value"][0], "DataflowTransaction")
    cancelled = client.post(f"groups/{GROUP}/dataflows/transactions/{answer['value'][0]['id']}/cancel").json()
    check(cancelled, "DataflowTransactionStatus")
