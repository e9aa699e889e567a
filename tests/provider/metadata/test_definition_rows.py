"""What is read of the definitions; a task process reads what everybody reads, of its task and of what is next to it."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from sqlalchemy import JSON, Boolean, event, text

from provider.metadata import definition_rows
from provider.metadata.definition_rows import read_definitions, read_task_rows
from provider.metadata.engine import get_engine, read_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import Base
from tests.dag_factory.chains import sql
from tests.dag_factory.definitions import good_rows, store

each_database = pytest.mark.usefixtures("application_database")

NEXT_TO = {
    "stg_orders": {"load_orders", "stg_orders", "refresh_daily_sales"},
    "load_orders": {"load_orders", "stg_orders", "archive_orders"},
    "refresh_daily_sales": {"refresh_daily_sales", "stg_orders", "archive_orders"},
}


def next_to(task_id: str) -> DefinitionRows:
    """Return what is next to a task of all that there is."""
    with read_session() as session:
        whole = read_definitions(session, ["daily_sales"])
    return DefinitionRows(
        whole.workflows,
        [row for row in whole.tasks if row["task_id"] in NEXT_TO[task_id]],
        [row for row in whole.dependencies if task_id in row.values()],
    )


def read(task_id: str) -> DefinitionRows:
    with read_session() as session:
        return read_task_rows(session, "daily_sales", task_id)


@each_database
@pytest.mark.parametrize("task_id", NEXT_TO)
def test_rows_are_those_that_the_whole_has(task_id: str) -> None:
    store(good_rows())

    assert read(task_id) == next_to(task_id)


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    "change",
    [
        *("enabled = 'false'", "enabled = 'maybe'", "depends_on_past = 1", "depends_on_past = 'off'"),
        *(
            "config = '{\"a\": NaN}'",
            "config = 'no JSON'",
            'config = \'{"a": 1, "a": 2}\'',
            "config = 'null'",
            "retries = 'many'",
        ),
    ],
)
def test_what_people_wrote_comes_as_it_is(change: str) -> None:
    """SQLite takes all of these, PostgreSQL hardly any."""
    store(good_rows())
    sql("PRAGMA ignore_check_constraints = ON", f"UPDATE tasks SET {change} WHERE task_id = 'stg_orders'")

    found, expected = read("stg_orders"), next_to("stg_orders")
    # NaN is not what it is.
    assert json.dumps(asdict(found), sort_keys=True) == json.dumps(asdict(expected), sort_keys=True)


@each_database
def test_the_whole_has_all_columns_with_their_values() -> None:
    rows = good_rows()
    store(rows)
    with read_session() as session:
        whole = read_definitions(session)

    for table, read_rows, stored in (("workflows", whole.workflows, rows.workflows), ("tasks", whole.tasks, rows.tasks)):
        key = f"{table[:-1]}_id"
        assert [row[key] for row in read_rows] == sorted(row[key] for row in stored)
        assert all(row.keys() == set(Base.metadata.tables[table].columns.keys()) for row in read_rows)
        of = {row[key]: row for row in read_rows}
        assert all({**of[row[key]], **row} == of[row[key]] for row in stored)
    assert {tuple(row.items()) for row in whole.dependencies} == {tuple(row.items()) for row in rows.dependencies}


def test_columns_that_hold_json_or_booleans_are_known() -> None:
    for kind, known in ((JSON, definition_rows.JSON_COLUMNS), (Boolean, definition_rows.BOOLEAN_COLUMNS)):
        for table, names in known.items():
            found = {column.name for column in Base.metadata.tables[table].columns if isinstance(column.type, kind)}
            assert found == set(names)


@each_database
def test_a_key_that_is_there_twice_is_seen_on_each_database() -> None:
    store(good_rows())
    sql("""UPDATE tasks SET config = '{"a": 1, "a": 2}' WHERE task_id = 'stg_orders'""")

    found = next(row for row in read("stg_orders").tasks if row["task_id"] == "stg_orders")
    assert found["config"] == '{"a": 1, "a": 2}'


@each_database
def test_it_reads_no_more_where_the_workflow_has_more() -> None:
    rows = good_rows()
    for number in range(300):
        rows.tasks.append({"task_id": f"more{number}", "workflow_id": "daily_sales", "task_type": "external", "config": {}})
        rows.depend("refresh_daily_sales", f"more{number}")
    store(rows)
    statements = []
    event.listen(get_engine(), "before_cursor_execute", lambda *args: statements.append(args[2]))

    assert {row["task_id"] for row in read("stg_orders").tasks} == NEXT_TO["stg_orders"]
    assert sum("FROM" in statement and "alembic" not in statement for statement in statements) == 3


@each_database
def test_ids_are_values() -> None:
    store(good_rows())
    with read_session() as session:
        found = read_task_rows(session, "x' OR '1'='1", "y' OR '1'='1")
        session.execute(text("SELECT 1"))

    assert found == DefinitionRows()


@each_database
def test_a_number_that_python_cannot_read_hides_no_other_row() -> None:
    """The driver of PostgreSQL reads JSON by itself where nobody casts it."""
    store(good_rows())
    config = f'{{"a": {"7" * 5000}}}'
    sql(f"UPDATE tasks SET config = '{config}' WHERE task_id = 'stg_orders'")
    with read_session() as session:
        whole = read_definitions(session)

    assert {row["task_id"] for row in whole.tasks} == {row["task_id"] for row in good_rows().tasks}
    for rows in (whole, read("stg_orders")):
        assert next(row for row in rows.tasks if row["task_id"] == "stg_orders")["config"] == config
