from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from provider.metadata.engine import create_engine, dispose_engines, get_engine, read_session, write_session
from provider.metadata.tables import Task, TaskBatch, Workflow
from tests.provider.cli.workflow_files import stored_rows, task_of, workflow_of


def test_import_stores_rows_and_edges(accelerator, application_database: str, workflows_file: Path) -> None:
    result = accelerator("import", workflows_file)
    assert result.code == 0, result.err
    assert result.out == (
        "created    calendar (tasks: 1)\n"
        "created    daily_sales (tasks: 3)\n"
        "created    stock_levels (tasks: 3)\n"
        "Workflows: 3 created, 0 changed, 0 unchanged, 0 removed.\n"
    )
    rows = stored_rows()
    assert [(edge["parent_id"], edge["child_id"]) for edge in rows.dependencies] == [
        ("stg_customers", "refresh_daily_sales"),
        ("stg_orders", "refresh_daily_sales"),
        ("stg_suppliers", "refresh_stock_levels"),
    ]
    assert accelerator("validate").out == "3 workflows, 7 tasks: no problems.\n"


def test_import_stores_what_is_given_and_leaves_the_rest_to_the_database(
    accelerator, application_database: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "workflows:\n- workflow_id: nightly\n  schedule: 0 5 * * *\n  start_date: 2026-01-01\n"
        "  tasks:\n  - {task_id: a, task_type: power_bi_refresh, config: {workspace: no, semantic_model: '010'}}\n"
    )
    result = accelerator("import", path)
    assert result.code == 0, result.out
    rows = stored_rows()
    (workflow,), (task,) = rows.workflows, rows.tasks
    given = {"workflow_id": "nightly", "schedule": "0 5 * * *", "start_date": "2026-01-01"}
    defaults = {"timezone": "UTC", "catchup": False, "enabled": True, "max_active_batches": 16, "params": [], "tags": []}
    defaults |= {"paused_at_first": False, "after": []}
    assert {name: value for name, value in workflow.items() if value is not None} == {**given, **defaults, "default_args": {}}
    assert task["config"] == {"workspace": "no", "semantic_model": "010"}
    assert (task["enabled"], task["on_parent_skip"], task["retries"]) == (True, "skip", None)
    assert (task["outlets"], task["expand"]) == ([], [])


def test_import_says_what_airflow_starts_at_once(accelerator, application_database: str, write) -> None:
    result = accelerator(
        "import",
        write(
            workflow_of("all", task_of("a"), schedule="0 5 * * *", start_date="2026-01-01", catchup=True),
            workflow_of("last", task_of("b"), schedule="0 5 * * *", start_date="2026-01-01"),
            workflow_of("later", task_of("c"), schedule="0 5 * * *", start_date="2199-01-01"),
            workflow_of("off", task_of("d"), schedule="0 5 * * *", start_date="2026-01-01", enabled=False),
        ),
    )
    notes = result.err.splitlines()

    assert result.code == 0
    assert [line[:38] for line in notes] == ["note: all: Airflow starts all its runs", "note: last: Airflow starts its run of "]
    assert notes[1].endswith(
        "05:00 (UTC) at once; write a start_date that is still to come where the first run is to be a later one."
    )


def test_import_replaces_the_workflows_of_the_file_and_leaves_the_others(accelerator, application_database: str, write) -> None:
    accelerator(
        "import", write(workflow_of("one", task_of("a"), task_of("b", "a"), task_of("c", "b")), workflow_of("two", task_of("d")))
    )
    result = accelerator("import", write(workflow_of("one", task_of("a"), task_of("b", "a", retries=1), task_of("e", "a"))))
    assert result.code == 0, result.err
    assert result.out == (
        "changed    one (tasks: 1 added, 1 changed, 1 removed)\n"
        "             + tasks row e\n"
        "             ~ tasks row b: retries\n"
        "             - tasks row c\n"
        "             + task_dependencies row a → e\n"
        "             - task_dependencies row b → c\n"
        "Workflows: 0 created, 1 changed, 0 unchanged, 0 removed.\n"
    )
    rows = stored_rows()
    assert {row["task_id"]: row["workflow_id"] for row in rows.tasks} == {"a": "one", "b": "one", "e": "one", "d": "two"}
    assert {(edge["parent_id"], edge["child_id"]) for edge in rows.dependencies} == {("a", "b"), ("a", "e")}


def test_a_moved_edge_is_a_change_of_the_child(accelerator, embedded_database: str, write) -> None:
    accelerator("import", write(workflow_of("one", task_of("a"), task_of("b"), task_of("c", "a"))))
    result = accelerator("import", write(workflow_of("one", task_of("a"), task_of("b"), task_of("c", "b"))))
    assert result.out.splitlines()[0] == "changed    one (tasks: 1 changed)"


def test_an_import_that_does_not_name_it_leaves_what_was_switched_off(accelerator, application_database: str, write) -> None:
    accelerator("import", write(workflow_of("one", task_of("a"), task_of("b"))))
    with write_session() as session:
        session.execute(text("UPDATE tasks SET enabled = false WHERE task_id = 'a'"))
        session.execute(text("UPDATE workflows SET enabled = false"))
    result = accelerator("import", write(workflow_of("one", task_of("a", retries=3), task_of("b"))))
    assert result.out.splitlines()[1:-1] == ["             ~ tasks row a: retries"]
    rows = stored_rows()
    assert [row["enabled"] for row in [*rows.workflows, *rows.tasks]] == [False, False, True]

    result = accelerator("import", write(workflow_of("one", task_of("a", retries=3, enabled=True), task_of("b"), enabled=True)))
    assert result.out.splitlines()[1:-1] == ["             ~ workflows row one: enabled", "             ~ tasks row a: enabled"]
    rows = stored_rows()
    assert [row["enabled"] for row in [*rows.workflows, *rows.tasks]] == [True, True, True]


def test_a_workflow_row_deleted_without_its_tasks_can_be_imported_again(accelerator, embedded_database: str, write) -> None:
    path = write(workflow_of("one", task_of("a"), task_of("b", "a")))
    accelerator("import", path)
    before = stored_rows()
    with contextlib.closing(sqlite3.connect(embedded_database.removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM workflows")
        connection.commit()
    result = accelerator("import", path)

    assert (result.code, result.err, stored_rows()) == (0, "", before)


def test_importing_again_writes_nothing(accelerator, application_database: str, workflows_file: Path) -> None:
    accelerator("import", workflows_file)
    statements: list[str] = []
    engine = get_engine()
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.append(statement))
    result = accelerator("import", workflows_file)
    assert result.out.splitlines()[-1] == "Workflows: 0 created, 0 changed, 3 unchanged, 0 removed."
    assert statements
    assert [statement for statement in statements if statement.split()[0] == "INSERT"] == []


def test_prune_removes_what_the_file_does_not_have(accelerator, application_database: str, write) -> None:
    accelerator("import", write(workflow_of("one", task_of("a")), workflow_of("two", task_of("b"), task_of("c", "b"))))
    result = accelerator("import", "--prune", write(workflow_of("one", task_of("a"))))
    assert result.out == (
        "unchanged  one\n"
        "removed    two\n"
        "             - workflows row two\n"
        "             - tasks row b\n"
        "             - tasks row c\n"
        "             - task_dependencies row b → c\n"
        "Workflows: 0 created, 0 changed, 1 unchanged, 1 removed.\n"
    )
    rows = stored_rows()
    assert [row["task_id"] for row in rows.tasks] == ["a"]
    assert rows.dependencies == []


def test_a_task_may_move_when_both_workflows_are_in_the_file(accelerator, application_database: str, write) -> None:
    accelerator("import", write(workflow_of("one", task_of("a"), task_of("b")), workflow_of("two", task_of("c"))))
    moved = write(workflow_of("one", task_of("a")), workflow_of("two", task_of("c"), task_of("b")))
    assert accelerator("import", moved).code == 0
    assert {row["task_id"]: row["workflow_id"] for row in stored_rows().tasks} == {"a": "one", "b": "two", "c": "two"}


def test_dry_run_checks_and_stores_nothing(accelerator, application_database: str, write) -> None:
    result = accelerator("import", "--dry-run", write(workflow_of("one", task_of("a"))))
    assert result.code == 0
    assert result.out.splitlines()[-1].endswith("1 created, 0 changed, 0 unchanged, 0 removed. Nothing was stored (dry run).")
    assert stored_rows().workflows == []
    assert accelerator("import", "--dry-run", write(workflow_of("one", task_of("a", "a")))).code == 1


def test_every_problem_is_listed_and_nothing_is_stored(accelerator, application_database: str, write) -> None:
    path = write(
        workflow_of("good", task_of("a")),
        workflow_of("typo", task_of("b"), {**task_of("c"), "dependson": ["b"]}),
        workflow_of("values", task_of("d", config={"workspace": "Sales"}), task_of("e", retries="2"), timezone="Europe/Berln"),
        workflow_of("loop", task_of("f", "h"), task_of("g", "f"), task_of("h", "g")),
        workflow_of("stranger", task_of("i", "nobody")),
        "not an object",
        {"tasks": []},
    )
    result = accelerator("import", path)
    assert result.code == 1
    placed = re.findall(r"^(?:\S+/workflows\.yaml:(\d+):(\d+): )?(.+)$", result.out, re.MULTILINE)
    lines = [said for _, _, said in placed]
    in_file = path.read_text().splitlines()
    begins = {said: in_file[int(line) - 1][int(column) - 1 :] for line, column, said in placed if line}
    for words, key in (
        *(("unknown key dependson", "dependson:"), ("config: give exactly", "config:"), ("retries: must", "retries:")),
        *(("timezone: 'Europe/Berln'", "timezone:"), ("form a cycle", "workflow_id: loop"), ("nobody → i", "depends_on:")),
        ("workflow_id: missing", "tasks:"),
    ):
        assert [begin for said, begin in begins.items() if words in said and begin.startswith(key)], (words, begins)
    for expected in (
        "workflows[1] typo: tasks[1] c: unknown key dependson; did you mean depends_on? known keys are: config, depends_on, ",
        "workflows[5]: must be an object, not 'not an object'",
        "workflows[6]: workflow_id: missing; add it",
        "tasks row d: config: give exactly one of semantic_model, report, dataflow; given: none",
        "tasks row e: retries: must be a whole number, not '2'",
        "workflows row values: timezone: 'Europe/Berln' is not a time zone; did you mean Europe/Berlin?",
        "workflows row loop: dependencies form a cycle: f → g → h → f; ",
        "task_dependencies row nobody → i: nobody is not a task of this workflow; ",
    ):
        assert [line for line in lines if line.startswith(expected)], f"{expected}\nnot in\n{result.out}"
    assert len(lines) == 8
    assert result.err == f"error: 8 problems in {path}; nothing was stored.\n"
    assert stored_rows().workflows == []


def test_ids_given_twice_are_refused(accelerator, application_database: str, write) -> None:
    accelerator("import", write(workflow_of("stored", task_of("taken"))))
    result = accelerator(
        "import",
        write(
            workflow_of("one", task_of("a"), task_of("a"), task_of("b", "a", "a")),
            workflow_of("one", task_of("c")),
            workflow_of("two", task_of("taken")),
        ),
    )
    assert result.code == 1
    for expected in (
        "tasks row a: task_id: used already; ",
        "workflows row one: given more than once; ",
        "task_dependencies row a → b: given more than once; ",
        "tasks row taken: task_id: used already by workflow stored; ",
    ):
        assert expected in result.out
    assert [row["workflow_id"] for row in stored_rows().workflows] == ["stored"]


def test_a_workflow_that_is_broken_already_does_not_keep_others_out(accelerator, application_database: str, write) -> None:
    with write_session() as session:
        session.add(Workflow(workflow_id="broken"))
        session.flush()
        session.add(Task(task_id="x", workflow_id="broken", task_type="no_such_type"))
    result = accelerator("import", write(workflow_of("one", task_of("a"))))
    assert result.code == 0
    assert result.err == "warning: workflows that are not in the file have 1 problem; `accelerator validate` lists them.\n"

    result = accelerator("import", write(workflow_of("broken", task_of("x"))))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == "changed    broken (could not be used before)"


def test_a_row_that_the_database_refuses_rolls_everything_back(accelerator, embedded_database: str, write) -> None:
    accelerator("import", write(workflow_of("one", task_of("a")), workflow_of("two", task_of("b"))))
    with write_session() as session:
        refuse = "CREATE TRIGGER no_z BEFORE INSERT ON tasks WHEN new.task_id = 'z' BEGIN SELECT RAISE(ABORT, 'no z'); END"
        session.execute(text(refuse))
    before = stored_rows()
    result = accelerator(
        "import", write(workflow_of("one", task_of("c")), workflow_of("two", task_of("z")), workflow_of("three", task_of("d")))
    )
    assert result.code == 1
    assert result.out == ""
    assert "nothing was stored" in result.err
    assert "no z" in result.err
    assert stored_rows() == before


def test_somebody_else_takes_a_task_id_meanwhile(accelerator, postgres_url: str, write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process commits a task between our look at the tables and our rows; PostgreSQL lets both write."""
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
    accelerator("import", write(workflow_of("one", task_of("a"))))
    other = create_engine(postgres_url)
    taken: list[bool] = []

    def take(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE") and not taken:
            taken.append(True)
            with other.begin() as connection:
                connection.execute(text("INSERT INTO workflows (workflow_id) VALUES ('two')"))
                connection.execute(text("INSERT INTO tasks (task_id, workflow_id, task_type) VALUES ('b', 'two', 'x')"))

    event.listen(get_engine(), "before_cursor_execute", take)
    try:
        result = accelerator("import", write(workflow_of("one", task_of("z"), task_of("b"))))
        assert result.code == 1
        assert "was changed by somebody else at the same time; nothing was stored. Try again." in result.err
        assert {row["task_id"]: row["workflow_id"] for row in stored_rows().tasks} == {"a": "one", "b": "two"}
    finally:
        other.dispose()
        dispose_engines()


@pytest.mark.slow
def test_an_import_waits_for_nobody_forever(accelerator, application_database: str, write) -> None:
    """Another transaction holds the rows; the command gives up, says so, and stores nothing."""
    accelerator("import", write(workflow_of("one", task_of("a"))))
    with write_session() as session:
        session.execute(text("UPDATE workflows SET description = 'held' WHERE workflow_id = 'one'"))
        result = accelerator("import", write(workflow_of("one", task_of("b"))))
    assert result.code == 1
    assert result.err.startswith("error: the application database ")
    assert "is locked by another process; nothing was stored. Try again." in result.err
    assert [row["task_id"] for row in stored_rows().tasks] == ["a"]


def test_batches_survive_the_end_of_their_workflow(accelerator, application_database: str, write) -> None:
    from datetime import UTC, datetime

    accelerator("import", write(workflow_of("one", task_of("a")), workflow_of("two", task_of("b"))))
    with write_session() as session:
        now = datetime.now(UTC)
        session.add(TaskBatch(workflow_id="two", batch_id="B1", created_at=now, updated_at=now))
    accelerator("import", "--prune", write(workflow_of("one", task_of("a"))))
    with read_session() as session:
        assert session.get(TaskBatch, ("two", "B1")) is not None
