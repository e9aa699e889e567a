"""The stored form of a DAG."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.exceptions import SerializationError
from airflow.sdk import DAG, BaseOperator
from airflow.serialization.serialized_objects import DagSerialization

from provider.airflow_internals.dags import UnusableDagError, finish_instances, rehearse, serialized
from tests.dag_factory.definitions import template_context


def test_a_stored_dag_is_json_that_airflow_reads_back() -> None:
    with DAG("sales", schedule=None, tags=["a"]) as dag:
        BaseOperator(task_id="load", retries=3, retry_delay=timedelta(seconds=7)) >> BaseOperator(task_id="refresh")
    stored = json.dumps(serialized(dag))

    assert stored == json.dumps(serialized(dag))
    again = DagSerialization.from_dict(json.loads(stored))
    assert (again.dag_id, sorted(again.task_dict)) == ("sales", ["load", "refresh"])
    load = again.get_task("load")
    assert (load.retries, load.retry_delay, load.downstream_task_ids) == (3, timedelta(seconds=7), {"refresh"})


def test_a_dag_whose_next_run_has_no_date_is_refused() -> None:
    with DAG("sales", schedule="0 5 * * *", start_date=datetime(9999, 12, 31, tzinfo=UTC)) as dag:
        BaseOperator(task_id="load")
    serialized(dag)  # Airflow stores it, and its scheduler fails on it
    with pytest.raises(UnusableDagError, match="9999|year|date"):
        rehearse(dag)


class Named(BaseOperator):
    template_fields = ("text",)
    template_ext = (".txt",)

    def __init__(self, *, text: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text


def test_an_instance_of_a_mapped_operator_is_changed_before_it_is_rendered() -> None:
    found: list[tuple[int, BaseOperator]] = []

    def finish(number: int, made: BaseOperator) -> None:
        made.template_ext = ()
        found.append((number, made))

    with DAG("sales", schedule=None) as dag:
        # Equal ones too are told from each other.
        mapped: Any = Named.partial(task_id="many").expand_kwargs([{"text": text} for text in ("a.txt", "{{ run_id }}", "a.txt")])
    finish_instances(mapped, finish)
    rendered = []
    for index in (2, 1):
        context = template_context(dag, "many", run_id="b", run_after=datetime(2026, 1, 1, tzinfo=UTC), map_index=index)
        context["ti"].render_templates(context)
        rendered.append((index, context["task"]))
    other = mapped.unmap({"text": "other"})

    assert found == [*rendered, (0, other)]
    assert [one.text for _, one in rendered] == ["a.txt", "b"]
    assert DagSerialization.from_dict(json.loads(json.dumps(serialized(dag)))).get_task("many").task_type == "Named"


class NoText:
    def __str__(self) -> str:
        raise LookupError("no text")


class WithNoText(BaseOperator):
    template_fields = ("value",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = NoText()


def test_a_dag_that_airflow_cannot_store_is_an_error_with_its_name() -> None:
    with DAG("sales", schedule=None) as dag:
        WithNoText(task_id="load")
    with pytest.raises(SerializationError, match="sales"):
        serialized(dag)


def test_the_module_itself_imports_nothing_of_airflow() -> None:
    loaded = "[name for name in sys.modules if name.startswith('airflow')]"
    code = f"import sys; import provider.airflow_internals.dags; print({loaded})"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
