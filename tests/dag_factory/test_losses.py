"""What is lost from the tables: when it counts, when it is held, and who says that it was meant, on both databases."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from dag_factory import factory, settling, snapshot
from tests.dag_factory.built import lines
from tests.dag_factory.chains import WHOLE, Clock, chains, shape, sql
from tests.dag_factory.definitions import Rows, store


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


def test_a_confirmation_lasts_until_the_loss_has_counted(five: Rows, accelerator) -> None:
    sql("DELETE FROM task_dependencies", "UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    factory.build_all()
    accelerator("confirm")
    for _ in range(3):
        built = factory.build_all()
        assert shape(built) == {**dict.fromkeys(WHOLE, (3, 0)), "w0": (3, 2)}
        assert [line.partition(": ")[0] for line in lines(built)] == ["tasks row w0_0"]
    sql("UPDATE tasks SET retries = 1 WHERE task_id = 'w0_0'")
    assert shape(factory.build_one("w0")) == {"w0": (3, 0)}
    built = factory.build_all()
    assert (shape(built), built.problems) == (dict.fromkeys(WHOLE, (3, 0)), [])
    assert snapshot.load(factory.WHOLE).meant == {}


def test_a_confirmation_covers_no_more_than_what_was_lost_then(five: Rows, accelerator) -> None:
    sql("DELETE FROM task_dependencies", "UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    factory.build_all()
    accelerator("confirm")
    factory.build_all()
    sql("DELETE FROM tasks WHERE task_id IN ('w0_1', 'w0_2')", "UPDATE tasks SET retries = 1 WHERE task_id = 'w0_0'")
    for _ in range(3):
        built = factory.build_all()
        assert shape(built)["w0"] == (3, 2)
        assert "1 workflows lost 2 tasks and 2 dependencies at once (w0)" in lines(built)[0]


def test_a_loss_by_import_lasts_until_there_is_time_for_it(
    five: Rows, accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.yaml").write_text(accelerator("export", "w0").out.replace("    depends_on:\n    - w0_1\n", ""))
    assert accelerator("import", tmp_path / "one.yaml").code == 0
    with monkeypatch.context() as patch:
        Clock(patch, 36)
        assert shape(factory.build_all()) == WHOLE

    assert shape(factory.build_all()) == {**WHOLE, "w0": (3, 1)}


def test_confirm_lists_what_is_gone_first(five: Rows, accelerator) -> None:
    sql(
        "DELETE FROM workflows WHERE workflow_id = 'w0'",
        "DELETE FROM tasks WHERE task_id = 'w1_2'",
        "DELETE FROM task_dependencies WHERE child_id = 'w2_1'",
    )
    listed = accelerator("confirm", "--dry-run")
    assert (listed.code, listed.err) == (0, "")
    assert listed.out.splitlines() == [
        "gone       w0 (tasks: 3, dependencies: 2)",
        "             - workflows row w0",
        *(f"             - tasks row w0_{number}" for number in range(3)),
        "             - task_dependencies row w0_0 → w0_1",
        "             - task_dependencies row w0_1 → w0_2",
        "smaller    w1 (tasks: 1, dependencies: 1)",
        "             - tasks row w1_2",
        "             - task_dependencies row w1_1 → w1_2",
        "smaller    w2 (tasks: 0, dependencies: 1)",
        "             - task_dependencies row w2_0 → w2_1",
        "Nothing was confirmed (dry run).",
    ]
    assert shape(factory.build_all()) == WHOLE
    confirmed = accelerator("confirm")
    assert confirmed.out.splitlines()[:-1] == listed.out.splitlines()[:-1]
    assert confirmed.out.splitlines()[-1].startswith(
        "Confirmed: 4 workflows, 11 tasks and 6 dependencies are all that there should be."
    )
    assert shape(factory.build_all()) == {"w1": (2, 1), "w2": (3, 1), "w3": (3, 2), "w4": (3, 2)}


def test_where_nothing_is_gone_nothing_is_confirmed(five: Rows, accelerator) -> None:
    result = accelerator("confirm")
    assert (result.code, result.out) == (
        0,
        "The tables have all that the last good definitions have; there is nothing to confirm.\n",
    )
    sql("DELETE FROM workflows")
    assert shape(factory.build_all()) == WHOLE


def test_confirm_where_no_dag_processor_is_says_that_it_lists_nothing(five: Rows, accelerator, snapshot_file: Path) -> None:
    sql("DELETE FROM workflows")
    os.utime(snapshot_file, (0, 0))
    result = accelerator("confirm")

    assert result.err == (
        "note: what is gone cannot be listed, as the last good definitions are not known: this machine has none in "
        f"{snapshot_file.parent} that a dag-processor looks after\n"
    )
    assert (result.code, result.out.partition(",")[0]) == (0, "Confirmed: 0 workflows")
    assert factory.build_all().dags == {}


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
