from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import event, text

from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.definitions import read_definitions
from provider.metadata.engine import create_engine, dispose_engines, get_engine, read_session, write_session
from provider.metadata.tables import Task, TaskBatch, Workflow

REFRESH = {"workspace": "Sales", "semantic_model": "Daily Sales"}


def _task(task_id: str, *parents: str, **columns: Any) -> dict[str, Any]:
    return {"task_id": task_id, "task_type": "power_bi_refresh", "config": REFRESH, "depends_on": list(parents), **columns}


def _workflow(workflow_id: str, *tasks: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"workflow_id": workflow_id, "tasks": list(tasks), **columns}


@pytest.fixture
def write(tmp_path: Path):
    def write(*workflows: Any, name: str = "workflows.yaml") -> Path:
        path = tmp_path / name
        data = {"workflows": list(workflows)}
        path.write_text(json.dumps(data) if name.endswith(".json") else yaml.safe_dump(data, sort_keys=False))
        return path

    return write


def _stored() -> Any:
    with read_session() as session:
        return read_definitions(session)


def test_import_stores_rows_and_edges(accelerator, application_database: str, workflows_file: Path) -> None:
    result = accelerator("import", workflows_file)
    assert result.code == 0, result.err
    assert result.out == (
        "created    calendar (tasks: 1)\n"
        "created    daily_sales (tasks: 3)\n"
        "created    stock_levels (tasks: 3)\n"
        "Workflows: 3 created, 0 changed, 0 unchanged, 0 removed.\n"
    )
    rows = _stored()
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
    rows = _stored()
    (workflow,), (task,) = rows.workflows, rows.tasks
    given = {"workflow_id": "nightly", "schedule": "0 5 * * *", "start_date": "2026-01-01"}
    defaults = {"timezone": "UTC", "catchup": False, "enabled": True, "max_active_batches": 16, "params": [], "tags": []}
    assert {name: value for name, value in workflow.items() if value is not None} == {**given, **defaults, "default_args": {}}
    assert task["config"] == {"workspace": "no", "semantic_model": "010"}
    assert (task["enabled"], task["on_parent_skip"], task["retries"]) == (True, "skip", None)


def test_import_says_what_airflow_starts_at_once(accelerator, application_database: str, write) -> None:
    result = accelerator(
        "import",
        write(
            _workflow("all", _task("a"), schedule="0 5 * * *", start_date="2026-01-01", catchup=True),
            _workflow("last", _task("b"), schedule="0 5 * * *", start_date="2026-01-01"),
            _workflow("later", _task("c"), schedule="0 5 * * *", start_date="2199-01-01"),
            _workflow("off", _task("d"), schedule="0 5 * * *", start_date="2026-01-01", enabled=False),
        ),
    )
    notes = result.err.splitlines()

    assert result.code == 0
    assert [line[:38] for line in notes] == ["note: all: Airflow starts all its runs", "note: last: Airflow starts its run of "]
    assert notes[1].endswith(
        "05:00 (UTC) at once; write a start_date that is still to come where the first run is to be a later one."
    )


def test_import_replaces_the_workflows_of_the_file_and_leaves_the_others(accelerator, application_database: str, write) -> None:
    accelerator("import", write(_workflow("one", _task("a"), _task("b", "a"), _task("c", "b")), _workflow("two", _task("d"))))
    result = accelerator("import", write(_workflow("one", _task("a"), _task("b", "a", retries=1), _task("e", "a"))))
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
    rows = _stored()
    assert {row["task_id"]: row["workflow_id"] for row in rows.tasks} == {"a": "one", "b": "one", "e": "one", "d": "two"}
    assert {(edge["parent_id"], edge["child_id"]) for edge in rows.dependencies} == {("a", "b"), ("a", "e")}


def test_a_moved_edge_is_a_change_of_the_child(accelerator, embedded_database: str, write) -> None:
    accelerator("import", write(_workflow("one", _task("a"), _task("b"), _task("c", "a"))))
    result = accelerator("import", write(_workflow("one", _task("a"), _task("b"), _task("c", "b"))))
    assert result.out.splitlines()[0] == "changed    one (tasks: 1 changed)"


def test_an_import_that_does_not_name_it_leaves_what_was_switched_off(accelerator, application_database: str, write) -> None:
    accelerator("import", write(_workflow("one", _task("a"), _task("b"))))
    with write_session() as session:
        session.execute(text("UPDATE tasks SET enabled = false WHERE task_id = 'a'"))
        session.execute(text("UPDATE workflows SET enabled = false"))
    result = accelerator("import", write(_workflow("one", _task("a", retries=3), _task("b"))))
    assert result.out.splitlines()[1:-1] == ["             ~ tasks row a: retries"]
    rows = _stored()
    assert [row["enabled"] for row in [*rows.workflows, *rows.tasks]] == [False, False, True]

    result = accelerator("import", write(_workflow("one", _task("a", retries=3, enabled=True), _task("b"), enabled=True)))
    assert result.out.splitlines()[1:-1] == ["             ~ workflows row one: enabled", "             ~ tasks row a: enabled"]
    rows = _stored()
    assert [row["enabled"] for row in [*rows.workflows, *rows.tasks]] == [True, True, True]


def test_a_workflow_row_deleted_without_its_tasks_can_be_imported_again(accelerator, embedded_database: str, write) -> None:
    path = write(_workflow("one", _task("a"), _task("b", "a")))
    accelerator("import", path)
    before = _stored()
    with contextlib.closing(sqlite3.connect(embedded_database.removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM workflows")
        connection.commit()
    result = accelerator("import", path)

    assert (result.code, result.err, _stored()) == (0, "", before)


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
    accelerator("import", write(_workflow("one", _task("a")), _workflow("two", _task("b"), _task("c", "b"))))
    result = accelerator("import", "--prune", write(_workflow("one", _task("a"))))
    assert result.out == (
        "unchanged  one\n"
        "removed    two\n"
        "             - workflows row two\n"
        "             - tasks row b\n"
        "             - tasks row c\n"
        "             - task_dependencies row b → c\n"
        "Workflows: 0 created, 0 changed, 1 unchanged, 1 removed.\n"
    )
    rows = _stored()
    assert [row["task_id"] for row in rows.tasks] == ["a"]
    assert rows.dependencies == []


def test_a_task_may_move_when_both_workflows_are_in_the_file(accelerator, application_database: str, write) -> None:
    accelerator("import", write(_workflow("one", _task("a"), _task("b")), _workflow("two", _task("c"))))
    moved = write(_workflow("one", _task("a")), _workflow("two", _task("c"), _task("b")))
    assert accelerator("import", moved).code == 0
    assert {row["task_id"]: row["workflow_id"] for row in _stored().tasks} == {"a": "one", "b": "two", "c": "two"}


def test_dry_run_checks_and_stores_nothing(accelerator, application_database: str, write) -> None:
    result = accelerator("import", "--dry-run", write(_workflow("one", _task("a"))))
    assert result.code == 0
    assert result.out.splitlines()[-1].endswith("1 created, 0 changed, 0 unchanged, 0 removed. Nothing was stored (dry run).")
    assert _stored().workflows == []
    assert accelerator("import", "--dry-run", write(_workflow("one", _task("a", "a")))).code == 1


def test_every_problem_is_listed_and_nothing_is_stored(accelerator, application_database: str, write) -> None:
    path = write(
        _workflow("good", _task("a")),
        _workflow("typo", _task("b"), {**_task("c"), "dependson": ["b"]}),
        _workflow("values", _task("d", config={"workspace": "Sales"}), _task("e", retries="2"), timezone="Europe/Berln"),
        _workflow("loop", _task("f", "h"), _task("g", "f"), _task("h", "g")),
        _workflow("stranger", _task("i", "nobody")),
        "not an object",
        {"tasks": []},
    )
    result = accelerator("import", path)
    assert result.code == 1
    lines = result.out.splitlines()
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
    assert _stored().workflows == []


def test_ids_given_twice_are_refused(accelerator, application_database: str, write) -> None:
    accelerator("import", write(_workflow("stored", _task("taken"))))
    result = accelerator(
        "import",
        write(
            _workflow("one", _task("a"), _task("a"), _task("b", "a", "a")),
            _workflow("one", _task("c")),
            _workflow("two", _task("taken")),
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
    assert [row["workflow_id"] for row in _stored().workflows] == ["stored"]


def test_a_workflow_that_is_broken_already_does_not_keep_others_out(accelerator, application_database: str, write) -> None:
    with write_session() as session:
        session.add(Workflow(workflow_id="broken"))
        session.flush()
        session.add(Task(task_id="x", workflow_id="broken", task_type="no_such_type"))
    result = accelerator("import", write(_workflow("one", _task("a"))))
    assert result.code == 0
    assert result.err == "warning: workflows that are not in the file have 1 problem; `accelerator validate` lists them.\n"

    result = accelerator("import", write(_workflow("broken", _task("x"))))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == "changed    broken (could not be used before)"


def test_a_row_that_the_database_refuses_rolls_everything_back(accelerator, embedded_database: str, write) -> None:
    accelerator("import", write(_workflow("one", _task("a")), _workflow("two", _task("b"))))
    with write_session() as session:
        refuse = "CREATE TRIGGER no_z BEFORE INSERT ON tasks WHEN new.task_id = 'z' BEGIN SELECT RAISE(ABORT, 'no z'); END"
        session.execute(text(refuse))
    before = _stored()
    result = accelerator(
        "import", write(_workflow("one", _task("c")), _workflow("two", _task("z")), _workflow("three", _task("d")))
    )
    assert result.code == 1
    assert result.out == ""
    assert "nothing was stored" in result.err
    assert "no z" in result.err
    assert _stored() == before


def test_somebody_else_takes_a_task_id_meanwhile(accelerator, postgres_url: str, write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process commits a task between our look at the tables and our rows; PostgreSQL lets both write."""
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
    accelerator("import", write(_workflow("one", _task("a"))))
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
        result = accelerator("import", write(_workflow("one", _task("z"), _task("b"))))
        assert result.code == 1
        assert "was changed by somebody else at the same time; nothing was stored. Try again." in result.err
        assert {row["task_id"]: row["workflow_id"] for row in _stored().tasks} == {"a": "one", "b": "two"}
    finally:
        other.dispose()
        dispose_engines()


@pytest.mark.slow
def test_an_import_waits_for_nobody_forever(accelerator, application_database: str, write) -> None:
    """Another transaction holds the rows; the command gives up, says so, and stores nothing."""
    accelerator("import", write(_workflow("one", _task("a"))))
    with write_session() as session:
        session.execute(text("UPDATE workflows SET description = 'held' WHERE workflow_id = 'one'"))
        result = accelerator("import", write(_workflow("one", _task("b"))))
    assert result.code == 1
    assert result.err.startswith("error: the application database ")
    assert "is locked by another process; nothing was stored. Try again." in result.err
    assert [row["task_id"] for row in _stored().tasks] == ["a"]


def test_batches_survive_the_end_of_their_workflow(accelerator, application_database: str, write) -> None:
    from datetime import UTC, datetime

    accelerator("import", write(_workflow("one", _task("a")), _workflow("two", _task("b"))))
    with write_session() as session:
        now = datetime.now(UTC)
        session.add(TaskBatch(workflow_id="two", batch_id="B1", created_at=now, updated_at=now))
    accelerator("import", "--prune", write(_workflow("one", _task("a"))))
    with read_session() as session:
        assert session.get(TaskBatch, ("two", "B1")) is not None


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_export_gives_back_what_import_took(
    accelerator, application_database: str, workflows_file: Path, tmp_path: Path, form: str
) -> None:
    accelerator("import", workflows_file)
    exported = tmp_path / f"exported.{form}"
    exported.write_text(accelerator("export", "--format", form).out)
    assert accelerator("import", exported).out.splitlines()[-1] == "Workflows: 0 created, 0 changed, 3 unchanged, 0 removed."
    before = _stored()
    accelerator("import", "--prune", write_single(tmp_path))
    accelerator("import", "--prune", exported)
    assert _stored() == before


def write_single(folder: Path) -> Path:
    path = folder / "single.yaml"
    path.write_text(yaml.safe_dump({"workflows": [_workflow("other", _task("other_task"))]}))
    return path


def test_export_is_readable(accelerator, embedded_database: str, write) -> None:
    task = _task("b", "a", doc="# Refresh\n\nEvery day.\n", enabled=False, retries=0)
    accelerator("import", write(_workflow("one", _task("a"), task, max_active_batches=1), _workflow("two", _task("c"))))
    assert accelerator("export", "one").out == (
        "workflows:\n"
        "- workflow_id: one\n"
        "  max_active_batches: 1\n"
        "  tasks:\n"
        "  - task_id: a\n"
        "    task_type: power_bi_refresh\n"
        "    config:\n"
        "      workspace: Sales\n"
        "      semantic_model: Daily Sales\n"
        "  - task_id: b\n"
        "    task_type: power_bi_refresh\n"
        "    config:\n"
        "      workspace: Sales\n"
        "      semantic_model: Daily Sales\n"
        "    enabled: false\n"
        "    retries: 0\n"
        "    doc: |\n"
        "      # Refresh\n"
        "\n"
        "      Every day.\n"
        "    depends_on:\n"
        "    - a\n"
    )
    result = accelerator("export", "one", "three")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: there is no workflow three; stored are: one, two.\n"


def test_validate_names_the_cycle(accelerator, embedded_database: str, write) -> None:
    path = write(_workflow("loop", _task("A", "B"), _task("B", "A")))
    result = accelerator("validate", path)
    assert result.code == 1
    assert "cycle: A → B → A" in result.out
    assert result.err == f"error: 1 problem in {path}.\n"

    result = accelerator("validate", "--output", "json", path)
    assert result.code == 1
    report = json.loads(result.out)
    assert (report["workflows"], report["tasks"]) == (1, 2)
    (problem,) = report["problems"]
    assert (problem["workflow_id"], problem["row"]) == ("loop", "workflows row loop")


def test_validate_of_a_file_needs_no_database(accelerator, workflows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert accelerator("validate", workflows_file).out == "3 workflows, 7 tasks: no problems.\n"


def test_validate_of_the_tables_finds_what_sql_put_there(accelerator, application_database: str) -> None:
    with write_session() as session:
        session.execute(text("INSERT INTO workflows (workflow_id, schedule) VALUES ('one', 'at noon')"))
        session.execute(text("INSERT INTO tasks (task_id, workflow_id, task_type) VALUES ('a', 'one', 'dataform')"))
    result = accelerator("validate")
    assert result.code == 1
    assert "workflows row one: schedule: 'at noon' is not a schedule; " in result.out
    assert "tasks row a: config.project_id: missing" in result.out


@pytest.mark.parametrize(
    "content", ["", "[]", "workflows: []", "workflows: {}", "workflows: 7", "42", "workflows:\n- tasks: 3\n  workflow_id: x"]
)
def test_a_file_of_another_shape_is_a_problem_not_a_crash(accelerator, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    result = accelerator("validate", path)
    assert result.code == 1
    assert result.out
    assert "Traceback" not in result.err


def test_what_a_file_says_cannot_steer_the_terminal(accelerator, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"workflows": [{"workflow_id": "x\u001b[2J\u202e", "tasks": [], "k\u001b]0;": 1}]}))
    result = accelerator("validate", path)
    assert result.code == 1
    assert "\u001b" not in result.out + result.err
    assert "\u202e" not in result.out
    assert "\\x1b[2J" in result.out


def test_specs_and_tables_have_the_same_columns() -> None:
    """The keys of a file come from the specs; a column that only one of them has could not be stored, or not be given."""
    assert set(Workflow.__table__.columns.keys()) == set(WorkflowOptions.model_fields)
    assert set(Task.__table__.columns.keys()) == set(TaskSpec.model_fields)
