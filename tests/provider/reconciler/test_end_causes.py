"""Who and what ended a try or a batch, by Airflow's rows and its audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from provider.airflow_internals.audit_log import PersonAct, SchedulerEnd
from provider.reconciler.airflow_state import RunState, TryReport, TryState
from provider.reconciler.end_causes import End, cause_of_try, end_of_run, end_of_try, ended_by_a_person, kept_end, mark_of_run

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def attempt(state: str | None, *, live: bool = True, number: int = 1, **values: Any) -> TryState:
    times: dict[str, Any] = {"started_at": AT, "ended_at": AT + 9 * MINUTE, "updated_at": AT + 9 * MINUTE, **values}
    return TryState("load", -1, number, state, times["started_at"], times["ended_at"], times["updated_at"], live=live)


def run(*acts: PersonAct, state: str = "failed", ended_at: datetime | None = AT + 9 * MINUTE, **values: Any) -> RunState:
    return RunState("sales", "b1", state, "manual", None, {}, AT, AT, AT, ended_at, (), acts=acts, **values)


def marked(state: str, minutes: float, task_id: str | None = "load", **values: Any) -> PersonAct:
    return PersonAct(AT + minutes * MINUTE, "ann", "marked", "sales", "b1", state, task_id, **values)


def cleared(minutes: float, task_id: str | None = "load", person: str = "bob") -> PersonAct:
    return PersonAct(AT + minutes * MINUTE, person, "cleared", "sales", "b1", None, task_id)


def nobody(_key: Any, _attempt: TryState) -> TryReport | None:
    return None


def reported(state: str, minutes: float) -> Any:
    return lambda _key, _attempt: TryReport(AT + minutes * MINUTE, state)


@pytest.mark.parametrize("state", ["failed", "success", "skipped"])
def test_a_task_that_a_person_marked(state: str) -> None:
    end = end_of_try(run(marked(state, 9), state="running"), attempt(state), nobody)
    assert end == End(f"marked_{state}", "ann", f"marked {state} by ann")


@pytest.mark.parametrize("state", [None, "queued", "running", "deferred", "up_for_reschedule"])
def test_a_try_that_lives_has_not_been_ended(state: str | None) -> None:
    assert end_of_try(run(marked("failed", 1)), attempt(state), nobody) is None


def test_a_mark_of_what_the_task_had_reported_before_changes_nothing() -> None:
    """Airflow then leaves the row as it is."""
    done = attempt("success", ended_at=AT + 3 * MINUTE, updated_at=AT + 3 * MINUTE)
    assert end_of_try(run(marked("success", 9)), done, reported("success", 3)) is None


def test_a_failed_task_that_a_person_marked_as_succeeded() -> None:
    failed_before = attempt("success", ended_at=AT + 3 * MINUTE)
    end = end_of_try(run(marked("success", 9)), failed_before, reported("failed", 3))
    assert end is not None
    assert (end.cause, end.person) == ("marked_success", "ann")


def test_a_failed_last_task_that_a_person_marked_as_skipped_is_skipped() -> None:
    """Airflow keeps the end of the failure, which is older than the run's, as at a timeout of the run."""
    leaf = attempt("skipped", ended_at=AT + 3 * MINUTE, updated_at=AT + 20 * MINUTE)
    end = end_of_try(run(marked("skipped", 20), ended_at=AT + 4 * MINUTE), leaf, reported("failed", 3))
    assert end is not None
    assert (end.cause, end.status) == ("marked_skipped", None)


def test_a_task_that_goes_on_and_ends_as_it_was_marked_ended_by_itself() -> None:
    assert end_of_try(run(marked("success", 1)), attempt("success"), reported("success", 9)) is None


def test_a_mark_from_before_a_clear_counts_no_more() -> None:
    again = attempt("failed", number=2, started_at=AT + 5 * MINUTE)
    assert end_of_try(run(marked("failed", 2), cleared(4)), again, nobody) is None
    assert end_of_try(run(marked("failed", 4.5), cleared(4.6)), again, nobody) is None


def test_the_try_that_was_marked_keeps_its_mark_after_the_clear() -> None:
    before = attempt("failed", live=False, ended_at=AT + 2 * MINUTE)
    end = end_of_try(run(marked("failed", 2), cleared(4)), before, nobody)
    assert end is not None
    assert end.person == "ann"


def test_a_try_that_was_cleared_while_it_ran() -> None:
    """Airflow keeps it as failed."""
    before = attempt("failed", live=False, ended_at=AT + 5 * MINUTE)
    assert end_of_try(run(cleared(4)), before, nobody) == End("cleared", "bob", "cleared by bob while it ran")
    assert end_of_try(run(cleared(6)), before, nobody) is None


def test_another_task_of_the_run_is_not_reached() -> None:
    assert end_of_try(run(marked("failed", 9, "stage")), attempt("failed"), nobody) is None
    wide = marked("failed", 9, "stage", wide=True)
    assert end_of_try(run(wide), attempt("failed"), nobody) is not None


def test_a_run_that_was_marked_failed_ends_what_was_open() -> None:
    mark = marked("failed", 8.9, None)
    waiting = end_of_try(run(mark), attempt("skipped"), nobody)
    text = "the DAG run was marked failed by ann before this task was done"
    assert waiting == End("marked_failed", "ann", text, "ERROR")
    assert end_of_try(run(mark), attempt("failed"), nobody) == waiting
    skipped_before = attempt("skipped", ended_at=AT + 3 * MINUTE, updated_at=AT + 3 * MINUTE)
    assert end_of_try(run(mark), skipped_before, reported("skipped", 3)) is None


def test_a_run_that_timed_out() -> None:
    assert end_of_try(run(), attempt("skipped", ended_at=None), nobody) == End(
        "run_timeout", None, "the DAG run timed out before this task was done", "ERROR"
    )
    skipped_before = attempt("skipped", ended_at=AT + 3 * MINUTE, updated_at=AT + 3 * MINUTE)
    assert end_of_try(run(), skipped_before, nobody) is None


@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_what_the_scheduler_ended(state: str) -> None:
    ends = {("load", -1, 1): SchedulerEnd("heartbeat", "Task did not emit heartbeat\nwithin time limit")}
    end = end_of_try(run(scheduler_ends=ends), attempt(state), nobody)
    assert end == End("heartbeat", None, "Task did not emit heartbeat within time limit")
    assert end_of_try(run(scheduler_ends=ends), attempt(state, number=2), nobody) is None
    assert end_of_try(run(scheduler_ends=ends), attempt("success"), nobody) is None


def test_who_ended_a_run() -> None:
    assert end_of_run(run(state="running", ended_at=None), [], None) is None
    assert end_of_run(run(), [{"end_cause": "task"}], None) == End("task")
    assert end_of_run(run(), [{"end_cause": "task"}, {"end_cause": "run_timeout"}], None) == End("run_timeout")
    assert end_of_run(run(marked("failed", 9, None)), [], None) == End("marked_failed", "ann")


def test_who_ended_it_is_kept_when_the_audit_log_is_cleaned() -> None:
    batch: Any = SimpleNamespace(end_cause="marked_failed", ended_by="ann", ended_at=AT + 9 * MINUTE)
    assert end_of_run(run(), [], batch) == End("marked_failed", "ann")
    assert end_of_run(run(ended_at=AT + 20 * MINUTE), [], batch) == End("task")
    log: Any = SimpleNamespace(status="ERROR", end_cause="marked_failed", ended_by="ann")
    assert kept_end("ERROR", log) == End("marked_failed", "ann")
    assert kept_end("SUCCESS", log) is None
    assert kept_end("ERROR", None) is None


@pytest.mark.parametrize(
    "acts",
    [
        (marked("failed", 2, None),),
        (marked("failed", 9, None), cleared(9.1, None)),
        (marked("success", 9, None),),
        (marked("failed", 9),),
        (marked("failed", 10, None),),
    ],
    ids=["long before its end", "cleared since", "another state", "a task only", "after its end"],
)
def test_a_mark_that_did_not_end_the_run(acts: tuple[PersonAct, ...]) -> None:
    assert mark_of_run(run(*acts)) is None


def test_a_remote_job_is_a_persons_to_end_only_where_a_person_ended_the_task() -> None:
    failed = attempt("failed")
    assert ended_by_a_person(failed, [], None)
    assert ended_by_a_person(failed, [], TryReport(AT, "success"))
    assert not ended_by_a_person(failed, [], TryReport(AT, "failed"))
    assert not ended_by_a_person(failed, [marked("failed", -1)], TryReport(AT, "failed"))
    assert not ended_by_a_person(failed, [cleared(1)], TryReport(AT, "failed"))
    assert ended_by_a_person(failed, [marked("failed", 1)], TryReport(AT, "failed"))


@pytest.mark.parametrize(
    ("status", "stored", "reason", "cause"),
    [
        ("PROCESSING", None, None, None),
        ("SUCCESS", None, None, "task"),
        ("ERROR", None, None, "killed"),
        ("ERROR", {"status": "PROCESSING", "end_cause": None, "error_type": None}, None, "killed"),
        ("SUCCESS", {"status": "ERROR", "end_cause": "remote", "error_type": "RemoteJobError"}, None, "task"),
        ("BLOCKED", None, None, "upstream"),
        ("SKIPPED", None, "the task is disabled", "scope"),
        ("SKIPPED", None, "skipped by Airflow's rules", "upstream"),
    ],
)
def test_what_ended_a_try_otherwise(status: str, stored: dict[str, Any] | None, reason: str | None, cause: str | None) -> None:
    log: Any = None if stored is None else SimpleNamespace(ended_by=None, **stored)
    assert cause_of_try(status, log, reason) == cause
