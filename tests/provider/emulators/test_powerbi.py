from __future__ import annotations

import json

import pytest

WORKSPACE, OTHER = "11111111-1111-4111-8111-111111111111", "33333333-3333-4333-8333-333333333333"
FAILURE = {"errorCode": "ModelRefreshFailed_CredentialsNotSpecified", "errorDescription": "No credentials."}
ALREADY = "Invalid dataset refresh request. Another refresh request is already executing"
MODELS = [
    {"id": "quick", "name": "Quick", "seconds": 0.1, "tables": {"Sales": ["2025", "2026"], "Date": ["Date"]}},
    {"id": "slow", "name": "Slow", "seconds": 600},
    {"id": "older", "name": "Older", "seconds": 600, "already_running_status": 409},
    {"id": "bad", "name": "Bad", "seconds": 0.05, "fails": FAILURE},
    {"id": "flaky", "name": "Flaky", "seconds": 0.05, "fails": FAILURE, "failing_refreshes": 1},
    {"id": "lagging", "name": "Lagging", "seconds": 0.05, "history_lag_seconds": 600},
    {"id": "silent", "name": "Silent", "seconds": 0.05, "refresh_id_headers": []},
    {"id": "plain", "name": "Plain", "seconds": 0.05, "refresh_id_headers": ["x-ms-request-id"]},
    {"id": "legacy", "name": "Legacy", "seconds": 0.05, "refresh_id_headers": ["RequestId"]},
    {
        "id": "odd",
        "name": "Odd",
        "seconds": 0.05,
        "history_refresh_type": "ReliableProcessing",
        "extended_status_in_history": False,
    },
]
SCENARIO = {
    "powerbi": {
        "workspaces": [
            {
                "id": WORKSPACE,
                "name": "Sales' own",
                "semantic_models": MODELS,
                "dataflows": [
                    {"id": "flow", "name": "Flow", "seconds": 0.1},
                    {"id": "dam", "name": "Dam", "seconds": 600},
                    {"id": "leak", "name": "Leak", "seconds": 0.05, "fails": True},
                ],
                "reports": [
                    {"id": "shared", "name": "Shared", "datasetId": "elsewhere", "datasetWorkspaceId": OTHER},
                    {"id": "printed", "name": "Printed"},
                ],
            },
            {"id": OTHER, "name": "Inventory"},
        ]
    }
}


@pytest.fixture
def emulators(start):
    return start(SCENARIO)


@pytest.fixture
def client(emulators, powerbi_client):
    return powerbi_client(emulators)


def url(model, tail=""):
    return f"groups/{WORKSPACE}/datasets/{model}/refreshes{tail}"


def posted(client, model="quick", **body):
    response = client.post(url(model), json=body or {"type": "full"})
    assert response.status_code == 202, response.text
    return response


def code(response):
    return response.status_code, response.json()["error"]["code"]


def test_workspaces(client):
    assert [item["name"] for item in client.get("groups").json()["value"]] == ["Sales' own", "Inventory"]
    by_name = client.get("groups", params={"$filter": "name eq 'Sales'' own'"}).json()["value"]
    assert [item["id"] for item in by_name] == [WORKSPACE]
    assert client.get("groups", params={"$filter": "name eq 'Nobody'"}).json()["value"] == []
    assert len(client.get("groups", params={"$top": 1}).json()["value"]) == 1
    assert client.get("groups", params={"$top": 1, "$skip": 1}).json()["value"][0]["id"] == OTHER
    assert client.get(f"groups/{WORKSPACE}").json()["id"] == WORKSPACE
    assert code(client.get("groups", params={"$filter": "isReadOnly eq false"})) == (400, "BadRequest")
    assert code(client.get("groups", params={"$top": 0})) == (400, "BadRequest")


def test_names_are_filtered_with_case(client):
    """As OData's ``eq`` compares."""
    for name in ("inventory", "INVENTORY", "Inventory ", "Inventor"):
        assert client.get("groups", params={"$filter": f"name eq '{name}'"}).json()["value"] == []
    assert len(client.get("groups", params={"$filter": "name eq 'Inventory'"}).json()["value"]) == 1


def test_the_profile_of_a_request_is_recorded(client, emulators):
    header, profile = "X-PowerBI-profile-id", "81f24a6d-7ebb-4478-99c7-2c36f7870a26"

    assert client.get("groups").status_code == 200
    assert emulators.ledger.entries(operation="profile_named") == []
    assert client.get("groups", headers={header: profile}).status_code == 200
    assert code(client.get("groups", headers={header: "Contoso"})) == (400, "BadRequest")
    twice = [(header, profile), (header, profile)]
    assert code(client.get("groups", headers=twice)) == (401, "PowerBINotAuthorizedException")

    first, *_ = emulators.ledger.entries(operation="profile_named")
    assert (first.service, first.resource, dict(first.detail)) == ("powerbi", "GET /v1.0/myorg/groups", {"profile_id": profile})


def test_content_of_a_workspace(client):
    assert len(client.get(f"groups/{WORKSPACE}/datasets").json()["value"]) == len(MODELS)
    assert client.get(f"groups/{WORKSPACE}/datasets/quick").json()["name"] == "Quick"
    assert client.get(f"groups/{WORKSPACE}/dataflows").json()["value"][0]["objectId"] == "flow"
    assert client.get(f"groups/{WORKSPACE}/reports/shared").json()["datasetWorkspaceId"] == OTHER
    printed = client.get(f"groups/{WORKSPACE}/reports").json()["value"][1]
    assert printed["reportType"] == "PaginatedReport"
    assert "datasetId" not in printed


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("groups/nobody", "PowerBIEntityNotFound"),
        (f"groups/{WORKSPACE}/datasets/nobody", "ItemNotFound"),
        (f"groups/{OTHER}/datasets/quick", "ItemNotFound"),
        (f"groups/{WORKSPACE}/datasets/quick/refreshes/nobody", "ItemNotFound"),
        (f"groups/{WORKSPACE}/reports/nobody", "PowerBIEntityNotFound"),
        (f"groups/{WORKSPACE}/dataflows/nobody/transactions", "DataflowNotFound"),
    ],
)
def test_not_found(client, emulators, path, expected):
    response = client.get(path)
    assert code(response) == (404, expected)
    assert response.headers["RequestId"]
    assert emulators.ledger.entries("powerbi", "refused")[0].outcome == expected


def test_enhanced_refresh_from_start_to_end(client, emulators):
    running = client.get(posted(client, "slow").headers["location"])
    assert running.status_code == 202
    assert (running.json()["status"], running.json()["extendedStatus"]) == ("Unknown", "InProgress")
    assert "endTime" not in running.json()

    location = posted(client, type="full", objects=[{"table": "Sales"}]).headers["location"]
    emulators.ledger.wait_for("refresh_completed", location.rpartition("/")[2])
    done = client.get(location)
    assert done.status_code == 200
    assert (done.json()["status"], done.json()["extendedStatus"]) == ("Completed", "Completed")
    assert done.json()["objects"] == [
        {"table": "Sales", "partition": "2025", "status": "Completed"},
        {"table": "Sales", "partition": "2026", "status": "Completed"},
    ]
    assert done.json()["endTime"].endswith("Z")
    entry = client.get(url("quick"), params={"$top": 1}).json()["value"][0]
    assert entry["requestId"] == location.rpartition("/")[2]
    assert (entry["refreshType"], entry["status"]) == ("ViaEnhancedApi", "Completed")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"notifyOption": "NoNotification"}'])
def test_regular_refresh_is_in_the_history_only(client, content):
    refresh_id = client.post(url("slow"), content=content).headers["x-ms-request-id"]
    assert code(client.get(url("slow", f"/{refresh_id}"))) == (404, "ItemNotFound")
    assert code(client.delete(url("slow", f"/{refresh_id}"))) == (404, "ItemNotFound")
    entry = client.get(url("slow")).json()["value"][0]
    assert (entry["requestId"], entry["refreshType"], entry["status"]) == (refresh_id, "ViaApi", "Unknown")


def test_history_is_cut_newest_first(client, emulators):
    ids = []
    for _ in range(3):
        ids.append(posted(client, "plain").headers["x-ms-request-id"])
        emulators.ledger.wait_for("refresh_completed", ids[-1])
    assert [item["requestId"] for item in client.get(url("plain")).json()["value"]] == ids[::-1]
    assert [item["requestId"] for item in client.get(url("plain"), params={"$top": 2}).json()["value"]] == ids[:0:-1]


@pytest.mark.parametrize(
    ("model", "headers"),
    [
        ("quick", {"location", "x-ms-request-id"}),
        ("plain", {"x-ms-request-id"}),
        ("legacy", {"requestid"}),
        ("silent", set()),
    ],
)
def test_where_the_refresh_id_is(client, emulators, model, headers):
    response = posted(client, model)
    assert headers == {"location", "x-ms-request-id", "requestid"} & set(response.headers)
    refresh_id = client.get(url(model)).json()["value"][0]["requestId"]
    assert all(response.headers[name].endswith(refresh_id) for name in headers)


@pytest.mark.parametrize(("model", "status"), [("slow", 400), ("older", 409)])
def test_one_refresh_at_a_time(client, emulators, model, status):
    posted(client, model)
    refused = client.post(url(model), json={"type": "full"})
    assert refused.status_code == status
    assert refused.json()["error"] == {"code": "InvalidRequest", "message": ALREADY}
    assert len(emulators.ledger.entries("powerbi", "refresh_posted")) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"type": "everything"},
        {"type": "full", "notifyOption": "MailOnFailure"},
        {"commitMode": "partialBatch"},
        {"maxParallelism": 0},
        {"maxParallelism": "10"},
        {"retryCount": -1},
        {"timeout": "24:00:00"},
        {"timeout": "5 hours"},
        {"effectiveDate": "yesterday"},
        {"objects": [{"partition": "2025"}]},
        {"object": []},
        {"notifyOption": "Never"},
    ],
)
def test_bodies_that_the_documentation_forbids(client, emulators, body):
    response = client.post(url("quick"), json=body)
    assert code(response) == (400, "InvalidRequest")
    assert not emulators.ledger.entries("powerbi", "refresh_posted")


@pytest.mark.parametrize("content", [b"[]", b"{", b'"full"'])
def test_bodies_that_are_no_object(client, content):
    assert code(client.post(url("quick"), content=content)) == (400, "BadRequest")


def test_all_parameters(client):
    posted(
        client,
        type="dataOnly",
        commitMode="partialBatch",
        maxParallelism=4,
        retryCount=2,
        applyRefreshPolicy=False,
        effectiveDate="2026-01-02",
        timeout="02:00:00",
        objects=[{"table": "Sales", "partition": "2026"}],
    )


def test_failed_refresh(client, emulators):
    location = posted(client, "bad", retryCount=1).headers["location"]
    entry = emulators.ledger.wait_for("refresh_failed")[0]
    assert entry.detail["errorCode"] == FAILURE["errorCode"]
    details = client.get(location).json()
    assert (details["status"], details["extendedStatus"]) == ("Failed", "Failed")
    assert details["messages"] == [{"code": FAILURE["errorCode"], "message": FAILURE["errorDescription"], "type": "Error"}]
    assert details["numberOfAttempts"] == 2
    history = client.get(url("bad")).json()["value"][0]
    assert json.loads(history["serviceExceptionJson"]) == FAILURE
    assert [json.loads(attempt["serviceExceptionJson"]) for attempt in history["refreshAttempts"]] == [FAILURE] * 2


def test_failing_refreshes_end(client, emulators):
    posted(client, "flaky")
    emulators.ledger.wait_for("refresh_failed")
    posted(client, "flaky")
    emulators.ledger.wait_for("refresh_completed")


def test_unknown_table_fails_the_refresh(client, emulators):
    location = posted(client, objects=[{"table": "Purchases"}]).headers["location"]
    emulators.ledger.wait_for("refresh_failed")
    assert "Purchases" in client.get(location).json()["messages"][0]["message"]


def test_timeout(client, emulators):
    location = posted(client, "slow", timeout="00:00:01").headers["location"]
    emulators.ledger.wait_for("refresh_timed_out")
    details = client.get(location).json()
    assert (details["status"], details["extendedStatus"]) == ("Failed", "TimedOut")
    assert "00:00:01" in details["messages"][0]["message"]


def test_cancel(client, emulators):
    location = posted(client, "slow").headers["location"]
    assert client.delete(location).status_code == 200
    emulators.ledger.wait_for("refresh_cancelled")
    details = client.get(location)
    assert details.status_code == 200
    assert details.json()["extendedStatus"] == "Cancelled"
    assert client.get(url("slow")).json()["value"][0]["status"] == "Cancelled"
    assert code(client.delete(location)) == (400, "InvalidRequest")
    posted(client, "slow")


def test_history_that_lags(client, emulators):
    location = posted(client, "lagging").headers["location"]
    emulators.ledger.wait_for("refresh_completed")
    assert client.get(location).json()["status"] == "Completed"
    assert client.get(url("lagging")).json()["value"] == []


def test_history_that_differs_from_the_documentation(client):
    posted(client, "odd")
    entry = client.get(url("odd")).json()["value"][0]
    assert entry["refreshType"] == "ReliableProcessing"
    assert "extendedStatus" not in entry


def flow(name, tail="transactions"):
    return f"groups/{WORKSPACE}/dataflows/{name}/{tail}"


def test_dataflow_refresh_tells_no_id(client, emulators):
    response = client.post(flow("flow", "refreshes"), json={"notifyOption": "NoNotification"})
    assert (response.status_code, response.content) == (200, b"")
    assert not {"location", "x-ms-request-id", "requestid"} & set(response.headers)
    transaction = client.get(flow("flow")).json()["value"][0]["id"]
    emulators.ledger.wait_for("dataflow_refresh_completed", transaction)
    assert client.get(flow("flow")).json()["value"][0]["status"] == "Success"
    assert client.get(flow("dam")).json()["value"] == []
    client.post(flow("dam", "refreshes"), json={"notifyOption": "NoNotification"})
    assert client.get(flow("dam")).json()["value"][0]["status"] == "InProgress"


def test_dataflow_that_fails(client, emulators):
    client.post(flow("leak", "refreshes"), json={"notifyOption": "NoNotification"})
    emulators.ledger.wait_for("dataflow_refresh_failed")
    assert client.get(flow("leak")).json()["value"][0]["status"] == "Failed"


def test_dataflow_refresh_needs_notify_option(client, emulators):
    assert code(client.post(flow("flow", "refreshes"), json={})) == (400, "InvalidRequest")
    assert client.get(flow("flow")).json()["value"] == []


def test_dataflow_cancel(client, emulators):
    client.post(flow("dam", "refreshes"), json={"notifyOption": "NoNotification"})
    transaction = client.get(flow("dam")).json()["value"][0]["id"]
    cancel = f"groups/{WORKSPACE}/dataflows/transactions/{{}}/cancel"
    answers = [client.post(cancel.format(item)).json() for item in (transaction, transaction, "nobody")]
    assert [answer["status"] for answer in answers] == ["successfullyMarked", "alreadyConcluded", "notFound"]
    emulators.ledger.wait_for("dataflow_refresh_cancelled", transaction)
    assert client.get(flow("dam")).json()["value"][0]["status"] == "Cancelled"


def test_tokens_are_checked(emulators, client, powerbi_client):
    assert code(powerbi_client(emulators, "made-up").get("groups")) == (401, "PowerBINotAuthorizedException")
    assert code(client.get("groups", headers={"Authorization": "Basic eA=="}))[0] == 401
    emulators.tokens.expire_all()
    assert code(client.get("groups")) == (403, "TokenExpired")
    assert code(client.post(url("quick"), json={"type": "full"})) == (403, "TokenExpired")
    assert not emulators.ledger.entries("powerbi", "refresh_posted")
    assert powerbi_client(emulators).get("groups").status_code == 200


def test_unknown_things_are_made_up(start, powerbi_client):
    emulators = start({"auto_create": True, "auto_seconds": 0.05})
    client = powerbi_client(emulators)
    group = client.get("groups", params={"$filter": "name eq 'Mine'"}).json()["value"][0]
    response = client.post(f"groups/{group['id']}/datasets/my-model/refreshes", json={"type": "full"})
    emulators.ledger.wait_for("refresh_completed", response.headers["x-ms-request-id"])
    client.post(f"groups/{group['id']}/dataflows/my-flow/refreshes", json={"notifyOption": "NoNotification"})
    emulators.ledger.wait_for("dataflow_refresh_completed")
