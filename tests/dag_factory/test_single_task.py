"""A task process builds what is next to its task alone, and only where the whole would give the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dag_factory import factory, single_task, snapshot
from dag_factory.snapshot import Agreement
from dag_factory.source import DefinitionsUnavailableError, read_task, read_workflow
from provider.metadata.workflow_rows import Shard
from tests.dag_factory.built import lines
from tests.dag_factory.chains import chains, sql
from tests.dag_factory.definitions import Rows, good_rows, store

WHOLE = Shard()


@pytest.fixture
def whole_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Workflows that were read as a whole."""
    made: list[str] = []
    real = read_workflow

    def counted(workflow_id: str) -> object:
        made.append(workflow_id)
        return real(workflow_id)

    monkeypatch.setattr(factory, "read_workflow", counted)
    return made


def agreement(task_id: str, workflow_id: str = "daily_sales") -> Agreement:
    return snapshot.agrees(WHOLE, workflow_id, task_id, read_task(workflow_id, task_id))


def config_of(task_id: str) -> object:
    built = factory.build_one("daily_sales", only_task=task_id)
    return built.dags["daily_sales"].get_task(task_id).retries


@pytest.mark.parametrize("task_id", ["load_orders", "stg_orders", "archive_orders", "refresh_daily_sales"])
def test_an_unchanged_workflow_is_not_read_as_a_whole(task_id: str, stored: Rows, whole_reads: list[str]) -> None:
    built = factory.build_one("daily_sales", only_task=task_id)

    assert agreement(task_id) is Agreement.SAME
    assert (list(built.dags), built.problems, whole_reads) == (["daily_sales"], [], [])
    own, same = (dags["daily_sales"].get_task(task_id) for dags in (built.dags, factory.build_all().dags))
    assert own.upstream_task_ids == same.upstream_task_ids
    assert own.downstream_task_ids == same.downstream_task_ids
    assert type(own) is type(same)
    assert {name: getattr(own, name) for name in (*own.template_fields, "retries", "pool", "owner", "priority_weight")} == {
        name: getattr(same, name) for name in (*same.template_fields, "retries", "pool", "owner", "priority_weight")
    }


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ("UPDATE tasks SET retries = 3 WHERE task_id = 'stg_orders'", True),
        ("UPDATE tasks SET retries = 3 WHERE task_id = 'load_orders'", True),
        ("UPDATE workflows SET description = 'x' WHERE workflow_id = 'daily_sales'", True),
        ("DELETE FROM task_dependencies WHERE child_id = 'stg_orders'", True),
        ("INSERT INTO task_dependencies (parent_id, child_id) VALUES ('archive_orders', 'stg_orders')", True),
        ("UPDATE task_dependencies SET parent_id = 'archive_orders' WHERE child_id = 'stg_orders'", True),
        ("UPDATE tasks SET retries = 3 WHERE task_id = 'archive_orders'", False),
        ("DELETE FROM task_dependencies WHERE child_id = 'archive_orders'", False),
        ("UPDATE workflows SET description = 'x' WHERE workflow_id = 'calendar'", False),
    ],
)
def test_what_has_changed_next_to_the_task_is_looked_at_as_a_whole(
    change: str, differs: bool, stored: Rows, whole_reads: list[str]
) -> None:
    sql(change)

    assert agreement("stg_orders") is (Agreement.DIFFERS if differs else Agreement.SAME)
    factory.build_one("daily_sales", only_task="stg_orders")
    assert whole_reads == (["daily_sales"] if differs else [])


def test_a_change_does_not_count_while_the_workflow_is_broken_elsewhere(stored: Rows) -> None:
    sql(
        "UPDATE tasks SET retries = 3 WHERE task_id = 'stg_orders'",
        "UPDATE tasks SET retries = -1 WHERE task_id = 'archive_orders'",
    )

    assert config_of("stg_orders") == 1
    assert config_of("load_orders") == 5


@pytest.mark.parametrize(
    "change", ['config = \'{"project_id": "\\ud800"}\'', "retry_backoff = 9e999", "doc = x'00ff'"], ids=["half", "inf", "bytes"]
)
def test_rows_next_to_the_task_that_nobody_can_write_down(stored_embedded: Rows, change: str) -> None:
    """Then it is the last good definitions that count, as in the dag-processor."""
    factory.build_all()
    sql(f"UPDATE tasks SET {change} WHERE task_id = 'stg_orders'")

    assert agreement("refresh_daily_sales") is Agreement.DIFFERS
    assert list(factory.build_one("daily_sales", only_task="refresh_daily_sales").dags) == ["daily_sales"]


def test_the_watcher_is_there_where_something_lets_it_run_in_a_worker(stored: Rows) -> None:
    dag = factory.build_one("daily_sales", only_task="batch_watcher").dags["daily_sales"]
    assert (
        dag.get_task("batch_watcher").upstream_task_ids
        == factory.build_all().dags["daily_sales"].get_task("batch_watcher").upstream_task_ids
    )


def test_a_change_counts_at_once(stored: Rows) -> None:
    sql("UPDATE tasks SET retries = 3 WHERE task_id = 'stg_orders'")

    assert config_of("stg_orders") == 3


def test_on_a_machine_without_last_good_definitions_good_rows_are_enough(
    stored: Rows, snapshot_file: Path, whole_reads: list[str]
) -> None:
    snapshot_file.unlink()
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'refresh_daily_sales'")

    assert agreement("load_orders") is Agreement.SILENT
    assert config_of("load_orders") == 5
    assert whole_reads == []
    assert lines(factory.build_one("daily_sales", only_task="refresh_daily_sales")) != []
    assert whole_reads == ["daily_sales"]


def test_a_task_that_is_gone_comes_from_the_last_good_definitions(stored: Rows) -> None:
    sql("DELETE FROM tasks WHERE task_id = 'stg_orders'")

    assert config_of("stg_orders") == 1


@pytest.mark.parametrize("task_id", ["start_batch", "batch_watcher", "nobody"])
def test_tasks_that_need_the_whole_get_it(task_id: str, stored: Rows, whole_reads: list[str]) -> None:
    factory.build_one("daily_sales", only_task=task_id)

    assert whole_reads == ["daily_sales"]


def test_an_outage_is_waited_for_once(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def away(workflow_id: str, *_task_id: str) -> object:
        asked.append(workflow_id)
        raise DefinitionsUnavailableError("away")

    monkeypatch.setattr(single_task, "read_task", away)
    monkeypatch.setattr(factory, "read_workflow", away)
    built = factory.build_one("daily_sales", only_task="stg_orders")

    assert (list(built.dags), asked) == (["daily_sales"], ["daily_sales"])
    assert "the workflow tables cannot be read: away" in lines(built)[0]
    factory.build_one("daily_sales", only_task="stg_orders")
    assert asked == ["daily_sales"]


def test_what_an_operator_refuses_is_told(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> object:
        raise ValueError("not like this")

    monkeypatch.setattr(single_task, "build_dag", refuse)
    monkeypatch.setattr("dag_factory.building.build_dag", refuse)

    assert "not like this" in lines(factory.build_one("daily_sales", only_task="stg_orders"))[0]


# The snapshot is searched and not read.


@pytest.mark.parametrize("count", [1, 2, 3, 8, 33])
def test_each_workflow_is_found_among_many(count: int, embedded_database: str) -> None:
    rows = chains(count)
    store(rows)
    assert factory.build_all().problems == []

    assert {agreement(f"w{number}_1", f"w{number}") for number in range(count)} == {Agreement.SAME}
    nobody = read_task("w0", "w0_1")
    for workflow_id in ("", "a", "w", "w00", "w0_", "w1x", "zzz"):
        assert snapshot.agrees(WHOLE, workflow_id, "w0_1", nobody) is Agreement.SILENT


@pytest.mark.parametrize("content", [b"", b"\n", b"{}", b"\n\n\n", b'{"format":2}\n["daily_sales",{}]\n', b"\xff\xfe\x00" * 9])
def test_a_damaged_snapshot_agrees_with_nothing(content: bytes, stored: Rows, snapshot_file: Path) -> None:
    snapshot_file.write_bytes(content)

    assert agreement("stg_orders") is Agreement.DIFFERS


def test_a_cut_snapshot_does_not_agree(stored: Rows, snapshot_file: Path) -> None:
    whole = snapshot_file.read_bytes()
    for end in range(len(whole) - 40, len(whole) - 2, 5):
        snapshot_file.write_bytes(whole[:end])
        assert agreement("stg_orders") is not Agreement.SAME


def test_the_snapshots_of_another_number_of_shards_are_not_overlooked(stored: Rows, snapshot_file: Path) -> None:
    snapshot_file.rename(snapshot_file.with_name("definitions-1-of-2.json"))

    assert agreement("stg_orders") is Agreement.DIFFERS


def test_a_text_that_looks_like_an_edge_is_none(embedded_database: str) -> None:
    rows = good_rows()
    # The same bytes as an edge of the last good definitions that is gone from the table.
    edge = {"child_id": "stg_orders", "parent_id": "load_orders"}
    rows.task("stg_orders")["config"]["vars"] = {"edge": str(edge)}
    rows.dependencies.remove({"parent_id": "load_orders", "child_id": "stg_orders"})
    store(rows)
    assert factory.build_all().problems == []
    sql("INSERT INTO task_dependencies (parent_id, child_id) VALUES ('load_orders', 'stg_orders')")

    assert agreement("stg_orders") is Agreement.DIFFERS


def in_new_process(program: str) -> str:
    """Return what a program says of whoever parses."""
    command = [sys.executable, "-c", f"import os, sys; {program}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def loaded(*modules: str) -> str:
    return f"print('heavy', [m for m in {modules} if m in sys.modules])"


@pytest.mark.slow
def test_a_task_process_imports_no_classes_of_tables_and_no_other_task_type(stored_embedded: Rows, snapshot_file: Path) -> None:
    told = in_new_process(
        "import airflow.sdk.execution_time.task_runner;"
        "os.environ |= {'_AIRFLOW_PARSING_CONTEXT_DAG_ID': 'calendar', '_AIRFLOW_PARSING_CONTEXT_TASK_ID': 'dim_date'};"
        "from dag_factory.factory import build_dags; print('built', list(build_dags()));"
        + loaded(
            *("provider.metadata.table_base", "difflib", "dag_factory.dag_docs"),
            *("dag_factory.task_types.power_bi", "dag_factory.task_types.bigquery"),
        )
    )

    assert "built ['calendar']" in told
    assert "heavy []" in told


@pytest.mark.slow
def test_a_parse_of_all_workflows_maps_no_table_of_ours_or_of_airflow(stored_embedded: Rows, snapshot_file: Path) -> None:
    told = in_new_process(
        "from dag_factory.factory import build_dags; print('built', sorted(build_dags()));"
        + loaded("provider.metadata.table_base", "airflow.models.taskinstance")
    )

    assert "built ['calendar', 'daily_sales']" in told
    assert "heavy []" in told
