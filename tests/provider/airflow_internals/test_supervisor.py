"""
What the door to the supervisor stands on in Airflow: its own supervisor and client, with a mock API server behind them.

A test that fails here names what this Airflow has changed. What its API server itself answers is in
``tests/provider/operators/test_dispatch_services.py``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task
from airflow.sdk.api.client import ServerResponseError
from airflow.sdk.api.datamodels._generated import DagRun, DagRunState, DagRunType, TIRunContext
from airflow.sdk.bases.decorator import DecoratedMappedOperator
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.types import RuntimeTaskInstanceProtocol

from provider.airflow_internals import supervisor
from provider.airflow_internals.supervisor import AirflowRefusedError
from provider.hooks.remote_job import ENDED_STATES
from tests.provider.airflow_internals.supervised_task import ApiServer, behind_a_socket, in_process


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


@pytest.fixture(params=[in_process, behind_a_socket], ids=lambda form: form.__name__)
def _supervised(request: pytest.FixtureRequest, server: ApiServer) -> Iterator[None]:
    with request.param(server):
        yield


supervised = pytest.mark.usefixtures("_supervised")
RUN = "dag-runs/daily_sales/B1"


# Fields, values and names.


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (comms.TriggerDagRun, {"dag_id", "run_id", "logical_date", "conf"}),
        (comms.GetDagRun, {"dag_id", "run_id"}),
        (comms.DagRunResult, {"conf", "run_type", "state"}),
        (comms.ErrorResponse, {"error", "detail"}),
        (TIRunContext, {"next_method"}),
        (DagRun, {"triggering_user_name"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_messages_have_the_fields_that_are_used(model: Any, fields: set[str]) -> None:
    assert fields <= set(model.model_fields)


def test_a_start_needs_no_other_field() -> None:
    required = {name for name, field in comms.TriggerDagRun.model_fields.items() if field.is_required()}
    assert required <= {"dag_id", "run_id", "logical_date", "conf"}


def test_enumerations_have_the_values_that_are_used() -> None:
    assert ErrorType.DAGRUN_ALREADY_EXISTS.value == "DAGRUN_ALREADY_EXISTS"
    assert DagRunType.OPERATOR_TRIGGERED.value == "operator_triggered"
    assert {"queued", "running"} <= {state.value for state in DagRunState}


def test_the_static_methods_take_the_arguments_that_are_used() -> None:
    used = {"get_dr_count": {"dag_id", "states"}, "get_task_states": {"dag_id", "map_index", "task_ids", "run_ids"}}
    for name, arguments in used.items():
        for owner in (RuntimeTaskInstance, RuntimeTaskInstanceProtocol):
            assert isinstance(inspect.getattr_static(owner, name), staticmethod)
            assert arguments <= set(inspect.signature(getattr(owner, name)).parameters)


def test_dags_test_names_itself_as_the_user() -> None:
    assert 'triggering_user_name="dag_test"' in inspect.getsource(DAG.test)
    assert supervisor.is_of_dags_test(SimpleNamespace(triggering_user_name="dag_test"))
    assert not supervisor.is_of_dags_test(SimpleNamespace(triggering_user_name="eve"))
    assert not supervisor.is_of_dags_test(SimpleNamespace())


# Starting runs.


@supervised
def test_a_run_is_started_with_its_ids_in_the_path_as_they_are(server: ApiServer) -> None:
    server.answer("POST", "dag-runs/daily_sales/a+b:c~d", 204)
    assert supervisor.trigger_dag_run("daily_sales", "a+b:c~d", {"day": "{{ ds }}", "n": [1]})
    (request,) = server.requests
    assert request.url.raw_path == b"/execution/dag-runs/daily_sales/a+b:c~d"
    sent = json.loads(request.content)
    assert sent["conf"] == {"day": "{{ ds }}", "n": [1]}
    assert sent.get("logical_date") is None
    assert not sent.get("reset_dag_run")


@supervised
def test_a_run_that_is_there_already_is_no_error(server: ApiServer) -> None:
    server.refuse("POST", RUN, 409, "already_exists", "A run already exists")
    assert supervisor.trigger_dag_run("daily_sales", "B1", {}) is False


@supervised
@pytest.mark.parametrize(
    ("status", "reason"), [(400, "import_errors"), (400, "value_error"), (403, "denied"), (404, "not_found"), (503, "busy")]
)
def test_a_refusal_has_status_reason_and_message(server: ApiServer, status: int, reason: str) -> None:
    server.refuse("POST", RUN, status, reason, "so it is")
    with pytest.raises(AirflowRefusedError) as refused:
        supervisor.trigger_dag_run("daily_sales", "B1", {})
    assert (refused.value.status, refused.value.reason, str(refused.value)) == (status, reason, "so it is")


@supervised
def test_a_refusal_by_validation_is_whole(server: ApiServer) -> None:
    problem = {"loc": ["body", "conf"], "msg": "Input should be a valid dictionary", "type": "dict_type"}
    server.answer("POST", RUN, 422, {"detail": [problem]})
    with pytest.raises(AirflowRefusedError, match="valid dictionary") as refused:
        supervisor.trigger_dag_run("daily_sales", "B1", {})
    assert (refused.value.status, refused.value.reason) == (422, None)


def test_an_api_that_does_not_answer_has_no_status(server: ApiServer) -> None:
    def hang_up(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("gone")

    server.take = hang_up  # type: ignore[assignment, method-assign]
    with behind_a_socket(server), pytest.raises(AirflowRefusedError, match="gone|ERROR") as refused:
        supervisor.trigger_dag_run("daily_sales", "B1", {})
    assert refused.value.status is None


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_an_error_of_a_proxy_is_told_with_its_status(server: ApiServer, content_type: str) -> None:
    server.answers["POST", RUN] = httpx.Response(502, content=b"Bad Gateway", headers={"content-type": content_type})
    with behind_a_socket(server), pytest.raises(AirflowRefusedError) as refused:
        supervisor.trigger_dag_run("daily_sales", "B1", {})
    assert str(refused.value)
    # What is no JSON is no answer of Airflow's API: the supervisor passes it on without a status.
    assert refused.value.status in (None, 502)


# Looking at runs and tasks.


def _run(**changes: Any) -> dict[str, Any]:
    run: dict[str, Any] = {
        "dag_id": "daily_sales",
        "run_id": "B1",
        "logical_date": None,
        "data_interval_start": None,
        "data_interval_end": None,
        "run_after": datetime(2024, 3, 16, tzinfo=UTC).isoformat(),
        "start_date": None,
        "end_date": None,
        "run_type": "operator_triggered",
        "state": "running",
        "conf": {"_accelerator": {"request_id": 7}},
        "consumed_asset_events": [],
        "partition_key": None,
    }
    return {**run, **changes}


@supervised
@pytest.mark.parametrize("conf", [{"_accelerator": {"request_id": 7}}, {}, None])
def test_a_run_is_looked_up(server: ApiServer, conf: dict[str, Any] | None) -> None:
    server.answer("GET", RUN, 200, _run(conf=conf))
    assert supervisor.get_dag_run("daily_sales", "B1") == supervisor.FoundRun(conf or {}, "operator_triggered", "running")


@supervised
def test_a_run_that_is_not_there_is_a_refusal(server: ApiServer) -> None:
    server.refuse("GET", RUN, 404, "not_found", "Dag run was not found")
    with pytest.raises(AirflowRefusedError) as refused:
        supervisor.get_dag_run("daily_sales", "B1")
    assert (refused.value.status, refused.value.reason) == (404, "not_found")


@supervised
def test_runs_are_counted_by_their_states(server: ApiServer) -> None:
    server.answer("GET", "dag-runs/count", 200, 3)
    assert supervisor.count_dag_runs("burst", ["queued", "running"]) == 3
    (request,) = server.requests
    assert request.url.params.multi_items() == [("dag_id", "burst"), ("states", "queued"), ("states", "running")]


@supervised
@pytest.mark.parametrize(("map_index", "name"), [(None, "load"), (-1, "load"), (3, "load_3")])
def test_the_state_of_a_task_instance(server: ApiServer, map_index: int | None, name: str) -> None:
    server.answer("GET", "task-instances/states", 200, {"task_states": {"B1": {name: "success", "other": "failed"}}})
    found = supervisor.task_instance_state(dag_id="daily_sales", run_id="B1", task_id="load", map_index=map_index)
    assert found == "success"
    (request,) = server.requests
    of_instance = {"map_index": "3"} if map_index == 3 else {}
    assert dict(request.url.params) == {"dag_id": "daily_sales", "task_ids": "load", "run_ids": "B1", **of_instance}


@supervised
def test_a_task_instance_without_a_state(server: ApiServer) -> None:
    server.answer("GET", "task-instances/states", 200, {"task_states": {"B1": {"load": None}}})
    assert supervisor.task_instance_state(dag_id="daily_sales", run_id="B1", task_id="load", map_index=None) is None


@supervised
@pytest.mark.parametrize("answer", [{}, {"B1": {}}, {"B1": {"other": "success"}}, {"B2": {"load": "success"}}])
def test_a_task_instance_of_a_deleted_run(server: ApiServer, answer: dict[str, Any]) -> None:
    server.answer("GET", "task-instances/states", 200, {"task_states": answer})
    found = supervisor.task_instance_state(dag_id="daily_sales", run_id="B1", task_id="load", map_index=None)
    assert found == supervisor.GONE
    assert found in ENDED_STATES, "nobody waits for its job any more"


@supervised
def test_a_state_that_cannot_be_told_is_a_refusal(server: ApiServer) -> None:
    server.refuse("GET", "task-instances/states", 404, "not_found", "Dag not found")
    with pytest.raises(AirflowRefusedError, match="Dag not found"):
        supervisor.task_instance_state(dag_id="gone", run_id="B1", task_id="load", map_index=None)


@supervised
def test_the_states_of_tasks_and_of_the_instances_of_mapped_ones(server: ApiServer) -> None:
    answer = {"load": "success", "check_0": "success", "check_1": "skipped", "check_x": "failed", "check_1_1": "failed"}
    server.answer("GET", "task-instances/states", 200, {"task_states": {"B1": answer}})
    ti = SimpleNamespace(dag_id="daily_sales", run_id="B1", get_task_states=RuntimeTaskInstance.get_task_states)
    found = supervisor.states_of_tasks(ti, {"load", "check", "gone"})
    assert found == {"load": {"success"}, "check": {"success", "skipped"}, "gone": set()}
    (request,) = server.requests
    assert request.url.params.get_list("task_ids") == ["check", "gone", "load"]


def test_the_api_server_names_the_instances_of_mapped_tasks_so() -> None:
    from airflow.api_fastapi.execution_api.routes.task_instances import get_task_instance_states

    rows = [("load", -1, "success"), ("check", 0, "success"), ("check", 10, "skipped"), ("waits", -1, None)]
    found = [SimpleNamespace(run_id="B1", task_id=task_id, map_index=index, state=state) for task_id, index, state in rows]
    session: Any = SimpleNamespace(scalars=lambda _query: SimpleNamespace(all=lambda: found))
    bag: Any = None
    answer = get_task_instance_states("daily_sales", session, bag, task_ids=["load"], run_ids=["B1"])
    assert answer.task_states == {"B1": {"load": "success", "check_0": "success", "check_10": "skipped", "waits": None}}


# What a task knows of itself.


def test_a_task_that_resumes_knows_the_method_to_go_on_with() -> None:
    assert "_ti_context_from_server" in RuntimeTaskInstance.__private_attributes__

    context: Any = TIRunContext
    task_instance: Any = RuntimeTaskInstance

    def instance(next_method: str | None) -> Any:
        from_server = context.model_construct(next_method=next_method)
        return task_instance.model_construct(task_id="load", _ti_context_from_server=from_server)

    assert supervisor.is_resuming(instance("execute_complete"))
    assert not supervisor.is_resuming(instance(None))
    assert not supervisor.is_resuming(SimpleNamespace())


def test_a_task_knows_when_its_run_was_to_start() -> None:
    at = datetime(2026, 3, 16, tzinfo=UTC)
    run: Any = DagRun
    context: Any = TIRunContext
    task_instance: Any = RuntimeTaskInstance
    from_server = context.model_construct(dag_run=run.model_construct(run_after=at))
    assert supervisor.run_after_of(task_instance.model_construct(task_id="load", _ti_context_from_server=from_server)) == at
    assert supervisor.run_after_of(SimpleNamespace()) is None


def test_airflow_itself_goes_on_with_that_method() -> None:
    assert "_ti_context_from_server.next_method" in inspect.getsource(task_runner)


def test_the_length_of_literal_maps() -> None:
    with DAG("maps", schedule=None) as dag:

        @task
        def decorated(value: int, other: int = 0) -> None: ...

        decorated.override(task_id="d_expand").expand(value=[1, 2, 3])
        decorated.override(task_id="d_product").expand(value=[1, 2, 3], other=[4, 5])
        decorated.override(task_id="d_kwargs").expand_kwargs([{"value": 1}, {"value": 2}])
        PythonOperator.partial(task_id="c_expand", python_callable=print).expand(op_args=[["x"], ["y"]])
        PythonOperator.partial(task_id="c_kwargs", python_callable=print).expand_kwargs([{"op_args": ["x"]}])
        plain = PythonOperator(task_id="plain", python_callable=list)
        PythonOperator.partial(task_id="by_result", python_callable=print).expand(op_args=plain.output)
    lengths = {task_id: supervisor.literal_map_length(found) for task_id, found in dag.task_dict.items()}
    assert lengths == {
        "d_expand": 3,
        "d_product": 6,
        "d_kwargs": 2,
        "c_expand": 2,
        "c_kwargs": 1,
        "plain": 0,
        "by_result": 0,
    }
    assert supervisor.literal_map_length(None) == 0


# At start.


def test_this_airflow_has_all_that_would_be_missed_without_an_error() -> None:
    assert supervisor.problems() == []


@pytest.mark.parametrize(
    ("remove", "said"),
    [
        (lambda patch: patch.delitem(RuntimeTaskInstance.__private_attributes__, "_ti_context_from_server"), "deferral"),
        (lambda patch: patch.delitem(TIRunContext.__pydantic_fields__, "next_method"), "deferral"),
        (lambda patch: patch.delitem(TIRunContext.__pydantic_fields__, "dag_run"), "run was to start"),
        (lambda patch: patch.delitem(DagRun.__pydantic_fields__, "run_after"), "run was to start"),
        (lambda patch: patch.delattr(MappedOperator, "expand_input"), "literal map"),
        (lambda patch: patch.delattr(DecoratedMappedOperator, "op_kwargs_expand_input"), "literal map"),
    ],
)
def test_an_airflow_that_lacks_it_is_named(remove: Callable[[pytest.MonkeyPatch], None], said: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        remove(patch)
        (problem,) = supervisor.problems()
    assert said in problem


def test_both_kinds_of_errors_are_airflows_own() -> None:
    assert issubclass(ServerResponseError, httpx.HTTPStatusError)
    error = AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500}))
    assert error.error.detail == {"status_code": 500}
