"""Rows of type ``sql``: what is refused, and what their operator does to a database, SQLite here, by a hook of Airflow's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.common.sql.operators.sql import BaseSQLOperator

from dag_factory.validation import validate
from tests.dag_factory.definitions import Rows
from tests.dag_factory.stored_dag import build, instance

TASK = "archive_orders"


class SqliteHook(DbApiHook):
    """What the provider of SQLite has, as far as it matters."""

    conn_name_attr = "sqlite_conn_id"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def get_conn(self) -> Any:
        return sqlite3.connect(self._file)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """A table, and the way to read it; each connection is one to it."""
    file = tmp_path / "shop.db"

    def select() -> list[Any]:
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute("SELECT * FROM stock ORDER BY 1, 2").fetchall()

    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE stock (day TEXT, pieces INTEGER)")
    monkeypatch.setattr(BaseSQLOperator, "get_hook", lambda _self, conn_id, hook_params: SqliteHook(file))
    return select


def made(rows: Rows, **config: Any) -> Any:
    task = rows.task(TASK)
    task.update(task_type="sql", config={"conn_id": "shop", **config})
    return build(rows).get_task(TASK)


def test_statements_run_in_one_transaction(rows: Rows, database: Callable[[], list[Any]]) -> None:
    insert = "INSERT INTO stock VALUES (:day, 7)"
    made(rows, sql=[insert, "UPDATE stock SET pieces = 8 WHERE day = :day"], parameters={"day": "monday"}).execute({})
    assert database() == [("monday", 8)]

    with pytest.raises(sqlite3.OperationalError, match="no such table: nothere"):
        made(rows, sql=[insert, "DELETE FROM nothere"], parameters={"day": "tuesday"}).execute({})
    assert database() == [("monday", 8)]


def test_a_value_cannot_become_sql(rows: Rows, database: Callable[[], list[Any]]) -> None:
    attack = "x'); DROP TABLE stock; --"
    made(rows, sql="INSERT INTO stock VALUES (?, ?)", parameters=[attack, None]).execute({})
    assert database() == [(attack, None)]


def test_one_text_of_several_statements(rows: Rows, database: Callable[[], list[Any]]) -> None:
    text = "INSERT INTO stock VALUES ('a;b', 1); INSERT INTO stock VALUES ('c', 2);"
    with pytest.raises((sqlite3.Warning, sqlite3.ProgrammingError)):
        made(rows, sql=text).execute({})
    made(rows, sql=text, split_statements=True).execute({})
    assert database() == [("a;b", 1), ("c", 2)]


def test_a_result_is_kept_where_the_row_says_so(rows: Rows, database: Callable[[], list[Any]]) -> None:
    made(rows, sql="INSERT INTO stock VALUES ('a', 1)").execute({})
    plain = made(rows, sql="SELECT * FROM stock")
    assert (plain.do_xcom_push, plain.execute({})) == (False, None)
    kept = made(rows, sql="SELECT * FROM stock", keep_result=True)
    assert (kept.do_xcom_push, kept.execute({})) == (True, [("a", 1)])


def test_a_statement_is_no_file_and_no_template(rows: Rows) -> None:
    task = made(rows, sql="DROP TABLE old.sql", parameters={"a": "b.json"})
    task.resolve_template_files()
    assert (task.sql, task.parameters, task.template_fields) == ("DROP TABLE old.sql", {"a": "b.json"}, ("conn_id", "parameters"))


def test_no_instance_of_an_expanded_task_reads_a_file(rows: Rows) -> None:
    rows.task(TASK)["expand"] = ["DROP TABLE old.sql", "DROP TABLE older.sql"]
    mapped = made(rows, sql="{{ item }}")
    assert [one["sql"] for one in mapped.expand_input.value] == ["DROP TABLE old.sql", "DROP TABLE older.sql"]
    assert (tuple(mapped.template_fields), tuple(mapped.template_ext)) == (("conn_id", "parameters"), ())
    assert instance(mapped.dag, TASK, 1).sql == "DROP TABLE older.sql"


def test_a_value_of_an_expanded_task_is_no_file(rows: Rows) -> None:
    rows.task(TASK)["expand"] = ["load.sql", "{{ batch_id }}.json"]
    mapped = made(rows, sql="INSERT INTO stock VALUES (?, 1)", parameters=["{{ item }}"])

    assert [instance(mapped.dag, TASK, number).parameters for number in range(2)] == [["load.sql"], ["Batch_1.json"]]


def test_nothing_is_tried_again_unless_the_row_says_so(rows: Rows) -> None:
    rows.workflow("daily_sales").pop("default_args", None)
    assert made(rows, sql="SELECT 1").retries == 0
    rows.task(TASK)["retries"] = 3
    assert made(rows, sql="SELECT 1").retries == 3


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            {"sql": "SELECT '{{ batch_date }}'"},
            "config.sql[0]: is no template, so that no value can become SQL; write a pla",
        ),
        ({"sql": ["SELECT 1", ""]}, "config.sql[1]: string should have at least 1 character"),
        ({"sql": []}, "config.sql: "),
        ({}, "config.sql: missing; add it"),
        ({"sql": ["SELECT 1", "SELECT 2"], "split_statements": True}, "config: split_statements: does not go with a list"),
        ({"sql": "SELECT 1", "handler": "print"}, "config.handler: unknown key"),
        ({"sql": "SELECT 1", "conn_id": ""}, "config.conn_id: string should have at least 1 character"),
        ({"sql": "SELECT :a", "parameters": {"a": "{{ conn.x.password }}"}}, "config.parameters.a: "),
    ],
)
def test_what_is_refused(config: dict[str, Any], problem: str, rows: Rows) -> None:
    rows.task(TASK).update(task_type="sql", config={"conn_id": "shop", **config})
    found = [str(one).removeprefix(f"tasks row {TASK}: ") for one in validate(rows.definitions()).problems]

    assert [line for line in found if line.startswith(problem)], found
