"""Airflow's own database: what the reconciler's queries and its reading of the audit log stand on."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from airflow import settings
from airflow.models.dagbag import DBDagBag
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
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
