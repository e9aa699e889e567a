"""
Runs operators without a scheduler: try after try of one task instance, each in a "process" of its own.

The context has what the task runner gives an operator; a deferral goes through the trigger's serialized form, and the
trigger runs in an event loop of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time import task_runner
from airflow.sdk.serde import deserialize, serialize

from provider.airflow_internals import supervisor as task_supervisor
from provider.emulators.scenario import Scenario
from provider.emulators.server import Emulators
from provider.operators.remote_job import RemoteJobOperator
from tests.google_servers import GoogleServers
from tests.provider.hooks.airflow_api_server import Server
from tests.provider.operators.airflow_world import Airflow
from tests.provider.operators.http_service import HttpService, connect
from tests.provider.operators.supervisor import Supervisor
from tests.provider.operators.waits import FAST

if TYPE_CHECKING:
    from tests.provider.operators.bigquery_world import World


WORKSPACE_ID = "11111111-1111-4111-8111-111111111111"
MODEL_ID = "22222222-2222-4222-8222-222222222222"
DATAFLOW_ID = "33333333-3333-4333-8333-333333333333"
REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"


@pytest.fixture
def start_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Emulators]]:
    """Start emulators for a scenario given as plain data, and point Airflow's connections to them."""
    with ExitStack() as stack:

        def begin(**scenario: Any) -> Emulators:
            emulators = Emulators(Scenario.model_validate(scenario), folder=tmp_path / "emulators", pubsub="builtin")
            stack.enter_context(emulators)
            for name, value in emulators.environment().items():
                monkeypatch.setenv(name, value)
            return emulators

        yield begin


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpService]:
    """Return a service that the connection ``shop`` leads to."""
    made = HttpService()
    connect(monkeypatch, made)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    fake = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", fake, raising=False)
    return fake


class Store:
    """``context["task_state_store"]``: what is set survives the process, as JSON."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.stored[key]) if key in self.stored else default

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self.stored[key] = json.dumps(value)


@dataclass
class FakeTaskInstance:
    """The part of RuntimeTaskInstance that the operators use."""

    try_number: int
    max_tries: int
    dag_id: str = "sales"
    run_id: str = "batch-1"
    task_id: str = "job"
    map_index: int = -1
    xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


class TaskLife:
    """
    One task instance over all its tries.

    :param make: builds the operator, once for each process.
    """

    def __init__(self, make: Callable[[], RemoteJobOperator], *, retries: int = 3, store: Store | None = None) -> None:
        self._make = make
        self.store = store or Store()
        self.with_store = True
        #: What else there is in the context.
        self.context: dict[str, Any] = {}
        self.ti = FakeTaskInstance(try_number=0, max_tries=retries)
        self.operator = make()
        self.deferrals: list[TaskDeferred] = []

    @property
    def entry(self) -> dict[str, Any]:
        """What the task remembers."""
        remembered: dict[str, Any] = self.store.get("remote_job")
        return remembered

    def clear(self) -> None:
        """A person clears the task: Airflow grants the configured tries again."""
        self.ti.max_tries = self.ti.try_number + self.ti.max_tries

    def begin(self) -> Any:
        """Run the next try up to its end or its deferral; returns the result, or the deferral."""
        self.ti.try_number += 1
        self.ti.xcoms = {}
        return self._process("execute", {})

    def resume(self, deferral: TaskDeferred, event: dict[str, Any] | None) -> Any:
        """Run the process that Airflow starts for an event."""
        return self._process(deferral.method_name, {**(deferral.kwargs or {}), "event": event})

    def run(self) -> Any:
        """Run the next try, through all its deferrals, to its end."""
        outcome = self.begin()
        while isinstance(outcome, TaskDeferred):
            outcome = self.resume(outcome, self.event(outcome))
        return outcome

    def event(self, deferral: TaskDeferred) -> dict[str, Any]:
        """Run the trigger of a deferral until its first event."""

        async def first() -> Any:
            async for event in self.trigger(deferral).run():
                return event.payload

        return asyncio.run(first())

    def trigger(self, deferral: TaskDeferred) -> Any:
        """Return the trigger as a triggerer builds it: from JSON."""
        path, kwargs = deferral.trigger.serialize()
        arguments: Any = deserialize(json.loads(json.dumps(serialize(kwargs))))
        module, _, name = path.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**arguments)
        trigger.task_instance = self.ti
        return trigger

    def end_by_a_person(self, trigger: Any, where: str) -> None:
        """Let a person mark the task failed, and the ``worker`` or the ``triggerer`` in which it waits learn of it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(task_supervisor, "task_instance_state", lambda **_: "failed")
            if where == "worker":
                self.operator.on_kill()
            else:
                asyncio.run(trigger.cancel_if_task_ended())

    def _process(self, method: str, kwargs: dict[str, Any]) -> Any:
        self.operator = self._make()
        context: Any = {"ti": self.ti, "task_instance": self.ti, **self.context}
        if self.with_store:
            context["task_state_store"] = self.store
        try:
            if method == "execute":
                return self.operator.execute(context)
            return self.operator.resume_execution(method, json.loads(json.dumps(kwargs)), context)
        except TaskDeferred as deferral:
            self.deferrals.append(deferral)
            return deferral


@dataclass(frozen=True)
class Service:
    """What a test of the shared life needs to know about one service."""

    name: str
    make: Callable[..., RemoteJobOperator]
    scenario: Callable[..., dict[str, Any]]
    ledger_service: str
    started: str
    ended: str
    cancel: str
    cancelled: str
    start_call: str
    poll_call: str
    fault: Callable[[int], dict[str, Any]]

    def rule(self, call: str, **fault: Any) -> dict[str, Any]:
        """Return a fault rule for this service's emulator."""
        return {"service": self.ledger_service, "match": call, **fault}


def _dataform_scenario(*, seconds: float = 0.3, failing: int | None = 0) -> dict[str, Any]:
    action: dict[str, Any] = {"target": {"name": "orders", "schema": "mart"}, "seconds": seconds}
    if failing != 0:
        action |= {"failure_reason": "Column amount does not exist", "failing_runs": failing}
    return {"dataform": {"repositories": {REPOSITORY: {"actions": [action]}}}}


def _powerbi_scenario(*, seconds: float = 0.3, failing: int | None = 0, **model: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"id": MODEL_ID, "name": "Sales", "seconds": seconds, **model}
    if failing != 0:
        spec |= {
            "fails": {"errorCode": "QuerySystemError", "errorDescription": "Column amount does not exist"},
            "failing_refreshes": failing,
        }
    workspace = {
        "id": WORKSPACE_ID,
        "name": "Finance",
        "semantic_models": [spec],
        "dataflows": [{"id": DATAFLOW_ID, "name": "Staging", "seconds": seconds, "fails": failing != 0}],
    }
    return {"powerbi": {"workspaces": [workspace]}}


def make_dataform(**kwargs: Any) -> RemoteJobOperator:
    from provider.operators.dataform import DataformWorkflowInvocationOperator

    where = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales"}
    if not {"git_commitish", "workspace", "release_config", "workflow_config"} & kwargs.keys():
        kwargs["git_commitish"] = "main"
    return DataformWorkflowInvocationOperator(**{**FAST, **where, **kwargs})


def make_model(**kwargs: Any) -> RemoteJobOperator:
    from provider.operators.powerbi import PowerBISemanticModelRefreshOperator

    if "report" not in kwargs:
        kwargs = {"semantic_model": "Sales", **kwargs}
    return PowerBISemanticModelRefreshOperator(**{**FAST, "workspace": "Finance", "refresh": {"type": "full"}, **kwargs})


def make_dataflow(**kwargs: Any) -> RemoteJobOperator:
    from provider.operators.powerbi import PowerBIDataflowRefreshOperator

    return PowerBIDataflowRefreshOperator(**{**FAST, "workspace": "Finance", "dataflow": "Staging", **kwargs})


DATAFORM = Service(
    name="dataform",
    make=make_dataform,
    scenario=_dataform_scenario,
    ledger_service="dataform",
    started="create_workflow_invocation",
    ended="workflow_invocation_succeeded",
    cancel="cancel_workflow_invocation",
    cancelled="workflow_invocation_cancelled",
    start_call="CreateWorkflowInvocation",
    poll_call="GetWorkflowInvocation",
    fault=lambda code: {"grpc_status": {503: "UNAVAILABLE", 429: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED"}[code]},
)
SEMANTIC_MODEL = Service(
    name="semantic_model",
    make=make_model,
    scenario=_powerbi_scenario,
    ledger_service="powerbi",
    started="refresh_posted",
    ended="refresh_completed",
    cancel="refresh_cancel_requested",
    cancelled="refresh_cancelled",
    start_call="POST */refreshes",
    poll_call="GET */refreshes/*",
    fault=lambda code: {"http_status": code},
)
DATAFLOW = Service(
    name="dataflow",
    make=make_dataflow,
    scenario=_powerbi_scenario,
    ledger_service="powerbi",
    started="dataflow_refresh_posted",
    ended="dataflow_refresh_completed",
    cancel="dataflow_refresh_cancelled",
    cancelled="dataflow_refresh_cancelled",
    start_call="POST */refreshes",
    poll_call="GET */transactions",
    fault=lambda code: {"http_status": code},
)


@pytest.fixture(params=[DATAFORM, SEMANTIC_MODEL, DATAFLOW], ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> Service:
    """Each service in turn."""
    found: Service = request.param
    return found


@pytest.fixture
def life() -> type[TaskLife]:
    return TaskLife


@pytest.fixture
def make_operator() -> dict[str, Callable[..., RemoteJobOperator]]:
    return {"dataform": make_dataform, "semantic_model": make_model, "dataflow": make_dataflow}


@pytest.fixture(scope="module")
def running_google_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleServers]:
    with GoogleServers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture
def google_servers(running_google_servers: GoogleServers, monkeypatch: pytest.MonkeyPatch) -> GoogleServers:
    """Local servers of Cloud Storage and BigQuery, one of each for a module; Google's clients reach them."""
    for name, value in running_google_servers.environment().items():
        monkeypatch.setenv(name, value)
    return running_google_servers


@pytest.fixture
def world(google_servers: GoogleServers, tmp_path: Path) -> World:
    from tests.provider.operators.bigquery_world import TWO_FILES, World  # it needs the lives of tasks above

    google_servers.put("landing", TWO_FILES)
    return World(google_servers, tmp_path)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    """Airflow's REST API, and a connection to it."""
    server = Server()
    connection = {"conn_type": "airflow_api", "host": server.address, "login": "reader", "password": "hunter2"}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    yield Airflow(server)
    server.close()
