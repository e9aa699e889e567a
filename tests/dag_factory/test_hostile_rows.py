"""Rows that people write by SQL, on both databases: each mistake is named with table, key and column, and costs little."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError

from dag_factory import budget, factory, problems
from dag_factory.sizes import oversized, surplus
from dag_factory.validation import validate
from provider.exceptions import DefinitionError
from provider.metadata.definition_rows import disabled_task_ids, read_definitions
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import AlertRule, Task, Workflow
from tests.dag_factory.definitions import DATAFORM, Rows, good_rows, store


@pytest.fixture
def stored(application_database: str) -> Rows:
    rows = good_rows()
    store(rows)
    assert factory.build_all().problems == []
    return rows


def sql(statement: str, **values: Any) -> None:
    with write_session() as session:
        session.execute(text(statement), values)


def raw(statement: str) -> None:
    """Write what the tables of this version would refuse, as a table that somebody else made may hold it."""
    with write_session() as session:
        session.execute(text("PRAGMA ignore_check_constraints = ON"))
        session.execute(text(statement))


def problems_of_tables() -> list[str]:
    with read_session() as session:
        return [str(problem) for problem in validate(read_definitions(session)).problems]


# What a search for a near name costs.


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    search = difflib.get_close_matches

    def count(word: str, *args: Any, **options: Any) -> list[str]:
        names.append(word)
        return search(word, *args, **options)

    monkeypatch.setattr(difflib, "get_close_matches", count)
    return names


@pytest.mark.parametrize("distinct", [True, False])
def test_thousands_of_wrong_time_zones_cost_a_few_searches(distinct: bool, searched: list[str], rows: Rows) -> None:
    for number in range(2000):
        zone = f"Europe/Berln{number if distinct else ''}"
        rows.workflows.append({"workflow_id": f"w{number}", "timezone": zone})
        rows.tasks.append({"task_id": f"t{number}", "workflow_id": f"w{number}", "task_type": "external"})
    found = validate(rows.definitions()).problems

    assert len(found) == 2000
    assert str(found[0]).endswith("is not a time zone; did you mean Europe/Berlin?")
    assert len(searched) == (problems.MAX_SEARCHES if distinct else 1)
    assert validate(rows.definitions()).problems == found


def test_every_search_for_a_near_name_is_bounded(searched: list[str], rows: Rows) -> None:
    for number in range(200):
        name = f"w{number}"
        rows.workflows.append({"workflow_id": name, f"shedule{number}": 1, "default_args": {f"retrys{number}": 1}})
        config = {f"regon{number}": "{{ batch_dat" + str(number) + " | uper" + str(number) + " }}"}
        rows.tasks.append({"task_id": f"t{number}", "workflow_id": name, "task_type": "dataform", "config": config})
        rows.tasks.append({"task_id": f"u{number}", "workflow_id": name, "task_type": f"datafrom{number}"})
        rows.depend(f"t{number}x", f"t{number}")
    validate(rows.definitions())

    assert len(searched) == problems.MAX_SEARCHES


def test_a_long_name_is_compared_with_nothing(searched: list[str], rows: Rows) -> None:
    rows.workflow("calendar")["timezone"] = "Europe/" + "x" * 100_000
    (problem,) = validate(rows.definitions()).problems

    assert searched == []
    assert len(str(problem)) < 300


# What one row may hold, as a workflow cannot be broken off.

_TOO_MUCH: dict[str, tuple[str, str, str]] = {
    "params": (
        "UPDATE workflows SET params = :value WHERE workflow_id = 'calendar'",
        json.dumps([{"name": f"p{number}"} for number in range(501)]),
        "workflows row calendar: params: has 501 entries; 500 are the most, so make one an object with many keys",
    ),
    "tags": (
        "UPDATE workflows SET tags = :value WHERE workflow_id = 'calendar'",
        json.dumps(["x"] * 20_001),
        "workflows row calendar: tags: holds more than 20000 values; share them out to several rows",
    ),
    "description": (
        "UPDATE workflows SET description = :value WHERE workflow_id = 'calendar'",
        "x" * 2_000_001,
        "workflows row calendar: description: has more than 2000000 characters; shorten it",
    ),
    "config": (
        "UPDATE tasks SET config = :value WHERE task_id = 'dim_date'",
        json.dumps({**DATAFORM, "vars": {f"v{number}": [number] for number in range(10_000)}}),
        "tasks row dim_date: config: holds more than 20000 values; share them out to several rows",
    ),
    "keys": (
        "UPDATE tasks SET config = :value WHERE task_id = 'dim_date'",
        json.dumps({**DATAFORM, "vars": {"k" * 2_000_000: 1}}),
        "tasks row dim_date: config: has more than 2000000 characters; shorten it",
    ),
}


@pytest.mark.parametrize("case", _TOO_MUCH)
def test_a_row_that_holds_too_much_is_refused_and_costs_nobody_else(stored: Rows, case: str) -> None:
    statement, value, problem = _TOO_MUCH[case]
    sql(statement, value=value)
    built = factory.build_all()

    assert [str(found) for found in built.problems] == [problem]
    assert sorted(built.dags) == ["calendar", "daily_sales"]


def test_a_row_may_hold_as_much_as_is_said() -> None:
    row = {"params": [{"name": "a"}] * 500, "tags": ["x" * 100] * 20_000, "description": "x" * 2_000_000}
    assert list(oversized(row)) == []
    assert surplus([{"description": "x" * 1800, "tags": ["x"] * 90}]) == 0
    assert surplus([{"description": "x" * 12_000}, {"tags": [[1] * 200] * 2}]) == 5 + 60


def test_templates_count_for_more_than_other_characters() -> None:
    templates = "{{ batch_date }}" * 1000
    assert surplus([{"description": templates}]) == 7
    assert surplus([{"config": {"vars": [{"a": templates}]}}]) == 280


@pytest.fixture
def limits_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own limits, and a machine that takes a second for 300 rows."""
    monkeypatch.setattr(factory, "Budget", lambda _: budget.Budget(15.0))
    monkeypatch.setattr(budget, "_SECONDS_EACH", 1 / 300)


@pytest.mark.usefixtures("limits_of_airflow")
def test_a_column_may_be_as_long_as_is_said_within_the_limits_of_airflow(stored: Rows) -> None:
    sql("UPDATE workflows SET description = :value WHERE workflow_id = 'calendar'", value="x" * 2_000_000)
    built = factory.build_all()

    assert built.problems == []
    assert len(built.dags["calendar"].description or "") == 2_000_000


@pytest.mark.usefixtures("limits_of_airflow")
@pytest.mark.parametrize("known", [True, False])
def test_a_column_that_is_too_long_is_named_where_there_is_no_time_either(known: bool, stored: Rows) -> None:
    name = "calendar" if known else "fresh"
    if not known:
        stored.workflows.append({"workflow_id": name})
        stored.tasks.append({"task_id": "f", "workflow_id": name, "task_type": "external"})
        store(stored)
    sql("UPDATE workflows SET description = :value WHERE workflow_id = :name", value="x" * 20_000_000, name=name)
    built = factory.build_all()

    assert [str(problem) for problem in built.problems] == [
        f"workflows row {name}: description: has more than 2000000 characters; shorten it"
    ]
    assert sorted(built.dags) == ["calendar", "daily_sales"]


# Texts.


def test_hundreds_of_problems_make_one_short_error(stored: Rows) -> None:
    for number in range(400):
        stored.workflows.append({"workflow_id": f"w{number}", "timezone": "Mars/Olympus"})
    store(stored)
    factory.build_all()
    with pytest.raises(DefinitionError) as raised:
        factory.raise_definition_errors()
    lines = str(raised.value).splitlines()

    assert lines[0].startswith("800 problems in the workflow definitions.")
    assert len(lines) == problems.MAX_LISTED + 2
    assert lines[-1] == "- 750 more, which `accelerator validate` lists"
    assert len(str(raised.value)) < 10_000


def test_a_cycle_of_two_thousand_tasks_is_named_by_its_ends(rows: Rows) -> None:
    ids = [f"t{number:04}" for number in range(2000)]
    rows.tasks += [{"task_id": task_id, "workflow_id": "calendar", "task_type": "external"} for task_id in ids]
    for parent, child in zip(ids, [*ids[1:], ids[0]], strict=True):
        rows.depend(parent, child)
    (problem,) = validate(rows.definitions()).problems

    assert "dependencies form a cycle: t0000 → t0001 → t0002 → t0003 → t0004 → … 1991 more … → t1996" in problem.message
    assert problem.message.endswith("t1999 → t0000; delete one of them")


def test_an_edge_between_tasks_that_nobody_has_names_no_workflow(rows: Rows) -> None:
    rows.depend("ghost", "shadow")

    assert [str(problem) for problem in validate(rows.definitions()).problems] == [
        "task_dependencies row ghost → shadow: there is no task ghost; add it, or delete the row",
        "task_dependencies row ghost → shadow: there is no task shadow; add it, or delete the row",
    ]


def test_an_empty_database_url_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "")
    (problem,) = factory.build_all().problems

    assert "[accelerator] sql_alchemy_conn is not a SQLAlchemy URL" in str(problem)
    assert "***" not in str(problem)


# Near names, while each workflow is checked by itself.


def test_a_parse_as_a_whole_searches_within_bounds(searched: list[str], embedded_database: str, rows: Rows) -> None:
    for number in range(100):
        rows.workflows.append({"workflow_id": f"w{number}", "timezone": f"Europe/Berln{number}"})
    store(rows)
    factory.build_all()

    assert len(searched) == problems.MAX_SEARCHES


# Booleans.


@pytest.mark.parametrize(("spelling", "meant"), [("false", False), ("f", False), ("no", False), ("0", False), ("true", True)])
def test_a_boolean_is_what_its_text_says(spelling: str, meant: bool, stored: Rows, application_database: str) -> None:
    columns = ("workflows", "catchup"), ("workflows", "paused_at_first"), ("workflows", "enabled"), ("tasks", "enabled")
    for table, column in columns:
        key = "workflow_id" if table == "workflows" else "task_id"
        statement = f"UPDATE {table} SET {column} = '{spelling}' WHERE {key} IN ('calendar', 'dim_date')"
        if application_database.startswith("sqlite"):
            raw(statement)
        else:
            sql(statement)
    with read_session() as session:
        rows = read_definitions(session)
        disabled = disabled_task_ids(session, "calendar")

    calendar = next(row for row in rows.workflows if row["workflow_id"] == "calendar")
    dim_date = next(row for row in rows.tasks if row["task_id"] == "dim_date")
    assert [calendar[column] for table, column in columns if table == "workflows"] == [meant] * 3
    assert (dim_date["enabled"], disabled) == (meant, set() if meant else {"dim_date"})
    assert problems_of_tables() == []


@pytest.mark.parametrize("spelling", ["", "2", "maybe"])
def test_a_boolean_that_is_none_is_an_error_that_names_it(spelling: str, embedded_database: str) -> None:
    store(good_rows())
    raw(f"UPDATE tasks SET enabled = '{spelling}' WHERE task_id = 'dim_date'")
    raw(f"UPDATE workflows SET catchup = '{spelling}' WHERE workflow_id = 'calendar'")

    assert problems_of_tables() == [
        f"tasks row dim_date: enabled: must be true or false, not {spelling!r}",
        f"workflows row calendar: catchup: must be true or false, not {spelling!r}",
    ]


BOOLEANS = [
    (table.__tablename__, column.name)
    for table in (Workflow, Task, AlertRule)
    for column in table.__table__.columns
    if isinstance(column.type, sqlalchemy.Boolean)
]


def test_the_booleans_that_people_write_are_known() -> None:
    assert {("workflows", "enabled"), ("workflows", "paused_at_first"), ("tasks", "depends_on_past")} < set(BOOLEANS)


@pytest.mark.parametrize(("table", "column"), BOOLEANS)
def test_the_tables_take_no_boolean_that_is_none(table: str, column: str, stored: Rows) -> None:
    sql("INSERT INTO alert_rules (rule_id, events, notifier) VALUES ('r', 'failure', 'mail')")
    with pytest.raises((IntegrityError, DataError)):
        sql(f"UPDATE {table} SET {column} = :value", value="maybe")


# JSON.


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            """UPDATE workflows SET params = '[{"name": "a", "name": "b"}]' WHERE workflow_id = 'calendar'""",
            "workflows row calendar: params: has the key 'name' twice in one object; keep one",
        ),
        (
            """UPDATE workflows SET default_args = '{"retries": 1, "retries": 2}' WHERE workflow_id = 'calendar'""",
            "workflows row calendar: default_args: has the key 'retries' twice in one object; keep one",
        ),
        (
            """UPDATE tasks SET config = '{"region": "a", "vars": {"x": "1", "x": "2"}}' WHERE task_id = 'dim_date'""",
            "tasks row dim_date: config: has the key 'x' twice in one object; keep one",
        ),
    ],
)
def test_a_key_given_twice_in_json_is_refused(statement: str, message: str, stored: Rows) -> None:
    sql(statement.replace(":", r"\:"))

    assert problems_of_tables() == [message]


# Lists and nulls.


@pytest.mark.parametrize("start", ["null", "left out"])
@pytest.mark.parametrize("name", ["default", "d"])
def test_a_param_that_is_null_gets_its_default(start: str, name: str, stored: Rows) -> None:
    template = "{{ params.country | " + name + "('all') }}"
    param = '{"name"\\: "country"' + (', "default"\\: null}' if start == "null" else "}")
    sql(f"UPDATE workflows SET params = '[{param}]' WHERE workflow_id = 'calendar'")
    sql("UPDATE tasks SET config = :config WHERE task_id = 'dim_date'", config=json.dumps({**DATAFORM, "vars": {"c": template}}))
    built = factory.build_all()
    dag = built.dags["calendar"]
    task: Any = dag.get_task("dim_date")
    text_of = dag.get_template_env().from_string(task.vars["c"])

    assert built.problems == []
    assert text_of.render(params={"country": dag.params["country"]}) == "all"
    assert text_of.render(params={"country": ""}) == ""
    assert text_of.render(params={}) == "all"


@pytest.mark.parametrize(("key", "sent"), [("included_tags", ["orders"]), ("included_targets", ["orders"])])
def test_one_text_is_a_list_of_one(key: str, sent: list[str], stored: Rows) -> None:
    sql("UPDATE tasks SET config = :config WHERE task_id = 'dim_date'", config=json.dumps({**DATAFORM, key: "orders"}))
    built = factory.build_all()

    assert built.problems == []
    assert getattr(built.dags["calendar"].get_task("dim_date"), key) == sent


@pytest.mark.parametrize(
    ("task_type", "config"),
    [
        ("dataform", {**DATAFORM, "project_id": "example.com:p", "included_targets": ["example.com:p.mart.orders"]}),
        ("bigquery_load", {"bucket": "b", "source_objects": "x", "destination_table": "example.com:p.raw.orders"}),
        ("bigquery_load", {"bucket": "b", "source_objects": "x", "destination_table": "example.com:p:raw.orders"}),
        ("bigquery_query", {"sql": "SELECT 1", "project_id": "example.com:p", "destination_table": "example.com:p.raw.orders"}),
    ],
)
def test_a_project_may_belong_to_a_domain(task_type: str, config: dict[str, Any], stored: Rows) -> None:
    sql(
        "UPDATE tasks SET task_type = :task_type, config = :config WHERE task_id = 'dim_date'",
        task_type=task_type,
        config=json.dumps(config),
    )

    assert factory.build_all().problems == []
