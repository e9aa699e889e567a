"""The demo's checks find what is wrong; else its exit code 0 would say nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from demo.expectations import (
    EXPECTED_BATCH,
    EXPECTED_TASKS,
    FAILING,
    GOOD,
    MISSING_TABLE,
    Join,
    outer_join,
    wrong_calls,
    wrong_rows,
)
from provider.emulators.ledger import Ledger

Rows = list[dict[str, Any]]


def right_rows() -> tuple[Rows, Rows]:
    runs = [GOOD, FAILING, ("calendar", "scheduled__1")]
    batches = [{"workflow_id": flow, "batch_id": run, "status": EXPECTED_BATCH[flow]} for flow, run in runs]
    logs = [
        {"workflow_id": flow, "batch_id": run, "task_id": task, "status": status, "error_message": f"failed: {MISSING_TABLE}"}
        for flow, run in runs
        for task, status in EXPECTED_TASKS[flow].items()
    ]
    return batches, logs


def test_right_rows_have_no_problem() -> None:
    assert wrong_rows(*right_rows()) == []


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_missing_batch_is_found(position: int) -> None:
    batches, logs = right_rows()
    del batches[position]
    assert len(wrong_rows(batches, logs)) == 1


def test_a_wrong_status_a_missing_row_and_a_lost_reason_are_found() -> None:
    batches, logs = right_rows()
    batches[0]["status"] = "ERROR"
    del logs[1]
    next(row for row in logs if row["task_id"] == "stg_suppliers")["error_message"] = "Task failed"
    assert len(wrong_rows(batches, logs)) == 3


INVOCATION = "projects/p/locations/l/repositories/sales/workflowInvocations/{}"


def ledger(*operations: str) -> Ledger:
    book = Ledger()
    for number, operation in enumerate(operations):
        resource = INVOCATION.format(number) if operation.startswith("workflow") else "model"
        book.append("powerbi" if operation.startswith("refresh") else "dataform", operation, resource)
    return book


def test_one_refresh_after_both_invocations_is_right() -> None:
    done = "workflow_invocation_succeeded"
    assert wrong_calls(ledger(done, done, "refresh_posted").entries()) == []


@pytest.mark.parametrize(
    "operations",
    [
        ["workflow_invocation_succeeded", "refresh_posted", "workflow_invocation_succeeded"],
        ["workflow_invocation_succeeded", "workflow_invocation_succeeded", "refresh_posted", "refresh_posted"],
        ["workflow_invocation_succeeded", "workflow_invocation_succeeded"],
        ["workflow_invocation_succeeded", "refresh_posted"],
    ],
    ids=["too early", "twice", "never", "one invocation"],
)
def test_every_other_order_is_wrong(operations: list[str]) -> None:
    assert wrong_calls(ledger(*operations).entries())


def databases(folder: Path) -> tuple[Path, Path]:
    """Two SQLite files."""
    airflow, ours = folder / "airflow.db", folder / "accelerator.db"
    columns = "run_id, task_id, map_index, try_number"
    with sqlite3.connect(airflow) as connection:
        for table in ("task_instance", "task_instance_history"):
            connection.execute(f"CREATE TABLE {table} (dag_id, {columns}, state)")
        rows = [
            ("d", "r", "start_batch", -1, 1, "success"),
            ("d", "r", "a", -1, 2, "success"),
            ("d", "r", "b", -1, 0, "upstream_failed"),
        ]
        connection.executemany("INSERT INTO task_instance VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("INSERT INTO task_instance VALUES ('other', 'r', 'x', -1, 1, 'success')")
        connection.execute("INSERT INTO task_instance_history VALUES ('d', 'r', 'a', -1, 1, 'failed')")
        # Cleared before it ever ran: no try.
        connection.execute("INSERT INTO task_instance_history VALUES ('d', 'r', 'b', -1, 0, 'skipped')")
    with sqlite3.connect(ours) as connection:
        connection.execute(f"CREATE TABLE task_logs (workflow_id, batch_id, {columns.removeprefix('run_id, ')}, status)")
        logs = [("start_batch", 1, "SUCCESS"), ("a", 1, "ERROR"), ("a", 2, "SUCCESS"), ("b", 1, "BLOCKED")]
        connection.executemany("INSERT INTO task_logs VALUES ('d', 'r', ?, -1, ?, ?)", logs)
    return airflow, ours


def test_the_join_counts_every_try_of_a_workflow_and_no_other_dag(tmp_path: Path) -> None:
    join = outer_join(*(f"sqlite:///{path}" for path in databases(tmp_path)))
    assert join == Join(rows=4, missing_in_task_logs=0, missing_in_airflow=0, other_status=0)
    assert join.equal


def test_a_task_that_a_person_ended_while_it_waited_for_a_retry_has_another_try(tmp_path: Path) -> None:
    airflow, ours = databases(tmp_path)
    with sqlite3.connect(airflow) as connection:
        connection.execute("INSERT INTO task_instance_history VALUES ('d', 'r', 'c', -1, 3, 'failed')")
        connection.execute("INSERT INTO task_instance VALUES ('d', 'r', 'c', -1, 3, 'failed')")
    with sqlite3.connect(ours) as connection:
        connection.execute("INSERT INTO task_logs VALUES ('d', 'r', 'c', -1, 3, 'ERROR'), ('d', 'r', 'c', -1, 4, 'ERROR')")
    assert outer_join(f"sqlite:///{airflow}", f"sqlite:///{ours}") == Join(6, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DELETE FROM task_logs WHERE task_id = 'a' AND try_number = 1", Join(4, 1, 0, 0)),
        ("INSERT INTO task_logs VALUES ('d', 'r', 'ghost', -1, 1, 'NEW')", Join(5, 0, 1, 0)),
        ("UPDATE task_logs SET status = 'PROCESSING' WHERE task_id = 'b'", Join(4, 0, 0, 1)),
    ],
    ids=["missing", "ghost", "other status"],
)
def test_the_join_finds_every_difference(tmp_path: Path, change: str, found: Join) -> None:
    airflow, ours = databases(tmp_path)
    with sqlite3.connect(ours) as connection:
        connection.execute(change)
    join = outer_join(f"sqlite:///{airflow}", f"sqlite:///{ours}")
    assert join == found
    assert not join.equal
