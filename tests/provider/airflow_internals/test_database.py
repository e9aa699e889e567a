"""Airflow's own database: what the reconciler's queries and its reading of the audit log stand on."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from airflow import settings
from airflow.models.dagbag import DBDagBag
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, TaskInstanceState
from airflow.serialization.serialized_objects import DagSerialization

from provider.airflow_internals import database
from provider.airflow_internals.dags import Unsaid


@pytest.mark.parametrize("model", database.COLUMNS, ids=lambda model: model.__name__)
def test_the_models_have_the_columns_that_are_read(model: Any) -> None:
    missing = set(database.COLUMNS[model]) - {column.key for column in model.__mapper__.column_attrs}
    # The state of a run is a property over its column.
    assert {name for name in missing if f"_{name}" not in model.__mapper__.column_attrs} == set()
    assert all(hasattr(model, name) for name in database.COLUMNS[model])


def test_a_task_instance_is_stored_with_the_class_name_of_its_operator() -> None:
    """Without it, no DAG would be a workflow, and nothing would be mirrored."""
    assert '"operator": task.task_type' in inspect.getsource(TaskInstance.insert_mapping)


class FakeSession:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda: self.calls.append(name)


def test_the_session_is_nobody_else_s(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSession()
    session: Any = fake
    monkeypatch.setattr(settings, "NonScopedSession", lambda: fake)
    monkeypatch.setattr(settings, "Session", lambda: pytest.fail("the scheduler's session"))
    with database.airflow_session() as given:
        assert given is session
    assert fake.calls == ["commit", "close"]


def test_a_stored_dag_knows_the_parents_of_its_tasks() -> None:
    # Airflow 3.3.0 has more of them, with defaults.
    first, *others = inspect.signature(DBDagBag).parameters.values()
    assert first.name == "load_op_links"
    assert all(parameter.default is None for parameter in others)
    assert list(inspect.signature(DBDagBag.get_dag_for_run).parameters) == ["self", "dag_run", "session"]
    with DAG("stored", schedule=None) as dag:
        EmptyOperator(task_id="a") >> EmptyOperator(task_id="b")
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert {task.task_id: set(task.upstream_task_ids) for task in stored.tasks} == {"a": set(), "b": {"a"}}


def test_a_stored_dag_keeps_the_templated_parameters_of_its_operators() -> None:
    """The reconciler takes connection and identity of a remote job from there."""
    from provider.operators.powerbi import PowerBISemanticModelRefreshOperator as Refresh

    assert list(inspect.signature(DBDagBag.get_latest_version_of_dag).parameters) == ["self", "dag_id", "session"]
    with DAG("stored", schedule=None) as dag:
        Refresh(task_id="plain", workspace="w", semantic_model="m", powerbi_conn_id="bi")
        Refresh.partial(task_id="mapped", workspace="w", powerbi_conn_id="bi").expand(semantic_model=["m", "n"])
        Refresh.partial(task_id="expanded", workspace="w", semantic_model="m").expand(powerbi_conn_id=["bi", "other"])
        Refresh.partial(task_id="default", workspace="w").expand(semantic_model=["m", "n"])
        Refresh.partial(task_id="default of many").expand_kwargs([{"workspace": "w"}, {"semantic_model": "m"}])
        Refresh.partial(task_id="expanded by many").expand_kwargs([{"workspace": "w"}, {"powerbi_conn_id": "m"}])
        listed = PythonOperator(task_id="listed", python_callable=list)
        Refresh.partial(task_id="expanded by a task").expand_kwargs(listed.output)
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    found = {task.task_id: database.templated_parameters(task, {}) for task in stored.tasks}

    assert found["plain"]["powerbi_conn_id"] == found["mapped"]["powerbi_conn_id"] == "bi"
    assert found["default"]["powerbi_conn_id"] is found["default of many"]["powerbi_conn_id"] is Unsaid.DEFAULT
    for task_id in ("expanded", "expanded by many", "expanded by a task"):
        assert found[task_id]["powerbi_conn_id"] is Unsaid.EXPANDED, task_id


def test_a_mapped_task_has_the_default_args_of_its_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow stores them with the DAG alone, and applies them when it makes an operator of a map index."""
    from provider.operators.powerbi import PowerBISemanticModelRefreshOperator as Refresh

    with DAG("stored", schedule=None, default_args={"powerbi_conn_id": "bi", "retries": 2}) as dag:
        mapped = Refresh.partial(task_id="mapped", workspace="w").expand(semantic_model=["m"])
        Refresh.partial(task_id="said", workspace="w", powerbi_conn_id="own").expand(semantic_model=["m"])
        Refresh.partial(task_id="expanded", workspace="w", semantic_model="m").expand(powerbi_conn_id=["bi", "other"])
    assert vars(mapped.unmap({"semantic_model": "m"}))["powerbi_conn_id"] == "bi"
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    monkeypatch.setattr(database, "_dag_of_run", lambda *_: stored)
    session: Any = None
    found = {task_id: database.operator_of_task(session, "stored", "b1", task_id) for task_id in stored.task_dict}

    assert {task_id: (one or {})["powerbi_conn_id"] for task_id, one in found.items()} == {
        "mapped": "bi",
        "said": "own",
        "expanded": Unsaid.EXPANDED,
    }


def logged_event(route: Any, body: dict[str, Any] | None = None, **path_params: str) -> Log:
    """Let Airflow log a call of one route of its API server, and return what it has written."""
    (log_action,) = [one.dependency for one in route.dependencies if one.dependency.__name__ == "log_action"]
    written: list[Log] = []

    async def answer() -> Any:
        return body or {}

    request = SimpleNamespace(
        scope={"endpoint": route.endpoint},
        headers={"content-type": "application/json"},
        query_params={},
        path_params=path_params,
        method="PATCH",
        body=answer,
        json=answer,
    )
    session = SimpleNamespace(add=written.append, commit=lambda: None)
    asyncio.run(log_action(request, session, None))
    (log,) = written
    return log


def test_a_person_who_sets_a_run_s_state_is_in_the_audit_log() -> None:
    from airflow.api_fastapi.core_api.datamodels.dag_run import DAGRunPatchBody
    from airflow.api_fastapi.core_api.routes.public.dag_run import dag_run_router

    assert {"state", "note"} <= set(DAGRunPatchBody.model_fields)
    every: list[Any] = dag_run_router.routes
    (route,) = [route for route in every if route.endpoint.__name__ == database.PERSON_SET_RUN]
    assert route.methods == {"PATCH"}
    log = logged_event(route, dag_id="sales", dag_run_id="b1")
    assert (log.event, log.dag_id, log.run_id, log.task_id) == (database.PERSON_SET_RUN, "sales", "b1", None)
    assert log.dttm is not None
    assert told(route, {"state": "failed"})
    assert told(route, {"state": "success", "note": "x"})
    assert not told(route, {"note": "failed"})
    assert not told(route, {"state": "queued"})


def told(route: Any, body: dict[str, Any]) -> bool:
    """Let Airflow log a request with this body, and tell whether we take it for the end of something."""
    return database.sets_a_state(logged_event(route, body, dag_id="sales", dag_run_id="b1").extra)


def test_a_person_who_sets_a_task_s_state_is_in_the_audit_log() -> None:
    from airflow.api_fastapi.core_api.datamodels.task_instances import PatchTaskInstanceBody
    from airflow.api_fastapi.core_api.routes.public.task_instances import task_instances_router

    assert {"new_state", "note"} <= set(PatchTaskInstanceBody.model_fields)
    every: list[Any] = task_instances_router.routes
    routes = [route for route in every if route.methods == {"PATCH"}]
    logging = [route for route in routes if any(one.dependency.__name__ == "log_action" for one in route.dependencies)]
    assert {route.endpoint.__name__ for route in logging} == {"patch_task_instance", "patch_task_group_instances"}
    for route in logging:
        log = logged_event(route, dag_id="sales", dag_run_id="b1", task_id="load")
        assert (log.event, log.run_id, log.task_id) == (route.endpoint.__name__, "b1", "load")
        assert log.event.startswith(database.PERSON_ACTED.rstrip("%"))
        assert told(route, {"new_state": "failed"})
        assert not told(route, {"note": "failed"})


def test_what_ends_a_task_is_a_state_or_said_by_fail_fast() -> None:
    states = {state.value for state in TaskInstanceState}
    assert set(database.ENDED_BY_AIRFLOW) - states == {"fail task", "skip task"}
    assert {"success", "failed", "skipped", "upstream_failed"} < states


def test_airflow_writes_the_events_that_we_read() -> None:
    assert database.problems() == []


def test_an_airflow_that_writes_other_events_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_WRITTEN_BY", {"models/taskinstance.py": ("event=other",), "models/gone.py": ("x",)})
    assert [problem.partition(";")[0] for problem in database.problems()] == [
        "models/taskinstance.py does not say 'event=other'",
        "models/gone.py does not say 'x'",
    ]
