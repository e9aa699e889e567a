"""What a run's rows say, computed from what Airflow says and what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from provider.airflow_internals.audit_log import PersonAct
from provider.metadata import states
from provider.metadata.engine import read_session
from provider.metadata.tables import TaskBatch, TaskLog
from provider.reconciler.airflow_state import LeftText, RemoteJobState, RunState, TryReport, TryState
from provider.reconciler.mirror import (
    Asked,
    Difference,
    Stored,
    TryKey,
    difference,
    differing_columns,
    effective_tries,
)
from provider.reconciler.writing import mirror_runs

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOW = AT + 10 * MINUTE
KEY = ("load", -1, 1)


def attempt(state: str | None, number: int = 1, *, live: bool = True, task_id: str = "load", **values: Any) -> TryState:
    times: dict[str, Any] = {"started_at": AT, "ended_at": NOW, "updated_at": NOW, **values}
    return TryState(task_id, -1, number, state, times["started_at"], times["ended_at"], times["updated_at"], live=live)


def run(*tries: TryState, state: str = "running", conf: Mapping[str, Any] | None = None, **values: Any) -> RunState:
    ended_at = None if state == "running" else NOW
    run_type, by = values.pop("run_type", "manual"), values.pop("triggered_by", None)
    created_at = values.pop("created_at", AT)
    return RunState("sales", "b1", state, run_type, by, conf or {}, AT, created_at, AT + MINUTE, ended_at, tries, **values)


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
    return Asked(lambda _key: parents or {}, lambda _run, _try: note, lambda _key, _attempt: None, lambda _run: True)


def reported(state: str, minutes: float = 0) -> Asked:
    """Let a process of Airflow have reported an end of each try."""
    return replace(asked(), reports=lambda _run, _try: TryReport(AT + minutes * MINUTE, state))


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


@pytest.mark.parametrize(
    ("above", "reason"),
    [
        ({"a": "failed"}, "blocked by a"),
        ({"a": "upstream_failed", "b": "failed", "c": "failed"}, "blocked by b, c"),
        ({"a": "upstream_failed", "b": "success"}, "blocked by a"),
        ({"a": "upstream_failed", "b": "upstream_failed", "d": "failed"}, "blocked by d"),
        (
            {"a": "success", "b": "failed"},
            "blocked by gone, as it was then and is no more; clear this task, and Airflow decides anew",
        ),
    ],
)
def test_a_blocked_task_names_what_failed_above_what_is_blocked(above: dict[str, str], reason: str) -> None:
    edges = {"load": {"a", "gone"}, "a": {"b", "c", "load"}, "b": {"d", "a"}}
    tries = [attempt(state, task_id=task_id, ended_at=AT) for task_id, state in above.items()]
    past = attempt("failed", task_id="gone", live=False, ended_at=AT)
    found = compared(run(past, attempt("upstream_failed"), *tries), said=asked(parents=edges))
    assert {one["task_id"]: one["error_message"] for one in found.rows}["load"] == reason


@pytest.mark.parametrize(("parents", "names"), [({"a", "b"}, "a, b"), (set(), "a task above")])
def test_a_blocked_task_whose_parents_have_not_failed_says_what_to_do(parents: set[str], names: str) -> None:
    """As after a mark and a clear at the moment in which the scheduler looked; or its DAG is gone."""
    tries = [attempt("success", task_id=task_id, ended_at=AT) for task_id in ("a", "b")]
    found = compared(run(attempt("upstream_failed"), *tries), said=asked(parents={"load": parents}))
    reasons = {one["task_id"]: one["error_message"] for one in found.rows}
    assert str(reasons["load"]).startswith(f"blocked by {names}, as it was then")


def test_what_was_done_elsewhere_or_begins_each_batch_is_not_out_of_scope() -> None:
    batch, conf = TaskBatch(scope_task_ids=["other"], created_at=AT), {"_accelerator": {"completed_task_id": "load"}}
    found = compared(run(attempt("skipped"), conf=conf), stored(batch=batch))
    assert row(found)["error_message"] == states.DONE_ELSEWHERE_REASON
    opening = compared(run(attempt("skipped", task_id="start_batch")), stored(batch=batch))
    assert str(row(opening)["error_message"]).startswith("skipped by Airflow's rules")


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
    assert compared(run(attempt("running")), stored(run_after=AT - MINUTE)).replaces
    for nothing in (stored(), stored(run_after=AT)):
        assert not compared(run(attempt("running")), nothing).replaces


def test_history_comes_before_the_task_instance_that_waits_with_its_number() -> None:
    past, again = attempt("failed", 1, live=False), attempt("queued", 1)
    assert effective_tries(run(past, again)) == {KEY: past, ("load", -1, 2): again}
    for goes_on in (attempt("up_for_retry", 1), attempt("restarting", 1)):
        assert effective_tries(run(past, goes_on)) == {KEY: goes_on}
    never_began, began = attempt("failed", 0, live=False), attempt("running", 1)
    assert effective_tries(run(never_began, began)) == {KEY: began}


def test_what_the_process_could_not_write_is_the_error_of_its_own_try() -> None:
    left = {("load", -1): LeftText(2, "ValueError", "no rows", "remote")}
    first, second = compared(run(attempt("failed", 1, live=False, ended_at=AT), attempt("failed", 2), texts=left)).rows
    assert first["error_message"] is not None
    assert "ended without a message" in first["error_message"]
    assert (first["error_type"], first["end_cause"]) == (None, "killed")
    assert (second["error_type"], second["error_message"], second["end_cause"]) == ("ValueError", "no rows", "remote")
    skipped = row(compared(run(attempt("skipped", 2), texts=left)))
    assert (skipped["error_type"], skipped["end_cause"]) == (None, "upstream")


def test_what_the_scheduler_says_of_a_try_is_asked_by_its_key() -> None:
    said: list[Any] = []

    def note(*of: Any) -> str:
        said.append(of)
        return "lost"

    assert row(compared(run(attempt("failed")), said=replace(asked(), note=note)))["error_message"] == "lost"
    assert said == [(("sales", "b1"), KEY)]


def test_a_try_that_ended_otherwise_than_it_said_has_no_reason_of_its_first_end() -> None:
    told = log("ERROR", error_type="ValueError", error_message="no rows", end_cause="task")
    skipped = row(compared(run(attempt("skipped")), stored(told)))
    assert skipped["error_message"] == "skipped by Airflow's rules or by itself; see the Airflow log of try 1"
    kept = row(compared(run(attempt("failed")), stored(told)))
    assert (kept["error_message"], kept["end_cause"]) == (None, "task")


def test_a_task_that_a_person_marked_names_the_person() -> None:
    mark = PersonAct(NOW, "ann", "marked", "sales", "b1", "failed", "load")
    found = compared(run(attempt("failed", started_at=NOW), acts=(mark,)))
    assert row(found) | {"started_at": None, "end_cause": "marked_failed", "ended_by": "ann"} == row(found)
    assert (row(found)["error_message"], found.settled) == ("marked failed by ann", True)
    itself = row(compared(run(attempt("failed"), acts=(mark,)), said=reported("failed", 20)))
    assert (itself["ended_by"], itself["started_at"]) == (None, AT)


def test_a_task_that_timed_out_with_its_run_is_an_error_that_ended_with_it() -> None:
    found = row(compared(run(attempt("skipped", ended_at=None), state="failed")))
    assert (found["status"], found["ended_at"], found["end_cause"]) == ("ERROR", NOW, "run_timeout")
    assert found["error_message"] == "the DAG run timed out before this task was done"


def test_the_row_of_a_try_is_whole() -> None:
    assert row(compared(run(attempt("success", 2)))) == {
        **{"workflow_id": "sales", "batch_id": "b1", "task_id": "load", "map_index": -1, "try_number": 2},
        **{"status": "SUCCESS", "airflow_state": "success", "started_at": AT, "ended_at": NOW},
        **{"error_type": None, "error_message": None, "end_cause": "task", "ended_by": None},
        **{"remote_job_id": None, "remote_job_url": None, "remote_job": None, "row_source": "reconciler"},
    }
    for state in ("queued", "running"):
        waits = row(compared(run(attempt(state, 2))))
        assert (waits["started_at"] is None, waits["ended_at"]) == (state == "queued", None)


@pytest.mark.parametrize("state", ["a state of the future", "deferred"])
def test_a_state_that_goes_on_or_that_nobody_knows_is_at_work(state: str) -> None:
    found = compared(run(attempt(state), state=state))
    assert (row(found)["status"], row(found)["airflow_state"]) == ("PROCESSING", state)
    assert found.batch is not None
    assert (found.batch["status"], found.batch["airflow_state"]) == ("PROCESSING", state)


# The row of a batch.


def test_the_row_of_a_batch_that_goes_on_is_whole() -> None:
    assert compared(run(triggered_by="rest_api", conf={"country": "DE", "scope": "task", "password": "x"})).batch == {
        **{"workflow_id": "sales", "batch_id": "b1", "status": "PROCESSING", "airflow_state": "running", "source": "api"},
        **{"params": {"country": "DE", "password": "***"}, "message_id": None, "created_at": AT, "started_at": AT + MINUTE},
        **{"ended_at": None, "error": None, "end_cause": None, "ended_by": None, "run_after": AT},
    }


def test_the_row_of_a_batch_that_failed_says_why() -> None:
    conf = {"_accelerator": {"message_id": "m1", "workflow_id": "sales", "batch_id": "b1"}}
    found = compared(run(attempt("failed", ended_at=AT), state="failed", conf=conf)).batch
    assert found is not None
    assert (found["status"], found["source"], found["message_id"], found["ended_at"]) == ("ERROR", "message", "m1", NOW)
    assert (found["end_cause"], found["ended_by"]) == ("task", None)
    assert str(found["error"]).startswith("1 task failed: load; first error: The task process ended without a message")
    mark = PersonAct(NOW, "ann", "marked", "sales", "b1", "failed")
    marked = compared(run(state="failed", acts=(mark,))).batch
    assert marked is not None
    assert (marked["end_cause"], marked["ended_by"]) == ("marked_failed", "ann")
    assert marked["error"] == "the DAG run was marked failed by ann"


def test_a_batch_was_created_when_airflow_or_its_row_says_so() -> None:
    before = TaskBatch(created_at=AT - MINUTE)
    for created_at, known, expected in ((NOW, before, NOW), (None, before, AT - MINUTE), (None, None, AT)):
        found = compared(run(created_at=created_at), stored(batch=known)).batch
        assert found is not None
        assert found["created_at"] == expected


def test_a_batch_that_is_as_it_was_is_not_written_again() -> None:
    first = compared(run(conf={"country": "DE"})).batch
    assert first is not None
    same = TaskBatch(**first)
    assert compared(run(conf={"country": "DE"}), stored(batch=same)).batch is None
    assert compared(run(conf={"country": "FR"}), stored(batch=same)).batch is None, "its parameters are those of its start"
    same.params = None
    assert compared(run(conf={"country": "DE"}), stored(batch=same)).batch is not None
    same.params, same.source = {}, "ui"
    assert compared(run(), stored(batch=same)).batch is not None


@pytest.mark.parametrize(
    ("status", "ago", "ghost", "settled"),
    [("NEW", 0, True, True), ("ERROR", 31, True, True), ("ERROR", 30, False, False), ("PROCESSING", 0, False, False)],
)
def test_a_row_that_airflow_does_not_know_is_deleted_when_it_had_its_time(
    status: str, ago: int, ghost: bool, settled: bool
) -> None:
    left = log(status, updated_at=NOW - timedelta(seconds=ago))
    found = compared(run(), stored(left))
    assert (found.ghosts, found.settled) == ([KEY] if ghost else [], settled)


@pytest.mark.parametrize(
    ("of_task", "of_row", "written"),
    [
        ("running", {"error_message": "tells"}, False),
        ("running", {"ended_by": "ann"}, False),
        ("running", {"status": "NEW"}, True),
        ("running", {"airflow_state": "queued"}, True),
        ("running", {"started_at": NOW}, True),
        ("running", {"ended_at": NOW}, True),
        ("success", {"ended_at": NOW, "end_cause": "task"}, False),
        ("success", {"ended_at": NOW, "end_cause": "killed"}, False),  # whoever has ended it is known
        ("success", {"ended_at": NOW, "end_cause": "task", "error_message": "x"}, True),
        ("success", {"ended_at": NOW, "end_cause": "task", "error_type": "E"}, True),
        ("failed", {"ended_at": NOW, "end_cause": "task", "error_type": "E", "error_message": "x"}, False),
        ("failed", {"ended_at": NOW, "end_cause": "killed"}, True),
    ],
)
def test_only_a_row_that_would_change_is_written(of_task: str, of_row: dict[str, Any], written: bool) -> None:
    same = {"status": states.STATUS_OF_TASK_STATE[of_task], "airflow_state": of_task, "started_at": AT}
    found = compared(run(attempt(of_task)), stored(log(**{**same, **of_row})), asked(note="lost"))
    assert bool(found.rows) is written


def test_what_would_change_is_named() -> None:
    told = row(compared(run(attempt("failed")), said=asked(note="lost")))
    silent = log("ERROR", airflow_state="failed", started_at=NOW, ended_at=NOW, end_cause="killed")
    assert differing_columns(told, silent) == ["started_at", "error_message"]
    other = {**told, "end_cause": "task", "ended_by": "ann", "remote_job_id": "j", "remote_job_url": "u"}
    assert set(differing_columns(other, silent)) >= {"end_cause", "ended_by", "remote_job_id", "remote_job_url"}


# Writing.


def test_runs_are_written_with_what_they_replace(application_database: str) -> None:
    first, other = run(attempt("failed", ended_at=NOW), attempt("running", task_id="old")), run(attempt("running"))
    other = replace(other, run_id="b2")
    confirmed: list[bool] = []

    def confirm(session: Session) -> None:
        confirmed.append(session.in_transaction())

    assert mirror_runs([], asked(), confirm) == set()
    assert mirror_runs([first, other], asked(), confirm) == {("sales", "b1"), ("sales", "b2")}
    with read_session() as session:
        assert {(one.batch_id, one.task_id): one.status for one in session.query(TaskLog)} == {
            ("b1", "load"): "ERROR",
            ("b1", "old"): "PROCESSING",
            ("b2", "load"): "PROCESSING",
        }
    mirror_runs([first, other], asked(), confirm)
    assert confirmed == [True], "nothing is written that is there"
    again = replace(run(attempt("running")), run_after=AT + MINUTE)
    mirror_runs([again], asked())
    with read_session() as session:
        assert {(one.batch_id, one.task_id): one.status for one in session.query(TaskLog)} == {
            ("b1", "load"): "PROCESSING",
            ("b2", "load"): "PROCESSING",
        }
        assert {one.batch_id: one.run_after for one in session.query(TaskBatch)} == {"b1": AT + MINUTE, "b2": AT}
