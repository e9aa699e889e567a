"""The tables of another engine become workflows that can be imported."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from dag_factory.definition_file import parse
from dag_factory.factory import build_all
from dag_factory.validation import validate
from demo.postgres import PostgresServer
from provider.cli.original_tables import Naming, convert

SQL = (Path(__file__).parent / "original" / "tables.sql").read_text()
SALES = ["sales_customers", "sales_load", "sales_move", "sales_report", "sales_stg"]


@pytest.fixture(params=["sqlite", "postgres"])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The database of the other engine; its URL."""
    if request.param == "sqlite":
        file = tmp_path / "original.db"
        connection = sqlite3.connect(file)
        connection.executescript(SQL)
        connection.close()
        yield f"sqlite:///{file}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.create_database(f"original_{abs(hash(request.node.nodeid))}")
    with psycopg.connect(url.replace("+psycopg2", "")) as connected:
        connected.execute(SQL)
    yield url


def test_what_hangs_together_becomes_a_workflow(original: str, accelerator: Any) -> None:
    result = accelerator("convert", original)

    assert result.code == 0
    workflows = {
        one["workflow_id"]: {task["task_id"]: task for task in one["tasks"]} for one in yaml.safe_load(result.out)["workflows"]
    }
    assert {name: sorted(tasks) for name, tasks in workflows.items()} == {
        "sales": SALES,
        "calendar_flow": ["calendar"],
        "count_stock_flow": ["count_stock"],
    }
    sales = workflows["sales"]
    assert sales["sales_report"]["depends_on"] == ["sales_customers", "sales_stg"]
    assert {name: task["task_type"] for name, task in sales.items()} == {
        "sales_customers": "dataform",
        "sales_load": "bigquery_load",
        "sales_move": "gcs_archive",
        "sales_report": "power_bi_refresh",
        "sales_stg": "dataform",
    }
    assert sales["sales_load"]["config"] == {
        "bucket": "landing",
        "source_objects": ["orders/*.csv"],
        "destination_table": "demo-project.raw.orders",
    }
    assert sales["sales_report"]["config"] == {"workspace": "Sales", "semantic_model": "Daily Sales"}
    assert (sales["sales_customers"]["enabled"], sales["sales_load"]["doc"]) == (False, "Orders of the day")
    assert [name for name, task in sales.items() if "enabled" in task] == ["sales_customers"]
    assert result.err.splitlines() == [
        "note: task type CallTheWarehouse of task count_stock is not known; it became external, whose end a message tells: name "
        "another by --type CallTheWarehouse=OURS.",
        "note: column created_by of the tasks was not taken over.",
        "note: the edge retired_task → sales_report was left out: there is no task retired_task.",
    ]


def test_it_is_imported_and_built(
    original: str, application_database: str, accelerator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", str(tmp_path / "snapshot"))
    file = tmp_path / "workflows.yaml"
    file.write_text(accelerator("convert", original).out)

    assert accelerator("validate", file).out == "3 workflows, 7 tasks: no problems.\n"
    assert "created    sales (tasks: 5)" in accelerator("import", "--dry-run", file).out
    assert accelerator("import", file).code == 0
    assert "0 changed, 3 unchanged" in accelerator("import", file).out
    built = build_all()
    assert built.problems == []
    assert {dag_id: len(dag.tasks) for dag_id, dag in built.dags.items()} == {
        "sales": 7,
        "calendar_flow": 2,
        "count_stock_flow": 2,
    }


def test_tables_with_other_names(tmp_path: Path, accelerator: Any) -> None:
    file = tmp_path / "original.db"
    connection = sqlite3.connect(file)
    connection.executescript(
        "CREATE TABLE jobs (code TEXT, art TEXT, pipeline TEXT); CREATE TABLE arrows (von TEXT, nach TEXT);"
        "INSERT INTO jobs VALUES ('a', '7', 'nightly'), ('b', 'external', 'nightly'), ('c', 'external', 'weekly');"
        "INSERT INTO arrows VALUES ('a', 'b');"
    )
    connection.close()
    names = ["--tasks", "jobs", "--dependencies", "arrows", "--column", "task_id=code", "--column", "task_type=art"]
    names += ["--column", "parent_id=von", "--column", "child_id=nach", "--type", "7=external"]
    result = accelerator("convert", f"sqlite:///{file}", *names)

    assert (result.code, result.err) == (0, "")
    assert yaml.safe_load(result.out) == {
        "workflows": [
            {
                "workflow_id": "nightly",
                "tasks": [
                    {"task_id": "a", "task_type": "external"},
                    {"task_id": "b", "task_type": "external", "depends_on": ["a"]},
                ],
            },
            {"workflow_id": "weekly", "tasks": [{"task_id": "c", "task_type": "external"}]},
        ]
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tasks", "Aufgaben"], "there is no table Aufgaben; there are: TaskDependencies, Tasks. Name it with --tasks."),
        (["--column", "task_id=code"], "there is no column for task_id among task_id, "),
        (["--column", "task_id"], "is not two names with an = between them"),
    ],
)
def test_what_is_not_there_is_named(arguments: list[str], says: str, original: str, accelerator: Any) -> None:
    result = accelerator("convert", original, *arguments)

    assert result.code in (1, 2)
    assert says in result.err


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, accelerator: Any) -> None:
    result = accelerator("convert", f"sqlite:///{tmp_path}/none.db")

    assert (result.code, result.err) == (1, "error: the database of the URL is a file that is not there.\n")
    assert not (tmp_path / "none.db").exists()


def test_a_password_is_not_told(accelerator: Any) -> None:
    result = accelerator("convert", "postgresql://ann:hunter2-geheim@127.0.0.1:1/none")

    assert result.code == 1
    assert "hunter2" not in result.out + result.err


HOSTILE: list[dict[str, Any]] = [
    {"task_id": 7, "task_type": None, "config": "{'a': 1}", "enabled": "f", "x\x1b[2J": "é"},
    {"task_id": 7, "task_type": "external", "config": None, "enabled": 1, "x\x1b[2J": None},
    {"task_id": "{{ a }}", "task_type": "DROP TABLE", "config": "[1]", "enabled": None, "x\x1b[2J": None},
    {"task_id": None, "task_type": "external", "config": None, "enabled": None, "x\x1b[2J": None},
    {"task_id": "loop", "task_type": "sql", "config": '{"query": "select 1"}', "enabled": 0, "x\x1b[2J": None},
]


def test_whatever_the_tables_hold_ends_in_data_that_validation_judges() -> None:
    edges: list[dict[str, Any]] = [
        {"parent_id": "loop", "child_id": "loop"},
        {"parent_id": None, "child_id": 7},
        {"parent_id": "{{ a }}", "child_id": 7},
    ]
    converted = convert(HOSTILE, edges)

    parsed = parse(yaml.safe_load(yaml.safe_dump(dict(converted.data))))
    assert parsed.problems == []
    types = {row["task_id"]: row["task_type"] for row in parsed.rows.tasks}
    assert types == {"7": "external", "{{ a }}": "external", "loop": "bigquery_query"}
    problems = [str(problem) for problem in validate(parsed.rows).problems]
    assert any("may hold letters, digits" in problem for problem in problems)
    assert any("cannot depend on itself" in problem for problem in problems)
    assert len(converted.notes) == 8, converted.notes


def test_ids_may_say_to_which_workflow_they_belong() -> None:
    tasks: list[dict[str, Any]] = [
        {"id": name, "type": "external"} for name in ("etl_a_1", "etl_a_2", "etl_b_1", "etl_b_2", "x", "y")
    ]
    edges: list[dict[str, Any]] = [
        {"parent": a, "child": b} for a, b in (("etl_a_1", "etl_a_2"), ("etl_b_1", "etl_b_2"), ("x", "y"))
    ]

    assert [one["workflow_id"] for one in convert(tasks, edges).data["workflows"]] == ["etl_a", "etl_b", "x_flow"]
    words: list[dict[str, Any]] = [{"id": "a", "workflow": "one"}, {"id": "b", "workflow": "two"}]
    converted = convert(words, [{"parent_id": "a", "child_id": "b"}], Naming(types={"": "external"}))
    assert [one["workflow_id"] for one in converted.data["workflows"]] == ["one"]
    assert converted.notes == ["workflows one, two became one, one, since edges lead from one to another"]
