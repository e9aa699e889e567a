"""Lists of Dataform whose page token never ends: one clear error, or a job's end without its details."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from typing import Any

import grpc
import pytest
from airflow.sdk.exceptions import AirflowFailException
from google.cloud.dataform_v1 import types

from tests.provider.operators.dataform_world import invocation
from tests.provider.operators.waits import SHORT_WAITS

pytestmark = pytest.mark.timeout(120)

REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"
NAME = f"{REPOSITORY}/workflowInvocations/one"
LISTED = 1000
PAGE = 100
BUDGET = replace(SHORT_WAITS, listed=LISTED, details=2)


class EndlessDataform:
    """A Dataform of the real wire protocol that repeats a page for ever; of its invocation it knows the end."""

    def __init__(self, entries: int) -> None:
        self.pages = 0
        self.created = 0
        self._entries = entries
        methods: dict[str, tuple[Any, Any, Any]] = {
            "ListWorkflowInvocations": (types.ListWorkflowInvocationsRequest, types.ListWorkflowInvocationsResponse, self._list),
            "CreateCompilationResult": (types.CreateCompilationResultRequest, types.CompilationResult, self._compile),
            "CreateWorkflowInvocation": (types.CreateWorkflowInvocationRequest, types.WorkflowInvocation, self._create),
            "GetWorkflowInvocation": (types.GetWorkflowInvocationRequest, types.WorkflowInvocation, self._get),
            "QueryWorkflowInvocationActions": (
                types.QueryWorkflowInvocationActionsRequest,
                types.QueryWorkflowInvocationActionsResponse,
                self._actions,
            ),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(call, asked.deserialize, answered.serialize)
            for name, (asked, answered, call) in methods.items()
        }
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("google.cloud.dataform.v1.Dataform", handlers),)
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def _list(self, request: Any, context: Any) -> Any:
        self.pages += 1
        found = [types.WorkflowInvocation(name=NAME, workflow_config="another") for _ in range(self._entries)]
        return types.ListWorkflowInvocationsResponse(workflow_invocations=found, next_page_token="same")

    def _actions(self, request: Any, context: Any) -> Any:
        self.pages += 1
        found = [types.WorkflowInvocationAction() for _ in range(self._entries)]
        return types.QueryWorkflowInvocationActionsResponse(workflow_invocation_actions=found, next_page_token="same")

    def _compile(self, request: Any, context: Any) -> Any:
        return types.CompilationResult(name=f"{REPOSITORY}/compilationResults/one")

    def _create(self, request: Any, context: Any) -> Any:
        self.created += 1
        return types.WorkflowInvocation(name=NAME)

    def _get(self, request: Any, context: Any) -> Any:
        return types.WorkflowInvocation(name=NAME, state=types.WorkflowInvocation.State.SUCCEEDED)


@pytest.fixture(params=[PAGE, 0], ids=["full pages", "empty pages"])
def endless(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EndlessDataform]:
    service = EndlessDataform(request.param)
    service.server.start()
    extra = {"is_anonymous": True, "dataform_endpoint": f"http://127.0.0.1:{service.port}"}
    connection = {"conn_type": "google_cloud_platform", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
    yield service
    service.server.stop(None)


def pages_at_most(request: pytest.FixtureRequest) -> float:
    """Pages with entries end by their number, and empty ones by the time that a list may take."""
    return LISTED / PAGE + 1 if request.node.callspec.params["endless"] else float("inf")


def test_start_that_must_look_through_it_fails_and_starts_nothing(endless, life, request):
    task = life(lambda: invocation(workflow_config="nightly", http_timeout=0.5, budget=BUDGET))

    with pytest.raises(AirflowFailException, match="ListWorkflowInvocations .* goes on after .* entries; given up"):
        task.run()

    assert endless.pages <= pages_at_most(request)
    assert endless.created == 0


def test_actions_of_an_invocation_that_has_succeeded(endless, life, request, capsys):
    result = life(lambda: invocation(git_commitish="main", http_timeout=0.5, budget=BUDGET)).run()

    assert (result["state"], result["actions"]) == ("SUCCEEDED", [])
    assert "goes on after" in capsys.readouterr().out
    assert endless.pages <= pages_at_most(request)
