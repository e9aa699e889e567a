"""
Runs google-cloud-dataform and the Google provider's operators, all as they are installed, one after the other.

A process of its own: gRPC reads the proxy and the certificate authority of its environment once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.peers.one_task import TaskLife

PARENT = "projects/demo-project/locations/europe-west3/repositories/sales"
PLACE = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales"}


def run(kind: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Run an operator or a sensor to its end."""
    path = f"airflow.providers.google.cloud.{kind}s.dataform.Dataform{name}"
    told = TaskLife({"operator": path, "arguments": {**PLACE, **arguments}}).run()
    return {"outcome": told["outcome"], "error": told["error"], "result": told["result"]}


def last_part(answer: dict[str, Any]) -> str:
    """Return the id in the name of a resource."""
    return str(answer["result"]["name"]).rpartition("/")[2]


def operators() -> dict[str, Any]:
    """Compile, get, run and wait, run and leave, watch, query, cancel."""
    compiled = run("operator", "CreateCompilationResultOperator", compilation_result={"git_commitish": "main"})
    one = {"compilation_result": compiled["result"]["name"], "invocation_config": {"included_targets": [{"name": "orders"}]}}
    slow = {**one, "invocation_config": {"included_targets": [{"name": "slow"}]}}
    bad = {**one, "invocation_config": {"included_targets": [{"name": "bad"}]}}
    waited = run("operator", "CreateWorkflowInvocationOperator", workflow_invocation=one, wait_time=1)
    left = run("operator", "CreateWorkflowInvocationOperator", workflow_invocation=slow, asynchronous=True)
    watched = run("operator", "CreateWorkflowInvocationOperator", workflow_invocation=one, asynchronous=True)
    sensing = {"workflow_invocation_id": last_part(watched), "poke_interval": 0.5, "timeout": 30}
    return {
        "compiled": compiled,
        "got compilation": run("operator", "GetCompilationResultOperator", compilation_result_id=last_part(compiled)),
        "waited": waited,
        "failed": run("operator", "CreateWorkflowInvocationOperator", workflow_invocation=bad, wait_time=1),
        "left": left,
        "sensed": run("sensor", "WorkflowInvocationStateSensor", expected_statuses=2, **sensing),
        "action sensed": run(
            "sensor",
            "WorkflowInvocationActionStateSensor",
            target_name="orders",
            expected_statuses=[4],
            failure_statuses=[6],
            **sensing,
        ),
        "got": run("operator", "GetWorkflowInvocationOperator", workflow_invocation_id=last_part(waited)),
        "actions": run("operator", "QueryWorkflowInvocationActionsOperator", workflow_invocation_id=last_part(waited)),
        "cancelled": run("operator", "CancelWorkflowInvocationOperator", workflow_invocation_id=last_part(left)),
    }


def clients() -> dict[str, Any]:
    """Run an invocation with the vendor's blocking and its asynchronous client, at the address they have built in."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import dataform_v1

    async def asynchronous() -> str:
        client = dataform_v1.DataformAsyncClient(credentials=AnonymousCredentials())
        made = await client.create_workflow_invocation(
            parent=PARENT, workflow_invocation=dataform_v1.WorkflowInvocation(workflow_config=f"{PARENT}/workflowConfigs/all")
        )
        return (await client.get_workflow_invocation(name=made.name)).name

    client = dataform_v1.DataformClient(credentials=AnonymousCredentials())
    config = client.get_workflow_config(name=f"{PARENT}/workflowConfigs/all")
    return {"config": config.name, "asynchronous": asyncio.run(asynchronous())}


if __name__ == "__main__":
    found = {"operators": operators, "clients": clients}[sys.argv[1]]()
    sys.stdout.write("\n" + json.dumps(found, default=str) + "\n")
