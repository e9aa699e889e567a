"""google-cloud-dataform and the Google provider's Dataform operators, as installed, at the address they have built in."""

from __future__ import annotations

import pytest

REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"
SCENARIO = {
    "dataform": {
        "repositories": {
            REPOSITORY: {
                "actions": [
                    {"target": {"name": "orders", "schema": "mart"}, "seconds": 0.2},
                    {"target": {"name": "bad"}, "seconds": 0.2, "failure_reason": "no such column"},
                    {"target": {"name": "slow"}, "seconds": 600},
                ],
                "release_configs": [{"name": "production"}],
                "workflow_configs": [{"name": "all", "release_config": "production", "included_targets": ["orders"]}],
            }
        }
    }
}


@pytest.fixture
def google(connect):
    return connect(SCENARIO)


def test_operators_and_sensors_of_the_google_provider(google):
    seen = google.script("-m", "tests.peers.google_clients", "operators")

    unexpected = {name: answer["error"] for name, answer in seen.items() if answer["outcome"] != "success"}
    assert unexpected.keys() == {"failed"}
    assert "Workflow Invocation failed" in unexpected["failed"]
    assert seen["got compilation"]["result"]["name"] == seen["compiled"]["result"]["name"]
    assert seen["got"]["result"]["name"] == seen["waited"]["result"]["name"]
    assert seen["got"]["result"]["state"] == 2  # SUCCEEDED
    [action] = seen["actions"]["result"]
    assert (action["target"]["name"], action["state"]) == ("orders", 4)  # SUCCEEDED
    assert google.ledger.wait_for("workflow_invocation_cancelled", seen["left"]["result"]["name"])
    assert len(google.ledger.entries("dataform", "create_workflow_invocation")) == 4
    assert google.front.connections >= len(seen)  # that provider makes a client for each call


def test_clients_of_the_vendor(google):
    seen = google.script("-m", "tests.peers.google_clients", "clients")

    assert seen["config"] == f"{REPOSITORY}/workflowConfigs/all"
    assert google.ledger.wait_for("workflow_invocation_succeeded", seen["asynchronous"])
    assert google.front.connections == 2
