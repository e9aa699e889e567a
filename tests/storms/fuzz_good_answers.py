"""What the services say in peace, to be spoilt."""

from __future__ import annotations

import itertools
import json
from typing import Any

from google.cloud import dataform_v1
from google.protobuf.message import Message

WORKSPACE, MODEL, RUN = (f"{digit * 8}-1111-4111-8111-{digit * 12}" for digit in "123")
REPOSITORY = "projects/demo/locations/europe-west3/repositories/sales"
TIMES = {"startTime": "2026-11-28T05:00:00Z", "endTime": "2026-11-28T05:01:00Z"}
#: The task that starts a batch of another workflow.
STARTER = ["d", "r", "t", -1]


def power_bi(method: str, path: str) -> tuple[int, Any, dict[str, str]]:
    refresh = {"requestId": RUN, "id": RUN, "refreshType": "ViaEnhancedApi", "status": "Failed", **TIMES}
    refresh["serviceExceptionJson"] = json.dumps({"errorCode": "ModelRefreshFailed", "errorDescription": "no"})
    if method == "POST":
        return 202, {"status": "successful"}, {"Location": f"https://api.powerbi.com/x/refreshes/{RUN}", "RequestId": RUN}
    if method == "DELETE":
        return 200, {}, {}
    last = path.rpartition("/")[2]
    if last in ("refreshes", "transactions"):
        return 200, {"value": [refresh, {**refresh, "status": "Completed"}]}, {"Date": "Sat, 28 Nov 2026 05:00:00 GMT"}
    if last in ("groups", "datasets", "dataflows", "reports"):
        item = {"id": MODEL, "objectId": MODEL, "name": "Sales", "datasetId": MODEL, "datasetWorkspaceId": WORKSPACE}
        return 200, {"value": [item, {**item, "name": "Other"}]}, {}
    attempt = {"attemptId": 1, "type": "Data", "serviceExceptionJson": refresh["serviceExceptionJson"]}
    details = {
        **refresh,
        "extendedStatus": "Failed",
        "currentRefreshType": "Full",
        "numberOfAttempts": 2,
        "objects": [{"table": "t", "partition": "p", "status": "Failed"}],
        "messages": [{"code": "0x1", "message": "engine", "type": "Error"}],
        "refreshAttempts": [attempt],
    }
    return 200, details, {}


def entra(method: str, path: str) -> tuple[int, Any, dict[str, str]]:
    if method == "POST":
        return 200, {"access_token": "t" * 40, "expires_in": 3600, "token_type": "Bearer", "refresh_in": 1800}, {}
    base = "https://login.microsoftonline.com/contoso.com"
    ends = ("issuer", "authorization_endpoint", "token_endpoint", "device_authorization_endpoint")
    return 200, {**{end: f"{base}/{end}" for end in ends}, "tenant_discovery_endpoint": f"{base}/d", "metadata": []}, {}


#: Whether the next job has failed.
_FAILS = itertools.cycle((True, False))


def big_query(method: str, path: str) -> tuple[int, Any, dict[str, str]]:
    if "/queries/" in path:
        fields = [{"name": "day", "type": "DATE", "mode": "NULLABLE"}, {"name": "orders", "type": "INTEGER", "mode": "NULLABLE"}]
        rows = [{"f": [{"v": "2026-11-28"}, {"v": "7"}]}]
        place = {"projectId": "demo", "location": "EU", "jobId": "job_1"}
        whole = {"jobReference": place, "schema": {"fields": fields}, "rows": rows, "totalRows": "1", "jobComplete": True}
        return 200, {"kind": "bigquery#getQueryResultsResponse", **whole}, {}
    failed = {"reason": "invalidQuery", "message": "no such column", "location": "q"}
    query = {"query": "select 1", "destinationTable": {"projectId": "demo", "datasetId": "d", "tableId": "t"}}
    job = {
        "kind": "bigquery#job",
        "id": "demo:EU.job_1",
        "jobReference": {"projectId": "demo", "location": "EU", "jobId": "job_1"},
        "configuration": {"jobType": "QUERY", "query": query},
        "status": {"state": "DONE", **({"errorResult": failed, "errors": [failed]} if next(_FAILS) else {})},
        "statistics": {
            "creationTime": "1764300000000",
            "query": {"statementType": "SELECT", "totalBytesProcessed": "10", "totalBytesBilled": "10", "cacheHit": False},
        },
    }
    return 200, {"kind": "bigquery#jobCancelResponse", "job": job} if path.endswith("/cancel") else job, {}


def http_jobs(method: str, path: str) -> tuple[int, Any, dict[str, str]]:
    job = {"id": "1", "key": "0" * 32, "url": "http://jobs.example/1", "state": "succeeded", "error": "", "result": {"rows": 1}}
    return 200, job, {}


def airflow(method: str, path: str) -> tuple[int, Any, dict[str, str]]:
    if path == "/auth/token":
        return 201, {"access_token": "h.e.y"}, {}
    if path.endswith("/taskInstances"):
        return 200, {"task_instances": [{"task_id": "load", "state": "failed", "map_index": -1}], "total_entries": 1}, {}
    if path.endswith("/n.2"):  # the first id that is free
        return 404, {"detail": "no such run"}, {}
    conf = {"_accelerator": {"workflow_id": "w", "batch_id": "n", "started_by": STARTER, "chain": ["d"]}, "country": "de"}
    run = {"dag_id": "w", "dag_run_id": "n", "state": "failed", "conf": conf, "note": "", "start_date": TIMES["startTime"]}
    return 200, run, {}


def dataform(method: str) -> Message:
    name = f"{REPOSITORY}/workflowInvocations/one"
    failed = dataform_v1.WorkflowInvocation.State.FAILED
    invocation = dataform_v1.WorkflowInvocation(name=name, state=failed, compilation_result=f"{REPOSITORY}/compilationResults/1")
    action = {"target": {"schema": "s", "name": "n"}, "state": 4, "failure_reason": "no", "bigquery_action": {"job_id": "j"}}
    found: dict[str, Any] = {
        "CreateCompilationResult": dataform_v1.CompilationResult(name=f"{REPOSITORY}/compilationResults/1"),
        "ListWorkflowInvocations": dataform_v1.ListWorkflowInvocationsResponse(workflow_invocations=[invocation]),
        "QueryWorkflowInvocationActions": dataform_v1.QueryWorkflowInvocationActionsResponse(
            workflow_invocation_actions=[action]
        ),
        "CancelWorkflowInvocation": dataform_v1.CancelWorkflowInvocationResponse(),
    }
    message: Message = type(invocation).pb(invocation)
    if method in found:
        message = type(found[method]).pb(found[method])
    return message
