"""The line by which a batch says why it failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.metadata.tables import TaskLog
from provider.reconciler.end_causes import End
from provider.reconciler.mirror import Stored, error_of_batch

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def stored(*logs: TaskLog) -> Stored:
    return Stored(None, {(one.task_id, one.map_index, one.try_number): one for one in logs}, lambda _workflow_id: ())


def failed(task_id: str, minutes: float | None = 0, number: int = 1, **values: Any) -> dict[str, Any]:
    ended_at = None if minutes is None else AT + minutes * MINUTE
    key = {"task_id": task_id, "map_index": -1, "try_number": number}
    return {**key, "status": "ERROR", "ended_at": ended_at, "error_message": None, **values}


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (None, "the DAG run failed; see its page in Airflow"),
        (End("task"), "the DAG run failed; see its page in Airflow"),
        (End("marked_failed", "ann"), "the DAG run was marked failed by ann"),
    ],
)
def test_a_batch_without_a_failed_task_says_what_is_known(end: End | None, error: str) -> None:
    assert error_of_batch([failed("load", status="SUCCESS")], stored(), end) == error


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([failed("a")], "1 task failed: a"),
        (
            [failed("a", None, error_message="late"), failed("b", error_message="early")],
            "2 tasks failed: a, b; first error: early",
        ),
        ([failed("a", 1, error_message="x"), failed("a", 5, 2, status="SUCCESS"), failed("b")], "1 task failed: b"),
        ([failed("load", error_message="computed")], "1 task failed: load; first error: stored"),
        ([failed(name) for name in "abcde"], "5 tasks failed: a, b, c, d, e"),
        ([failed(name) for name in "gfedcba"], "7 tasks failed: a, b, c, d, e and 2 more"),
        ([failed("a", error_message="m" * 9_000)], "1 task failed: a; first error: " + "m" * 3_968 + "…"),
    ],
)
def test_a_batch_says_which_tasks_failed_and_the_first_error(rows: list[dict[str, Any]], error: str) -> None:
    told = TaskLog(task_id="load", map_index=-1, try_number=1, error_message="stored")
    assert error_of_batch(rows, stored(told), None) == error
