"""What a run's rows say, computed from what Airflow says and what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.metadata import states
from provider.metadata.tables import TaskBatch, TaskLog
from provider.reconciler.airflow_state import RemoteJobState, RunState, TryState
from provider.reconciler.end_causes import End
from provider.reconciler.mirror import Asked, Difference, Stored, TryKey, difference, effective_tries, error_of_batch

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOW = AT + 10 * MINUTE
KEY = ("load", -1, 1)


def attempt(state: str | None, number: int = 1, *, live: bool = True, task_id: str = "load", **values: Any) -> TryState:
    times: dict[str, Any] = {"started_at": AT, "ended_at": NOW, "updated_at": NOW, **values}
    return TryState(task_id, -1, number, state, times["started_at"], times["ended_at"], times["updated_at"], live=live)


def run(*tries: TryState, state: str = "running", **values: Any) -> RunState:
    ended_at = None if state == "running" else NOW
    return RunState("sales", "b1", state, "manual", None, {}, AT, AT, AT, ended_at, tries, **values)


def log(status: str, **values: Any) -> TaskLog:
    """A stored row of the first try of ``load``."""
    names = ("airflow_state", "started_at", "ended_at", "error_type", "error_message", "end_cause", "ended_by")
    row: dict[str, Any] = dict.fromkeys((*names, "remote_job_id", "remote_job_url"))
    row |= {"workflow_id": "sales", "batch_id": "b1", "task_id": "load", "map_index": -1, "try_number": 1}
    return TaskLog(**row | {"status": status, "updated_at": AT, **values})


def stored(*logs: TaskLog, batch: TaskBatch | None = None, disabled: frozenset[str] = frozenset(), **values: Any) -> Stored:
    by_key: dict[TryKey, TaskLog] = {(one.task_id, one.map_index, one.try_number): one for one in logs}
    return Stored(batch, by_key, lambda _workflow_id: disabled, **values)


def asked(note: str | None = None, parents: Mapping[str, set[str]] | None = None) -> Asked:
    return Asked(lambda _key: parents or {}, lambda _run, _try: note, lambda _key, _attempt: None)


def compared(of: RunState, to: Stored | None = None, said: Asked | None = None) -> Difference:
    return difference(of, to or stored(), said or asked(), NOW)


def row(found: Difference) -> Any:
    (one,) = found.rows
    return one


@pytest.mark.parametrize(("ago", "over"), [(29, False), (30, False), (31, True)])
def test_a_failed_try_has_half_a_minute_to_say_why(ago: int, over: bool) -> None:
    found = compared(run(attempt("failed", ended_at=NOW - timedelta(seconds=ago))))
    text = (
        "The task process ended without a message (killed, out of memory, its machine lost, or the application database had no "
        "connection for it); see the Airflow log of try 1."
    )

    assert (row(found)["error_message"], found.settled) == (text if over else None, over)
    assert row(found)["end_cause"] == ("killed" if over else None)


def test_a_try_that_has_said_why_is_not_asked_about_again() -> None:
    """Although Airflow has changed its row since."""
    told = log("ERROR", error_type="ValueError", error_message="no rows", airflow_state=None, started_at=AT, ended_at=None)
    found = compared(run(attempt("failed")), stored(told), asked(note="heartbeat lost"))

    assert found.settled
    assert (row(found)["error_message"], row(found)["end_cause"]) == (None, "task")


@pytest.mark.parametrize(
    ("state", "status"), [("success", "SUCCESS"), ("running", "PROCESSING"), (None, "NEW"), ("skipped", "SKIPPED")]
)
def test_what_is_no_error_needs_no_second_look(state: str | None, status: str) -> None:
    found = compared(run(attempt(state)))
    assert (row(found)["status"], found.settled) == (status, True)


def test_a_task_that_left_the_dag_says_so() -> None:
    found = compared(run(attempt("removed")))
    assert (row(found)["status"], row(found)["error_message"]) == ("SKIPPED", "removed")


@pytest.mark.parametrize(
    ("scope", "disabled", "reason"),
    [
        (["other"], {"load"}, states.OUT_OF_SCOPE_REASON),
        (["load"], {"load"}, states.DISABLED_REASON),
        (None, {"load"}, states.DISABLED_REASON),
        (["load"], {"other"}, "skipped by Airflow's rules or by itself; see the Airflow log of try 1"),
    ],
)
def test_a_skipped_task_says_why(scope: list[str] | None, disabled: set[str], reason: str) -> None:
    batch = TaskBatch(scope_task_ids=scope, created_at=AT)
    assert row(compared(run(attempt("skipped")), stored(batch=batch, disabled=frozenset(disabled))))["error_message"] == reason


def test_a_task_that_is_blocked_again_says_by_which() -> None:
    before = log("BLOCKED", error_message="blocked by a", airflow_state="upstream_failed")
    edges = asked(parents={"load": {"b"}})
    above = attempt("failed", task_id="b", ended_at=AT)

    again = {one["task_id"]: one for one in compared(run(attempt("upstream_failed"), above), stored(before), edges).rows}
    assert again["load"]["error_message"] == "blocked by b"
    unchanged = run(attempt("upstream_failed", updated_at=AT), above)
    assert {one["task_id"]: one for one in compared(unchanged, stored(before), edges).rows}["load"]["error_message"] is None


def test_a_job_that_came_later_is_written_and_what_nobody_says_is_kept() -> None:
    same = {"airflow_state": "running", "started_at": AT}
    running, known = attempt("running"), log("PROCESSING", **same, remote_job_id="job/1", remote_job_url="https://x/1")
    jobs = {("load", -1): RemoteJobState({"1": {"id": "job/1", "url": "https://x/1"}, "2": {"id": "job/2"}})}

    found = row(compared(run(running, jobs=jobs), stored(log("PROCESSING", **same))))
    assert (found["remote_job_id"], found["remote_job_url"]) == ("job/1", "https://x/1")
    for nothing_new in ({}, jobs):
        assert compared(run(running, jobs=nothing_new), stored(known)).rows == []
    for column in ("remote_job_id", "remote_job_url"):
        other = log("PROCESSING", **same, **{"remote_job_id": "job/1", "remote_job_url": "https://x/1"} | {column: "other"})
        assert row(compared(run(running, jobs=jobs), stored(other)))[column] in ("job/1", "https://x/1")


def test_id_and_address_of_a_job_have_room_in_their_columns() -> None:
    jobs = {("load", -1): RemoteJobState({"1": {"id": "i" * 9_000, "url": "u" * 9_000}})}
    found = row(compared(run(attempt("running"), jobs=jobs)))
    assert (len(found["remote_job_id"]), len(found["remote_job_url"])) == (1000, 4000)


def test_rows_of_another_run_with_the_same_id_are_replaced() -> None:
    assert compared(run(attempt("running")), stored(replaced=True)).replaces
    assert not compared(run(attempt("running")), stored()).replaces


def test_history_comes_before_the_task_instance_that_waits_with_its_number() -> None:
    past, again = attempt("failed", 1, live=False), attempt("queued", 1)
    assert effective_tries(run(past, again)) == {KEY: past, ("load", -1, 2): again}
    retried = attempt("up_for_retry", 1)
    assert effective_tries(run(past, retried)) == {KEY: retried}


# The error of a batch.


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
    assert error_of_batch(rows, stored(log("ERROR", error_message="stored")), None) == error
