"""The defects of Power BI peers that ``PowerBIDatasetRefreshOperator`` of the Azure provider was found to have."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.scenario import PeerScenario, Seen, Verdict
from benchmarks.powerbi_client import signed_in
from provider.emulators.rules import Rule
from provider.emulators.server import Emulators

WORKSPACE_ID = "11111111-1111-4111-8111-111111111111"
MODEL_ID = "22222222-2222-4222-8222-222222222222"
REFRESHES = f"groups/{WORKSPACE_ID}/datasets/{MODEL_ID}/refreshes"
ALL_HEADERS = ["location", "x-ms-request-id", "RequestId"]
PEER = "apache-airflow-providers-microsoft-azure: PowerBIDatasetRefreshOperator"


def cloud(*, seconds: float, headers: list[str] | None = None) -> dict[str, Any]:
    """Return one semantic model; a refresh of it takes *seconds*."""
    model = {"id": MODEL_ID, "name": "Sales", "seconds": seconds, "refresh_id_headers": headers or ALL_HEADERS}
    return {"powerbi": {"workspaces": [{"id": WORKSPACE_ID, "name": "Finance", "semantic_models": [model]}]}}


def theirs(*, triggerer_dies_after: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Return the order for the Azure provider's operator: an enhanced refresh, polled every second."""
    return {
        "operator": "airflow.providers.microsoft.azure.operators.powerbi.PowerBIDatasetRefreshOperator",
        "arguments": {
            "conn_id": "azure_powerbi",
            "group_id": WORKSPACE_ID,
            "dataset_id": MODEL_ID,
            "request_body": {"type": "full"},
            "check_interval": 1,
            **arguments,
        },
        "triggerer_dies_after": triggerer_dies_after,
    }


def ours(*, triggerer_dies_after: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Return the order for our operator: the same refresh."""
    return {
        "operator": "provider.operators.powerbi.PowerBISemanticModelRefreshOperator",
        "arguments": {
            "workspace": WORKSPACE_ID,
            "semantic_model": MODEL_ID,
            "refresh": {"type": "full"},
            "poll_interval": 1,
            "initial_wait": 0,
            "http_timeout": 10,
            **arguments,
        },
        "triggerer_dies_after": triggerer_dies_after,
    }


def _cancel(emulators: Emulators) -> None:
    """A person cancels the refresh at the service."""
    posted = emulators.ledger.wait_for("refresh_posted")[0]
    with signed_in(emulators.environment(), emulators.ca_file) as client:
        client.delete(f"{REFRESHES}/{posted.resource}").raise_for_status()


def _fail_three_polls(emulators: Emulators) -> None:
    emulators.ledger.wait_for("refresh_posted")
    rule = {"service": "powerbi", "match": "GET */refreshes*", "fault": "status", "http_status": 500, "times": 3}
    emulators.rules.add(Rule.model_validate(rule))


def _expire_tokens(emulators: Emulators) -> None:
    emulators.ledger.wait_for("refresh_posted")
    emulators.tokens.expire_all()


def _start_foreign(emulators: Emulators) -> None:
    with signed_in(emulators.environment(), emulators.ca_file) as client:
        client.post(REFRESHES, json={"type": "full"}).raise_for_status()


def _ends_as_cancelled(seen: Seen) -> Verdict:
    text = seen.error.lower()
    return Verdict("cancel" in text and "timeout" not in text, f"{seen.ending} ({seen.calls} calls)")


def _refresh_survives(seen: Seen) -> Verdict:
    cancelled = seen.count("refresh_cancel_requested")
    good = seen.outcome == "success" and not cancelled
    return Verdict(good, f"{'DELETE of the healthy refresh; ' if cancelled else 'refresh left alone; '}{seen.ending}")


def _posted_once(seen: Seen) -> Verdict:
    good = seen.outcome == "success" and seen.calls == seen.count("refresh_posted") == 1
    return Verdict(good, f"{seen.calls} POST, {seen.count('refresh_posted')} refreshes started; {seen.ending}")


def _says_why(seen: Seen) -> Verdict:
    return Verdict("already" in seen.error.lower(), seen.ending)


def _follows_its_refresh(seen: Seen) -> Verdict:
    good = seen.outcome == "success" and seen.count("refresh_posted") == 1
    return Verdict(good, f"{seen.count('refresh_posted')} refresh started; {seen.ending}")


def _nothing_left(seen: Seen) -> Verdict:
    good = seen.outcome == "failed" and seen.count("refresh_cancelled") == 1
    return Verdict(good, f"refresh {'cancelled' if good else 'left running'}; {seen.ending}")


_POST: dict[str, Any] = {"service": "powerbi", "match": "POST */refreshes", "when": "after"}

SCENARIOS = [
    PeerScenario(
        "refresh cancelled at the service",
        PEER,
        cloud(seconds=600),
        theirs(timeout=20),
        ours(wait_timeout=20),
        _ends_as_cancelled,
        meanwhile=_cancel,
    ),
    PeerScenario(
        "three polls in a row answer 500",
        PEER,
        cloud(seconds=20),
        theirs(),
        ours(),
        _refresh_survives,
        meanwhile=_fail_three_polls,
    ),
    PeerScenario(
        "token expires while waiting (403 TokenExpired)",
        PEER,
        cloud(seconds=10),
        theirs(),
        ours(),
        _refresh_survives,
        meanwhile=_expire_tokens,
    ),
    PeerScenario(
        "triggerer dies once the refresh was posted",
        PEER,
        cloud(seconds=10),
        theirs(triggerer_dies_after="refresh_posted"),
        ours(triggerer_dies_after="refresh_posted"),
        _posted_once,
        rules=[{**_POST, "fault": "delay", "seconds": 3}],
        counted=("powerbi", "POST */refreshes"),
    ),
    PeerScenario(
        "start answers 503 after it was carried out",
        PEER,
        cloud(seconds=1),
        theirs(),
        ours(),
        _posted_once,
        rules=[{**_POST, "fault": "status", "http_status": 503}],
        counted=("powerbi", "POST */refreshes"),
    ),
    PeerScenario(
        "start refused because another refresh runs: the message",
        PEER,
        cloud(seconds=600),
        theirs(),
        ours(if_running="fail"),  # by default it waits, as the peer cannot
        _says_why,
        before=_start_foreign,
    ),
    PeerScenario(
        "refresh id in Location and x-ms-request-id",
        PEER,
        cloud(seconds=3, headers=["location", "x-ms-request-id"]),
        theirs(),
        ours(),
        _follows_its_refresh,
    ),
    PeerScenario(
        "wait ends by its timeout, the refresh is to be cancelled",
        PEER,
        cloud(seconds=600),
        theirs(timeout=8),
        ours(wait_timeout=8, cancel_on_timeout=True),
        _nothing_left,
    ),
]
