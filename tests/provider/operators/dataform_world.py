"""One Dataform repository with three actions, and the operator that runs it."""

from __future__ import annotations

from typing import Any

from provider.emulators.rules import Rule
from provider.operators.dataform import DataformWorkflowInvocationOperator
from tests.provider.operators.waits import FAST

REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"
#: Seconds for invocations that must still run when they are looked at for the first time, on a slow machine too.
LONG = 1.5
SALES: dict[str, Any] = {**FAST, "project_id": "demo-project", "region": "europe-west3", "repository_id": "sales"}


def dataform(**changes: Any) -> dict[str, Any]:
    """Return the repository: raw → orders (tag daily) → report."""
    actions = [
        {"target": {"name": "raw", "schema": "staging"}, "seconds": 0.1},
        {"target": {"name": "orders", "schema": "mart"}, "seconds": 0.1, "depends_on": ["raw"], "tags": ["daily"]},
        {"target": {"name": "report", "schema": "mart"}, "seconds": 0.1, "depends_on": ["orders"]},
    ]
    repository = {
        "actions": actions,
        "release_configs": [{"name": "production", "vars": {"env": "prod"}}],
        "workflow_configs": [{"name": "nightly", "release_config": "production", "included_tags": ["daily"]}],
        **changes,
    }
    return {"dataform": {"repositories": {REPOSITORY: repository}}}


def one_action(seconds: float = LONG, **changes: Any) -> dict[str, Any]:
    """Return the repository with one action alone."""
    action = {"target": {"name": "orders", "schema": "mart"}, "seconds": seconds, **changes}
    return dataform(actions=[action], release_configs=[], workflow_configs=[])


def invocation(**kwargs: Any) -> DataformWorkflowInvocationOperator:
    return DataformWorkflowInvocationOperator(**{**SALES, **kwargs})


def of_main(**kwargs: Any) -> DataformWorkflowInvocationOperator:
    return invocation(git_commitish="main", **kwargs)


def started(cloud: Any) -> list[Any]:
    return [entry for entry in cloud.ledger.entries(operation="create_workflow_invocation") if entry.outcome == "ok"]


def cancelled(cloud: Any) -> list[str]:
    """Return the invocations that somebody asked to cancel."""
    return [entry.resource for entry in cloud.ledger.entries(operation="cancel_workflow_invocation")]


def disturb(cloud: Any, method: str, **fault: Any) -> int:
    """Put a fault of Dataform in force; the value is its id."""
    number: int = cloud.rules.add(Rule.model_validate({"service": "dataform", "match": method, "fault": "status", **fault}))
    return number
