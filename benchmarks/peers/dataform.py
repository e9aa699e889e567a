"""The defects that the Google provider's Dataform operators were found to have."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.scenario import PeerScenario, Seen, Verdict
from provider.emulators.rules import Rule
from provider.emulators.server import Emulators

REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"
REASON = "Column amount does not exist"
BROKEN_FILE = "definitions/orders.sqlx"
CREATE = "apache-airflow-providers-google: DataformCreateWorkflowInvocationOperator"
COMPILE = "apache-airflow-providers-google: DataformCreateCompilationResultOperator"
_PLACE = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales"}
_OPERATORS = "airflow.providers.google.cloud.operators.dataform"


def cloud(*, seconds: float, failure_reason: str | None = None, broken: bool = False) -> dict[str, Any]:
    """Return a repository of one action and a workflow config that runs it."""
    repository: dict[str, Any] = {
        "actions": [{"target": {"name": "orders", "schema": "mart"}, "seconds": seconds, "failure_reason": failure_reason}],
        "release_configs": [{"name": "production"}],
        "workflow_configs": [{"name": "all", "release_config": "production"}],
    }
    if broken:
        repository["compilation_errors"] = [{"message": "Unexpected token", "path": BROKEN_FILE}]
    return {"dataform": {"repositories": {REPOSITORY: repository}}}


def theirs(*, tries: int = 1, **arguments: Any) -> dict[str, Any]:
    """Return the order for the Google provider's operator: run the workflow config, poll every second."""
    invocation = {"workflow_config": f"{REPOSITORY}/workflowConfigs/all"}
    arguments = {**_PLACE, "workflow_invocation": invocation, "wait_time": 1, **arguments}
    return {"operator": f"{_OPERATORS}.DataformCreateWorkflowInvocationOperator", "arguments": arguments, "tries": tries}


def ours(*, tries: int = 1, **arguments: Any) -> dict[str, Any]:
    """Return the order for our operator: the same."""
    if "git_commitish" not in arguments:
        arguments["workflow_config"] = "all"
    arguments = {**_PLACE, "poll_interval": 1, "initial_wait": 0, **arguments}
    return {"operator": "provider.operators.dataform.DataformWorkflowInvocationOperator", "arguments": arguments, "tries": tries}


def _lose(emulators: Emulators) -> None:
    """The invocation is deleted while it is waited for."""
    emulators.ledger.wait_for("create_workflow_invocation")
    rule = {
        "service": "dataform",
        "match": "GetWorkflowInvocation",
        "fault": "status",
        "grpc_status": "NOT_FOUND",
        "times": None,
    }
    emulators.rules.add(Rule.model_validate(rule))


def _frees_its_slot(seen: Seen) -> Verdict:
    state = (seen.result or {}).get("state")
    word = "RUNNING" if state == 1 else state  # that provider returns the enumeration's number
    return Verdict(seen.deferrals > 0 and word == "SUCCEEDED", f"deferred {seen.deferrals} times, returned state {word}")


def _succeeds(seen: Seen) -> Verdict:
    good = seen.outcome == "success"
    return Verdict(good, f"{seen.ending}; invocation cancelled: {'yes' if seen.count('cancel_workflow_invocation') else 'no'}")


def _ends_as_lost(seen: Seen) -> Verdict:
    good = "NOT_FOUND" in seen.error or "404" in seen.error
    return Verdict(good, f"{seen.ending} ({seen.calls} polls)")


def _names_the_reason(seen: Seen) -> Verdict:
    return Verdict(REASON in seen.error, seen.ending)


def _names_the_file(seen: Seen) -> Verdict:
    return Verdict(seen.outcome == "failed" and BROKEN_FILE in seen.error, seen.ending)


def _few_connections(seen: Seen) -> Verdict:
    # One for the worker's processes before and after the wait each, and one for the triggerer.
    good = seen.outcome == "success" and seen.connections <= 3
    return Verdict(good, f"{seen.connections} connections for {seen.calls} calls; {seen.outcome}")


def _created_once(seen: Seen) -> Verdict:
    created = seen.count("create_workflow_invocation")
    return Verdict(seen.outcome == "success" and created == 1, f"{created} invocations; {seen.ending}")


_DATAFORM = ("dataform", "*")

SCENARIOS = [
    PeerScenario(
        "invocation of 8 s: worker slot and returned state",
        CREATE,
        cloud(seconds=8),
        theirs(),
        ours(),
        _frees_its_slot,
        counted=_DATAFORM,
    ),
    PeerScenario(
        "3 s for a call, 60 s for a job of 8 s",
        CREATE,
        cloud(seconds=8),
        theirs(timeout=3),  # there is one setting for both
        ours(http_timeout=3, wait_timeout=60),
        _succeeds,
        counted=_DATAFORM,
    ),
    PeerScenario(
        "invocation deleted while it is waited for (404)",
        CREATE,
        cloud(seconds=600),
        theirs(timeout=15),
        ours(wait_timeout=15),
        _ends_as_lost,
        counted=("dataform", "GetWorkflowInvocation"),
        meanwhile=_lose,
    ),
    PeerScenario(
        "failed action",
        CREATE,
        cloud(seconds=1, failure_reason=REASON),
        theirs(),
        ours(),
        _names_the_reason,
        counted=_DATAFORM,
    ),
    PeerScenario(
        "code that does not compile",
        COMPILE,
        cloud(seconds=1, broken=True),
        {
            "operator": f"{_OPERATORS}.DataformCreateCompilationResultOperator",
            "arguments": {**_PLACE, "compilation_result": {"git_commitish": "main"}},
        },
        ours(git_commitish="main"),
        _names_the_file,
        counted=_DATAFORM,
    ),
    PeerScenario(
        "connections of one invocation of 12 s",
        CREATE,
        cloud(seconds=12),
        theirs(),
        ours(),
        _few_connections,
        counted=_DATAFORM,
    ),
    PeerScenario(
        "answer to the start lost, task retried",
        CREATE,
        cloud(seconds=3),
        theirs(tries=2),
        ours(tries=2),
        _created_once,
        rules=[
            {
                "service": "dataform",
                "match": "CreateWorkflowInvocation",
                "fault": "status",
                "grpc_status": "UNAVAILABLE",
                "when": "after",
            }
        ],
        counted=_DATAFORM,
    ),
]
