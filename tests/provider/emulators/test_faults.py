"""Every kind of fault on every wire, seen by the vendors' clients."""

from __future__ import annotations

import grpc
import httpx
import msal
import pytest
from google.api_core import exceptions
from google.cloud import dataform_v1
from google.pubsub_v1 import PublisherClient

REPOSITORY = "projects/demo/locations/europe-west3/repositories/sales"
SCENARIO = {
    "dataform": {"repositories": {REPOSITORY: {"actions": [{"target": {"name": "a"}, "seconds": 0.05}]}}},
    "powerbi": {"workspaces": [{"id": "g", "name": "G", "semantic_models": [{"id": "d", "name": "D", "seconds": 600}]}]},
    "pubsub": {"project": "demo-project", "topics": [{"name": "topic"}]},
}
REFRESHES = "groups/g/datasets/d/refreshes"
SCOPE = "https://analysis.windows.net/powerbi/api/.default"


@pytest.fixture
def emulators(start):
    return start(SCENARIO)


@pytest.fixture
def powerbi(emulators, powerbi_client):
    return powerbi_client(emulators)


@pytest.fixture
def dataform(emulators, dataform_client):
    return dataform_client(dataform_v1, emulators)


@pytest.fixture
def rule(emulators):
    """Add a rule the way a person would, through the admin interface."""

    def add(**fields):
        response = httpx.post(f"{emulators.admin_url}/_emulator/rules", json=fields)
        assert response.status_code == 201, response.text
        return response.json()["id"]

    return add


def compiled(client):
    return client.create_compilation_result(parent=REPOSITORY, compilation_result={"git_commitish": "main"})


def test_http_status_with_retry_after(emulators, powerbi, rule):
    rule(service="powerbi", match="POST */refreshes", fault="status", http_status=429, retry_after=7)
    response = powerbi.post(REFRESHES, json={"type": "full"})
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert response.json()["error"]["code"] == "InjectedFault"
    assert not emulators.ledger.entries(operation="refresh_posted")
    assert powerbi.post(REFRESHES, json={"type": "full"}).status_code == 202


def test_http_status_with_body_after_the_work(emulators, powerbi, rule):
    rule(service="powerbi", match="POST *", fault="status", http_status=503, when="after", body="Busy", headers={"X-A": "b"})
    response = powerbi.post(REFRESHES, json={"type": "full"})
    assert (response.status_code, response.text, response.headers["X-A"]) == (503, "Busy", "b")
    assert len(emulators.ledger.entries(operation="refresh_posted")) == 1


@pytest.mark.parametrize(("when", "posted"), [("before", 0), ("after", 1)])
def test_http_connection_lost(emulators, powerbi, rule, when, posted):
    rule(service="powerbi", match="POST *", fault="drop", when=when)
    with pytest.raises(httpx.TransportError) as lost:
        powerbi.post(REFRESHES, json={"type": "full"})
    assert not isinstance(lost.value, httpx.TimeoutException)
    assert len(emulators.ledger.entries(operation="refresh_posted")) == posted
    assert powerbi.get(REFRESHES).status_code == 200


@pytest.mark.parametrize(("when", "posted"), [("before", 0), ("after", 1)])
def test_http_delay(emulators, powerbi, rule, when, posted):
    rule(service="powerbi", match="POST *", fault="delay", seconds=600, when=when)
    with pytest.raises(httpx.ReadTimeout):
        powerbi.post(REFRESHES, json={"type": "full"}, timeout=0.5)
    assert len(emulators.ledger.entries(operation="refresh_posted")) == posted


def test_http_short_delay_answers(powerbi, rule):
    for when in ("before", "after"):
        rule(service="powerbi", match="GET *", fault="delay", seconds=0.01, when=when)
        assert powerbi.get("groups").json()["value"]


def test_entra_status(emulators, entra_app, rule):
    app = entra_app(emulators)
    rule(service="entra", match="POST */token", fault="status", http_status=503, body={"error": "temporarily_unavailable"})
    with pytest.raises(msal.exceptions.MsalServiceError, match="503"):
        app.acquire_token_for_client([SCOPE])
    assert not emulators.ledger.entries(operation="token")


def test_grpc_status(emulators, dataform, rule):
    rule(service="dataform", match="Create*", fault="status", grpc_status="RESOURCE_EXHAUSTED", message="Quota", retry_after=9)
    with pytest.raises(exceptions.ResourceExhausted, match="Quota") as refused:
        compiled(dataform)
    assert ("retry-after", "9") in refused.value.errors[0].trailing_metadata()
    assert not emulators.ledger.entries(operation="create_compilation_result")
    assert compiled(dataform).name


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_grpc_connection_lost(emulators, dataform, rule, when, created):
    rule(service="dataform", match="CreateCompilationResult", fault="drop", when=when)
    with pytest.raises(exceptions.ServiceUnavailable):
        compiled(dataform)
    assert len(emulators.ledger.entries(operation="create_compilation_result")) == created


@pytest.mark.parametrize(("when", "created"), [("before", 0), ("after", 1)])
def test_grpc_delay(emulators, dataform, rule, when, created):
    rule(service="dataform", match="CreateCompilationResult", fault="delay", seconds=600, when=when)
    with pytest.raises(exceptions.DeadlineExceeded):
        dataform.create_compilation_result(
            parent=REPOSITORY, compilation_result={"git_commitish": "main"}, timeout=0.5, retry=None
        )
    assert len(emulators.ledger.entries(operation="create_compilation_result")) == created


def test_pubsub_status(emulators, rule):
    rule(service="pubsub", match="Publish", fault="status", grpc_status="PERMISSION_DENIED")
    with grpc.insecure_channel(emulators.pubsub_host) as channel:
        client = PublisherClient(transport=PublisherClient.get_transport_class("grpc")(channel=channel))
        message = {"topic": "projects/demo-project/topics/topic", "messages": [{"data": b"x"}]}
        with pytest.raises(exceptions.PermissionDenied):
            client.publish(request=message)
        assert client.publish(request=message).message_ids


def test_faults_are_in_the_ledger(emulators, powerbi, rule):
    rule(service="powerbi", match="GET */groups", fault="status", http_status=500)
    powerbi.get("groups")
    entry = emulators.ledger.entries("powerbi", "fault")[0]
    assert (entry.resource, entry.outcome, entry.detail["when"]) == ("GET /v1.0/myorg/groups", "status", "before")


def test_rules_of_the_scenario_and_their_removal(start, powerbi_client):
    always = {"service": "powerbi", "fault": "status", "http_status": 500, "times": None}
    emulators = start({**SCENARIO, "rules": [always]})
    client = powerbi_client(emulators)
    assert [client.get("groups").status_code for _ in range(2)] == [500, 500]
    rules = httpx.get(f"{emulators.admin_url}/_emulator/rules").json()
    assert [(item["hits"], item["http_status"]) for item in rules] == [(2, 500)]
    one = f"{emulators.admin_url}/_emulator/rules/{rules[0]['id']}"
    assert [httpx.delete(one).status_code for _ in range(2)] == [204, 404]
    assert client.get("groups").status_code == 200
    emulators.rules.add(emulators.scenario.rules[0])
    assert httpx.delete(f"{emulators.admin_url}/_emulator/rules").status_code == 204
    assert client.get("groups").status_code == 200
