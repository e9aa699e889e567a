"""What happens to workflows over several parses, on both databases: losses, outages, too little time, shards."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from sqlalchemy import event, text

from dag_factory import budget, factory, outage, settling, snapshot
from dag_factory.building import Built
from dag_factory.problems import Problem
from dag_factory.workflow_dag import build_dag
from provider.cli.dag_file_commands import dag_files
from provider.exceptions import DefinitionError
from provider.metadata.engine import get_engine, read_session, write_session
from provider.metadata.workflow_rows import Shard
from tests.dag_factory.definitions import DATAFORM, Rows, store


def chains(count: int, tasks: int = 3, prefix: str = "w") -> Rows:
    """Workflows of tasks one after another."""
    rows = Rows()
    for name in (f"{prefix}{number}" for number in range(count)):
        rows.workflows.append({"workflow_id": name})
        ids = [f"{name}_{task}" for task in range(tasks)]
        rows.tasks += [{"task_id": i, "workflow_id": name, "task_type": "dataform", "config": dict(DATAFORM)} for i in ids]
        for parent, child in itertools.pairwise(ids):
            rows.depend(parent, child)
    return rows


def sql(*statements: str) -> None:
    with write_session() as session:
        for statement in statements:
            session.execute(text(statement))


def shape(built: Built) -> dict[str, tuple[int, int]]:
    """Return tasks and edges of each DAG, those of start_batch left out."""
    found = {}
    for dag_id, dag in built.dags.items():
        tasks = [task for task in dag.tasks if task.task_id.startswith(dag_id)]
        found[dag_id] = len(tasks), sum(len(task.downstream_task_ids & {other.task_id for other in tasks}) for task in tasks)
    return found


def lines(built: Built) -> list[str]:
    return [str(problem) for problem in built.problems]


@pytest.fixture
def five(application_database: str) -> Rows:
    rows = chains(5)
    store(rows)
    assert factory.build_all().problems == []
    return rows


WHOLE = {f"w{number}": (3, 2) for number in range(5)}


# Losses.


def test_an_addition_counts_at_once(five: Rows) -> None:
    sql("INSERT INTO tasks (task_id, workflow_id, task_type, config) SELECT 'w0_new', workflow_id, task_type, config FROM tasks "
        "WHERE task_id = 'w0_0'")  # fmt: skip
    assert shape(factory.build_all()) == {**WHOLE, "w0": (4, 2)}


def test_what_an_author_writes_in_several_transactions_is_not_read_in_between(five: Rows) -> None:
    sql("DELETE FROM task_dependencies WHERE child_id LIKE 'w0_%'")
    assert shape(factory.build_all()) == WHOLE
    sql("DELETE FROM tasks WHERE task_id = 'w0_2'")
    assert shape(factory.build_all()) == WHOLE
    sql("INSERT INTO task_dependencies (parent_id, child_id) VALUES ('w0_0', 'w0_1')")
    assert shape(factory.build_all()) == WHOLE
    built = factory.build_all()

    assert (shape(built), built.problems) == ({**WHOLE, "w0": (2, 1)}, [])


def test_two_parses_at_once_are_one(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "APART_SECONDS", 3600.0)
    sql("DELETE FROM tasks WHERE task_id = 'w0_2'")
    for _ in range(3):
        assert shape(factory.build_all()) == WHOLE


def test_a_task_process_follows_the_snapshot_until_the_loss_counts(five: Rows) -> None:
    sql("DELETE FROM tasks WHERE task_id = 'w0_2'")
    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}
    factory.build_all()
    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}
    factory.build_all()
    assert shape(factory.build_one("w0")) == {"w0": (2, 1)}


def test_a_task_process_does_not_follow_a_snapshot_that_nobody_looks_after(five: Rows, snapshot_file: Path) -> None:
    sql("DELETE FROM tasks WHERE task_id = 'w0_2'")
    os.utime(snapshot_file, (0, 0))

    assert shape(factory.build_one("w0")) == {"w0": (2, 1)}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM task_dependencies", "5 workflows lost 0 tasks and 10 dependencies at once (w0, w1, w2, w3, w4)"),
        (
            "DELETE FROM task_dependencies WHERE child_id < 'w3'",
            "3 workflows lost 0 tasks and 6 dependencies at once",
        ),
        ("DELETE FROM tasks WHERE task_id LIKE '%_1' OR task_id LIKE '%_2'", "5 workflows lost 10 tasks and 10 dependencies"),
        ("DELETE FROM workflows WHERE workflow_id < 'w3'", "3 of 5 workflows are gone from the table at once (w0, w1, w2)"),
        ("DELETE FROM workflows", "5 of 5 workflows are gone from the table at once (w0, w1, w2, w3, w4)"),
    ],
)
def test_a_loss_that_nobody_meant_is_held_and_told_until_it_is_confirmed(
    statement: str, said: str, five: Rows, accelerator
) -> None:
    sql(statement)
    for _ in range(3):
        built = factory.build_all()
        assert shape(built) == WHOLE
        assert said in lines(built)[0]
        assert "run `accelerator confirm`" in lines(built)[0]
    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}
    assert accelerator("confirm").code == 0
    assert shape(factory.build_all()) != WHOLE
    assert [line for line in lines(factory.build_all()) if "at once" in line] == []


def test_workflows_without_any_task_keep_the_last_good_ones(five: Rows) -> None:
    sql("DELETE FROM tasks")
    for _ in range(3):
        built = factory.build_all()
        assert shape(built) == WHOLE
        assert lines(built)[0] == "workflows row w0: has no task; add a row to tasks"
    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}


def test_rows_that_come_back_end_the_hold(five: Rows) -> None:
    sql("DELETE FROM task_dependencies")
    factory.build_all()
    store(five)
    built = factory.build_all()

    assert (shape(built), built.problems, snapshot.load(factory.WHOLE).held) == (WHOLE, [], frozenset())


def test_a_confirmation_counts_once(five: Rows, accelerator) -> None:
    sql("DELETE FROM workflows WHERE workflow_id < 'w3'")
    factory.build_all()
    accelerator("confirm")
    factory.build_all()
    sql("DELETE FROM workflows")
    for _ in range(3):
        assert list(factory.build_all().dags) == ["w3", "w4"]


def test_a_pruned_workflow_is_gone_at_the_next_parse(five: Rows, accelerator, tmp_path: Path) -> None:
    accelerator_export = accelerator("export", "w3", "w4").out
    (tmp_path / "two.yaml").write_text(accelerator_export)
    assert accelerator("import", "--prune", tmp_path / "two.yaml").code == 0
    built = factory.build_all()

    assert (sorted(built.dags), built.problems) == (["w3", "w4"], [])


def test_a_loss_by_import_counts_at_once_everywhere(five: Rows, accelerator, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(accelerator("export", "w0").out.replace("    depends_on:\n    - w0_1\n", ""))
    assert accelerator("import", tmp_path / "one.yaml").code == 0

    assert shape(factory.build_one("w0")) == {"w0": (3, 1)}
    built = factory.build_all()
    assert (shape(built), built.problems) == ({**WHOLE, "w0": (3, 1)}, [])


def test_a_workflow_row_deleted_without_its_tasks_keeps_the_last_good_one(embedded_database: str) -> None:
    store(chains(5))
    factory.build_all()
    with contextlib.closing(sqlite3.connect(embedded_database.removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM workflows WHERE workflow_id = 'w0'")
        connection.commit()
    for _ in range(3):
        built = factory.build_all()
        assert shape(built) == WHOLE
        assert "tasks row w0_0: workflow_id: there is no row w0 in workflows; add it" in lines(built)
    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}


# Outages.


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls that open a session."""
    made: list[str] = []
    real = read_session

    def counted() -> Any:
        made.append("look")
        return real()

    monkeypatch.setattr("dag_factory.source.read_session", counted)
    return made


def test_one_failed_look_is_enough_for_all_processes(
    five: Rows, database_down: Callable[[], None], looks: list[str], snapshot_file: Path
) -> None:
    database_down()
    first = factory.build_all()
    second = factory.build_all()
    with pytest.raises(DefinitionError, match="the workflow tables cannot be read"):
        factory.raise_definition_errors()

    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}
    assert (shape(first), shape(second), looks) == (WHOLE, WHOLE, ["look"])
    assert lines(first) == lines(second)
    os.utime(snapshot_file.with_name("database-away"), (0, 0))
    factory.build_one("w0")
    assert looks == ["look", "look"]


def test_who_has_nothing_to_fall_back_on_looks(five: Rows, looks: list[str]) -> None:
    outage.begins("away")
    assert factory.build_one("w0").problems != []
    store(chains(1, prefix="new"))

    assert shape(factory.build_one("new0")) == {"new0": (3, 2)}
    assert (looks, outage.reason()) == (["look"], None)


# The file that shows the problems.


def test_the_errors_file_reads_and_builds_nothing(five: Rows, looks: list[str]) -> None:
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    factory.build_all()
    looks.clear()
    with pytest.raises(DefinitionError, match="tasks row w0_0: retries"):
        factory.raise_definition_errors()

    assert looks == []


def test_the_errors_file_parsed_before_any_other_says_nothing(application_database: str) -> None:
    factory.raise_definition_errors()


def test_a_dag_file_that_is_no_longer_parsed_is_told(five: Rows, snapshot_file: Path) -> None:
    os.utime(snapshot_file.with_name("problems.json"), (0, 0))
    with pytest.raises(DefinitionError, match="their DAG file was not parsed to its end since 1970-01-01 00:00 UTC"):
        factory.raise_definition_errors()


# Too little time.


class Clock:
    """A second for each task that was built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now = 0.0
        monkeypatch.setattr(factory, "Budget", lambda _: budget.Budget(seconds, self))
        real = build_dag

        def build(spec: Any, types: Any, *, only_task: str | None) -> Any:
            self.now += 1 + len(spec.tasks) + len(spec.edges)
            return real(spec, types, only_task=only_task)

        monkeypatch.setattr("dag_factory.building.build_dag", build)

    def __call__(self) -> float:
        return self.now


def test_what_airflow_knows_is_built_before_what_is_new(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    store(chains(20, prefix="a"))
    Clock(monkeypatch, 40)
    built = factory.build_all()

    assert set(WHOLE) <= shape(built).keys()
    assert (len(built.dags), len(built.problems)) == (5, 1)
    assert "DAG file: 20 workflows (a0, a1, a10, " in lines(built)[0]
    assert "cannot be built within the 40 seconds" in lines(built)[0]
    assert "accelerator init FOLDER --shards N" in lines(built)[0]


def test_without_time_for_changes_the_last_good_ones_are_used(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    sql("UPDATE workflows SET description = 'new'")
    Clock(monkeypatch, 36)
    built = factory.build_all()

    assert shape(built) == WHOLE
    assert [dag.description for _, dag in sorted(built.dags.items())] == ["new"] * 4 + [None]
    assert "1 workflow (w4) cannot be built within" in lines(built)[0]
    assert "so their last good definitions are used" in lines(built)[0]


def test_what_is_left_out_stays_in_the_snapshot(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 13)
    built = factory.build_all()

    assert sorted(built.dags) == ["w0", "w1"]
    assert "3 workflows (w2, w3, w4) cannot be built within" in lines(built)[0]
    assert sorted(snapshot.load(factory.WHOLE).entries) == sorted(WHOLE)


def test_the_time_stays_below_airflows_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(importing: str, parsing: str) -> float:
        monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", importing)
        monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", parsing)
        return budget.seconds_allowed()

    assert allowed("10", "1000") == pytest.approx(7)
    assert allowed("1000", "100") == pytest.approx(40)
    assert allowed("0", "100") == pytest.approx(40)


# Shards.


def test_shards_together_are_the_whole_and_read_only_their_part(five: Rows) -> None:
    read: list[Any] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        read.append((statement, parameters))

    event.listen(get_engine(), "before_cursor_execute", note)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    for shard in shards:
        built = factory.build_all(shard)
        mine = {name: WHOLE[name] for name in WHOLE if name in shard}
        assert (shape(built), built.problems) == (mine, [])
        assert sorted(snapshot.load(shard).entries) == sorted(mine)
        asked = [str(parameters) for statement, parameters in read if "FROM tasks" in statement and "config" in statement]
        assert all(name not in text for text in asked for name in WHOLE if name not in shard)
        read.clear()
    assert shape(factory.build_one("w0", next(shard for shard in shards if "w0" in shard))) == {"w0": (3, 2)}
    assert [factory.build_one("w0", shard).dags for shard in shards if "w0" not in shard] == [{}, {}]


def test_airflow_finds_each_dag_once_and_each_error_once(five: Rows, tmp_path: Path, database_down: Callable[[], None]) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    for name, content in dag_files(3).items():
        if name.startswith(("workflows", "definition")):
            (folder / name).write_bytes(content)
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    DagBag(folder)
    bag = DagBag(folder)
    assert sorted(bag.dags) == sorted(WHOLE)
    (error,) = bag.import_errors.values()
    assert "1 problem in the workflow definitions" in error

    database_down()
    DagBag(folder)
    bag = DagBag(folder)
    assert sorted(bag.dags) == sorted(WHOLE)
    (error,) = bag.import_errors.values()
    assert error.count("the workflow tables cannot be read") == 1


def test_a_new_number_of_shards_loses_no_last_good_definition(five: Rows) -> None:
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    for count in (4, 1):
        found: dict[str, Any] = {}
        for number in range(1, count + 1):
            found |= shape(factory.build_all(Shard(number, count)))
        assert found == WHOLE


def test_problems_are_left_up_to_a_limit(five: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dag_factory import problem_file

    monkeypatch.setattr(problem_file, "_KEPT", 2)
    shutil.rmtree(snapshot.folder())
    problem_file.save([Problem("w", f"row {number}", "bad") for number in range(5)], Shard())

    assert [str(problem) for problem in problem_file.load(Shard())] == [
        "row 0: bad",
        "row 1: bad",
        "workflow definitions: 3 more problems; `accelerator validate` lists them all",
    ]
