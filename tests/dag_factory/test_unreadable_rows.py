"""Rows that cannot even be read or written down: each is named, and takes no workflow away that was good."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy

from dag_factory import factory, outage, settling, source
from dag_factory.building import Built
from dag_factory.validation import validate
from provider.metadata.engine import get_engine
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Shard
from tests.dag_factory.built import ids, lines, wanted
from tests.dag_factory.definitions import Rows

BOTH = ["calendar", "daily_sales"]
LOSE = "DELETE FROM task_dependencies WHERE child_id = 'stg_orders'"
BLOB = "holds bytes (a BLOB) instead of text or a number; write it anew"
HALF = "holds half a surrogate pair, or bytes that are not UTF-8, which cannot be stored; remove it"
DEEP = "nested deeper than 40 levels; flatten it"


def write(*statements: str) -> None:
    """Write as any client of SQL does, for whom SQLite minds neither keys nor types."""
    engine = sqlalchemy.create_engine(get_engine().url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def deep_config(levels: int, task_id: str = "stg_orders") -> str:
    return f"UPDATE tasks SET config = '{nested(levels)}' WHERE task_id = '{task_id}'"


def far_down(callers: int, build: Callable[[], Built]) -> Built:
    """Build with so many callers above, as Airflow has them."""
    return build() if callers == 0 else far_down(callers - 1, build)


def told_of_all_shards(shards: int) -> tuple[list[str], list[str]]:
    """Return the DAGs and the problems of all shards."""
    built = [factory.build_all(Shard(number, shards)) for number in range(1, shards + 1)]
    return sorted(name for one in built for name in one.dags), sorted(line for one in built for line in lines(one))


# A bad row, and a loss beside it.


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE tasks SET doc = X'6162' WHERE task_id = 'stg_orders'", f"tasks row stg_orders: doc: {BLOB}"),
        ("UPDATE tasks SET pool = X'6162' WHERE task_id = 'stg_orders'", f"tasks row stg_orders: pool: {BLOB}"),
        ("UPDATE tasks SET retries = X'31' WHERE task_id = 'stg_orders'", f"tasks row stg_orders: retries: {BLOB}"),
        (
            "UPDATE workflows SET description = X'ff' WHERE workflow_id = 'daily_sales'",
            f"workflows row daily_sales: description: {BLOB}",
        ),
    ],
)
@pytest.mark.parametrize("meant", [False, True])
def test_a_blob_and_a_loss_keep_the_last_good_one(change: str, problem: str, meant: bool, stored_embedded: Rows) -> None:
    write(change, LOSE)
    if meant:
        write(
            "INSERT INTO workflow_versions (workflow_id, created_at, created_by, action, digest) "
            "VALUES ('daily_sales', '2026-01-01 00:00:00', 'ada', 'import', 'x')"
        )
    assert sorted(factory.build_dags()) == BOTH
    built = factory.build_all()

    assert (ids(built), lines(built)) == (BOTH, [problem])


@pytest.mark.parametrize("levels", [101, 700, 940, 960, 3000])
def test_deep_json_and_a_loss_keep_the_last_good_one(levels: int, stored: Rows) -> None:
    write(deep_config(levels), LOSE)
    first = far_down(60, factory.build_all)
    second = far_down(60, factory.build_all)

    assert ids(first) == ids(second) == BOTH
    assert [line.partition(": ")[0] for line in lines(second)] == ["tasks row stg_orders"]


@pytest.mark.parametrize("levels", [41, 100, 101, 940])
def test_deep_json_is_told_in_the_same_words_however_deep_it_is(levels: int, stored: Rows) -> None:
    write(f"UPDATE workflows SET params = '{'[' * levels}{']' * levels}' WHERE workflow_id = 'calendar'")
    (line,) = lines(far_down(60, factory.build_all))

    assert line.startswith("workflows row calendar: params")
    assert line.endswith(DEEP)


@pytest.mark.parametrize("more", ["9" * 5000, "[" * 5000 + "]" * 5000])
def test_what_comes_behind_a_nan_hides_no_other_row(more: str, stored_embedded: Rows) -> None:
    write(f"UPDATE tasks SET config = '[NaN, {more}]' WHERE task_id = 'dim_date'")
    built = factory.build_all()

    assert ids(built) == BOTH
    assert [line.partition(":")[0] for line in lines(built)] == ["tasks row dim_date"]


def test_rows_that_the_comparison_fails_on_cost_nobody_else(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(entry: Any) -> str:
        raise RecursionError("too deep")

    monkeypatch.setattr(settling, "digest", fail)
    write(LOSE)
    built = factory.build_all()

    assert ids(built) == BOTH
    assert lines(built) == ["workflows row daily_sales: cannot be checked: RecursionError: too deep; simplify its rows"]


@pytest.mark.parametrize("step", ["by_workflow", "circular", "in_effect"])
def test_rows_that_this_code_fails_on_leave_the_last_good_ones(
    step: str, stored: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise TypeError("nobody thought of it")

    monkeypatch.setattr(factory, step, fail)
    with caplog.at_level(logging.ERROR):
        built = factory.build_all()

    assert ids(built) == BOTH
    assert lines(built) == [
        "application database: the rows of the workflow tables cannot be used: TypeError: nobody thought of it; DAGs are built "
        "from the last good definitions, and the log has the traceback, to report"
    ]
    assert "nobody thought of it" in caplog.text


# Ids.

_NEW = (
    "INSERT INTO workflows (workflow_id) VALUES ('fresh')",
    "INSERT INTO tasks (task_id, workflow_id, task_type) VALUES ('f', 'fresh', 'external')",
)
_IDS = {
    "X'6162'": ("X'6162'", BLOB),
    "X'ff'": ("X'ff'", BLOB),
    "CAST(X'61ff' AS TEXT)": ("a?", HALF),
}


@pytest.mark.parametrize("value", _IDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_a_workflow_whose_id_is_no_text_is_named(value: str, shards: int, stored_embedded: Rows) -> None:
    shown, reason = _IDS[value]
    task = f"INSERT INTO tasks (task_id, workflow_id, task_type) VALUES ('t', {value}, 'external')"
    write(f"""INSERT INTO workflows (workflow_id, after) VALUES ({value}, '["daily_sales"]')""", task, *_NEW)

    assert told_of_all_shards(shards) == (
        sorted([*BOTH, "fresh"]),
        [f"tasks row t: workflow_id: {reason}", f"workflows row {shown}: workflow_id: {reason}"],
    )


@pytest.mark.parametrize("value", _IDS)
@pytest.mark.parametrize("shards", [1, 3])
def test_a_task_whose_id_is_no_text_is_named(value: str, shards: int, stored_embedded: Rows) -> None:
    shown, reason = _IDS[value]
    write(f"INSERT INTO tasks (task_id, workflow_id, task_type) VALUES ({value}, 'calendar', 'external')", *_NEW)

    assert told_of_all_shards(shards) == (sorted([*BOTH, "fresh"]), [f"tasks row {shown}: task_id: {reason}"])
    assert ids(factory.build_one("calendar", only_task="dim_date")) == ["calendar"]


@pytest.mark.parametrize(("parent", "child"), [("X'6162'", "'dim_date'"), ("'dim_date'", "X'6162'")])
def test_an_edge_whose_end_is_no_text_belongs_to_the_workflow_of_the_other(
    parent: str, child: str, stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"INSERT INTO task_dependencies VALUES ({parent}, {child})", *_NEW)
    built = factory.build_all()
    column = "parent_id" if parent.startswith("X") else "child_id"
    row = f"{parent} → {child}".replace("'dim_date'", "dim_date")

    assert ids(built) == sorted([*BOTH, "fresh"])
    assert [(one.workflow_id, str(one)) for one in built.problems] == [
        ("calendar", f"task_dependencies row {row}: {column}: {BLOB}")
    ]
    with wanted(monkeypatch, "calendar", "dim_date"):
        assert list(factory.build_dags()) == ["calendar"]
    assert not any("cannot be read" in line for line in lines(factory.build_one("calendar", only_task="dim_date")))


def test_an_edge_with_one_end_spoils_the_workflow_of_that_end(rows: Rows) -> None:
    rows.depend(None, "dim_date")
    found = validate(rows.definitions())

    assert [(one.workflow_id, one.message) for one in found.problems] == [
        ("calendar", "needs two task ids: parent_id and child_id")
    ]
    assert list(found.workflows) == ["daily_sales"]


def test_rows_without_an_id_are_a_group_of_their_own(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of this version do not take them, a table that somebody else made may."""
    read = source.read_rows

    def with_nulls(*args: Any) -> Any:
        found = read(*args)
        found.rows.workflows.append({"workflow_id": None})
        found.rows.tasks.append({"task_id": "t", "workflow_id": None, "task_type": "external"})
        found.rows.dependencies.append({"parent_id": None, "child_id": "t"})
        return found

    monkeypatch.setattr(factory, "read_rows", with_nulls)
    write(*_NEW)
    built = factory.build_all()

    assert ids(built) == sorted([*BOTH, "fresh"])
    assert "workflows row (without workflow_id): workflow_id: must be text, not empty" in lines(built)


def test_a_name_that_no_file_takes_does_not_keep_another_shard_from_its_snapshot(stored: Rows) -> None:
    write("""UPDATE workflows SET after = '["\\ud800"]' WHERE workflow_id = 'calendar'""")

    for _ in range(2):
        dags, problems = told_of_all_shards(3)
        assert dags == BOTH
        assert problems == [f"workflows row calendar: after[0]: {HALF}"]


# A task process and a bad neighbour.


@pytest.mark.parametrize(
    "change",
    [deep_config(940, "load_orders"), deep_config(960, "load_orders"), deep_config(940), deep_config(960)],
)
def test_a_task_process_has_a_last_good_definition(change: str, stored: Rows) -> None:
    write(change)
    built = far_down(60, lambda: factory.build_one("daily_sales", only_task="stg_orders"))

    assert ids(built) == ["daily_sales"]
    assert "stg_orders" in built.dags["daily_sales"].task_ids
    assert [line.endswith(f"config: {DEEP}") for line in lines(built)] == [True]


@pytest.mark.parametrize("name", ["validate", "build_dag", "snapshot.agrees"])
def test_a_short_way_that_fails_is_not_taken(name: str, stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RecursionError("too deep")

    with monkeypatch.context() as patch:
        patch.setattr(f"dag_factory.single_task.{name}", fail)
        built = factory.build_one("daily_sales", only_task="stg_orders")

    assert (ids(built), built.problems) == (["daily_sales"], [])


def test_a_task_process_survives_what_nobody_thought_of(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> DefinitionRows:
        raise TypeError("nobody thought of it")

    write(deep_config(940))
    monkeypatch.setattr(factory, "_counts", fail)
    built = factory.build_one("daily_sales", only_task="stg_orders")

    assert ids(built) == ["daily_sales"]
    assert "cannot be used: TypeError: nobody thought of it" in lines(built)[0]


# Texts that are not UTF-8.


@pytest.mark.parametrize("value", ["CAST(X'ff' AS TEXT)", "CAST(X'eda080' AS TEXT)", "CAST(X'61c3' AS TEXT)"])
@pytest.mark.parametrize(
    ("table", "column", "key"),
    [("workflows", "description", "calendar"), ("workflows", "after", "calendar"), ("tasks", "doc", "dim_date")],
)
def test_a_text_that_is_not_utf_8_is_named(value: str, table: str, column: str, key: str, stored_embedded: Rows) -> None:
    write(f"UPDATE {table} SET {column} = {value} WHERE {table[:-1]}_id = '{key}'")
    built = factory.build_all()

    assert (ids(built), lines(built)) == (BOTH, [f"{table} row {key}: {column}: {HALF}"])
    assert outage.reason() is None
    assert ids(factory.build_one("calendar", only_task="dim_date")) == ["calendar"]


@pytest.mark.parametrize(
    ("table", "column", "key"),
    [
        ("workflows", "params", "calendar"),
        ("workflows", "catchup", "calendar"),
        ("tasks", "config", "dim_date"),
        ("tasks", "enabled", "dim_date"),
    ],
)
def test_bytes_in_json_or_a_boolean_are_named(table: str, column: str, key: str, stored_embedded: Rows) -> None:
    write(f"UPDATE {table} SET {column} = X'ff' WHERE {table[:-1]}_id = '{key}'")
    built = factory.build_all()

    assert (ids(built), lines(built)) == (BOTH, [f"{table} row {key}: {column}: {HALF}"])
