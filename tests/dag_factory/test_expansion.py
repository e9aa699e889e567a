"""One task with many instances: what ``item`` stands for, what is refused, and what Airflow gets."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.serialization.serialized_objects import DagSerialization
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment

from dag_factory.expansion import ExpansionError, expanded, labels
from dag_factory.task_types.dataform import TASK_TYPE
from dag_factory.task_types.registry import TaskTypes
from dag_factory.templates import to_airflow
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from provider.airflow_internals.database import templated_parameters
from tests.dag_factory.definitions import Rows
from tests.dag_factory.stored_dag import build, instance, stored

REGIONS = [{"region": "de", "tags": ["a", "b"], "n": -3}, {"region": "fr", "tags": [], "n": 4}]


@pytest.mark.parametrize(
    ("text", "item", "made"),
    [
        ("{{ item }}", "de", "de"),
        ("{{item}}", 7, 7),
        ("{{ item.tags }}", REGIONS[0], ["a", "b"]),
        ("{{ item['region'] }}", REGIONS[0], "de"),
        ("{{ item.tags[1] }}", REGIONS[0], "b"),
        ("{{ item }}", "{{ params.day }}", "{{ params.day }}"),
        ("x_{{ item }}", "de", "x_{{ 'de' }}"),
        ("{{ item.region | upper }}", REGIONS[0], "{{ 'de' | upper }}"),
        ("{{ item.n + params.n }}", REGIONS[0], "{{ (0 - 3) + params.n }}"),
        ("{{ params.region in item }}", ["de", None, True, 1.5], "{{ params.region in ['de', none, true, 1.5] }}"),
        ("{{ params.item }}", "de", "{{ params.item }}"),
        ("{{ 'item' }}", "de", "{{ 'item' }}"),
        ("item", "de", "item"),
        ("{{ 'item }}", "de", "{{ 'item }}"),
        ("{{ item.0 }}", ["de"], "de"),
    ],
)
def test_what_item_stands_for(text: str, item: Any, made: Any) -> None:
    assert expanded({"key": [text], "other": "{{ item }}"}, [item])[0]["key"] == [made]


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])).filter(
        lambda text: not {"{{", "{%", "{#"} & {text[i : i + 2] for i in range(len(text))}
    )
)
def test_any_text_comes_out_of_a_template_as_it_was(text: str) -> None:
    """Whatever a value holds, quotes and braces too, it is a value, and never a part of the template."""
    (config,) = expanded({"key": "<{{ item }}|{{ params.x }}>"}, [text])
    rendered = SandboxedEnvironment(keep_trailing_newline=True).from_string(to_airflow(config["key"])).render(params={"x": 1})
    assert rendered == f"<{text}|1>"


def expansion(rows: Rows, items: list[Any], **config: Any) -> Rows:
    task = rows.task("stg_orders")
    task["expand"] = items
    task["config"] = {**task["config"], **config}
    return rows


def test_airflow_gets_a_mapped_operator_that_differs_in_what_the_items_make_of_it(rows: Rows) -> None:
    expansion(rows, REGIONS, included_tags="{{ item.region }}", vars={"region": "{{ item.region }}_{{ batch_id }}"})
    dag = build(rows)
    mapped: Any = dag.get_task("stg_orders")

    assert isinstance(mapped, MappedOperator)
    values: Any = mapped.expand_input.value
    assert [{name: one[name] for name in sorted(one)} for one in values] == [
        {"included_tags": ["de"], "vars": {"region": "{{ 'de' }}_{{ run_id }}"}},
        {"included_tags": ["fr"], "vars": {"region": "{{ 'fr' }}_{{ run_id }}"}},
    ]
    kept: Any = DagSerialization.from_dict(stored(dag)).get_task("stg_orders")
    assert (kept.is_mapped, kept.partial_kwargs["trigger_rule"]) == (True, "none_failed")
    assert kept.partial_kwargs["retries"] == rows.task("stg_orders")["retries"]
    assert templated_parameters(kept, {})["project_id"] == rows.task("stg_orders")["config"]["project_id"]
    one: Any = mapped.unmap(values[1])
    assert (one.included_tags, one.upstream_task_ids) == (["fr"], mapped.upstream_task_ids)
    assert one._pre_execute_hook is mapped.partial_kwargs["pre_execute"]
    assert "stg_orders" in dag.get_task("start_batch").downstream_task_ids | dag.get_task("load_orders").downstream_task_ids


def test_a_task_process_builds_it_alone(rows: Rows) -> None:
    expansion(rows, ["de", "fr"], included_tags="{{ item }}")
    alone: Any = build(rows, only_task="stg_orders").get_task("stg_orders")
    whole: Any = build(rows).get_task("stg_orders")
    assert alone.expand_input.value == whole.expand_input.value
    assert not isinstance(build(rows, only_task="load_orders").get_task("stg_orders"), MappedOperator)


def test_an_operator_of_another_package_reads_no_file_in_any_instance(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", "airflow.providers.standard.*")
    path = "airflow.providers.standard.operators.bash.BashOperator"
    config = {"operator": path, "arguments": {"bash_command": "{{ item }}"}}
    rows.task("stg_orders").update(task_type="operator", config=config, expand=["echo {{ batch_id }}", "secret.sh"])
    (tmp_path / "secret.sh").write_text("echo from the file")
    monkeypatch.chdir(tmp_path)  # where Airflow looks for files of a DAG that is made in no file
    dag = build(rows, only_task="stg_orders")
    mapped: Any = dag.get_task("stg_orders")
    assert (tuple(mapped.template_ext), mapped.operator_class.template_ext) == ((), (".sh", ".bash"))

    for number, command in enumerate(["echo Batch_1", "secret.sh"]):
        one = instance(dag, "stg_orders", number)
        one.resolve_template_files()
        assert (type(one), one.bash_command, one.map_index_template) == (
            mapped.operator_class,
            command,
            mapped.map_index_template,
        )
    kept: Any = DagSerialization.from_dict(stored(dag)).get_task("stg_orders")
    assert (kept.task_type, kept._task_module, kept.operator_name) == ("BashOperator", path.rpartition(".")[0], "BashOperator")


def test_each_instance_is_finished_by_its_own_configuration(rows: Rows) -> None:
    def finish(config: Any, made: Any) -> None:
        made.tags_of_row = config.included_tags

    types = TaskTypes(replace(TASK_TYPE, finish=finish))
    workflows = validate(expansion(rows, ["de", "fr"], included_tags="{{ item }}").definitions()).workflows
    dag = build_dag(workflows["daily_sales"], types)

    for one in (dag, deepcopy(dag)):
        assert [instance(one, "stg_orders", number).tags_of_row for number in range(2)] == [("de",), ("fr",)]
        assert instance(one, "stg_orders", 1).dag is one
    mapped: Any = dag.get_task("stg_orders")
    assert mapped.unmap({"included_tags": ["it"]}).tags_of_row == ("de",)


def test_airflow_shows_the_value_of_an_instance() -> None:
    render = SandboxedEnvironment().from_string(labels([*REGIONS, "{{ params.x }}", "o'neil", "x" * 100])).render
    assert [render(ti={"map_index": index}) for index in range(5)] == ["de, -3", "fr, 4", " params.x ", "o'neil", "x" * 59 + "…"]


@pytest.mark.parametrize(
    ("text", "items", "said"),
    [
        ("{{ item.regoin }}", [{"region": "de"}], "[0]: has no 'regoin'; did you mean region? item has: region"),
        ("{{ item.region }}", [{"region": 1}, "fr"], "[1]: item is 'fr' and has no 'region'; take that out of the config"),
        ("{{ item.a.name }}", [{"a": ["x"]}], "[0]: item.a is a list and has no 'name'; take that out of the config"),
        ("{{ item[3] }}", [["x"]], "[0]: item is a list and has no '3'; take that out of the config"),
        ("x {{ item }}", [{"b": 1}], "[0]: an object can only be the whole of a text: {{ item.name }} with nothing beside it"),
        ("x {{ item }}", ["{{ ds }}"], "[0]: '{{ ds }}' can only be the whole of a text"),
        ("x", ["de"], "no text of the config has {{ item }}, so all instances would do the same; write it there"),
        ("{{ item }}" + "x" * 5000, list(range(500)), "makes more than 2000000 characters of the config"),
    ],
)
def test_what_cannot_be_made_is_said(text: str, items: list[Any], said: str) -> None:
    with pytest.raises(ExpansionError) as raised:
        expanded({"key": text}, items)
    assert str(raised.value).startswith(said)


def test_each_instance_is_checked_like_a_task(rows: Rows) -> None:
    def problems() -> list[str]:
        return [problem.message for problem in validate(rows.definitions()).problems if problem.row == "tasks row stg_orders"]

    expansion(rows, ["a", 7], included_tags="{{ item }}")
    assert problems() == ["expand[1]: config.included_tags: valid tuple, not '7'"] or problems()[0].startswith(
        "expand[1]: config.included_tags"
    )
    expansion(rows, ["{{ params.nowhere }}", "b"], included_tags="{{ item }}")
    assert problems()[0].startswith("expand[0]: config.included_tags: params.nowhere is not declared")
    expansion(rows, ["x", "y"], included_tags="{{ item }}", allow_empty="{{ item }}")
    assert problems()[0].startswith("expand[0]: config.allow_empty: must be true or false")
    expansion(rows, [True, False], included_tags="a", allow_empty="{{ item }}")
    assert problems() == []


def test_one_operator_serves_all_instances(rows: Rows) -> None:
    task = rows.task("refresh_daily_sales")
    task["config"] = {"workspace": "Sales", "semantic_model": "{{ item.model }}", "dataflow": "{{ item.flow }}"}
    task["expand"] = [{"model": "a", "flow": None}, {"model": None, "flow": "b"}]
    with pytest.raises(Exception, match=r"expand: its instances are of the operators PowerBIDataflowRefreshOperator, PowerBISem"):
        build(rows)
