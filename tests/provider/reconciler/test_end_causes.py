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
    batch: Any = SimpleNamespace(status="ERROR", end_cause="marked_failed", ended_by="ann", ended_at=AT + 9 * MINUTE)
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


# The edges of all that.

SECOND = timedelta(seconds=1)


def person_of(end: End | None) -> str | None:
    return None if end is None else end.person


def test_the_last_of_several_marks_counts_and_only_one_that_gave_this_state() -> None:
    by_dan = PersonAct(AT + 8 * MINUTE, "dan", "marked", "sales", "b1", "failed", "load")
    acts = (marked("failed", 2), by_dan, marked("success", 8.5), marked("failed", 8.6, "stage"))
    assert person_of(end_of_try(run(*acts), attempt("failed"), nobody)) == "dan"
    assert end_of_try(run(marked("failed", 8)), attempt("skipped", started_at=None), nobody) is None


@pytest.mark.parametrize(("map_index", "reached"), [(None, True), (-1, True), (0, False)])
def test_a_mark_of_a_map_index_is_of_that_one(map_index: int | None, reached: bool) -> None:
    end = end_of_try(run(marked("failed", 8, map_index=map_index)), attempt("failed"), nobody)
    assert person_of(end) == ("ann" if reached else None)
    report = TryReport(AT, "failed")
    assert ended_by_a_person(attempt("failed"), [marked("failed", 8, map_index=map_index)], report) is reached


@pytest.mark.parametrize(
    ("before", "number", "counts"), [(60, 2, True), (61, 2, False), (61, 1, True)], ids=["a request", "earlier", "the first try"]
)
def test_a_mark_may_be_logged_a_minute_before_the_try_that_it_ends(before: int, number: int, counts: bool) -> None:
    again = attempt("failed", number=number, started_at=AT + 5 * MINUTE)
    mark = PersonAct(AT + 5 * MINUTE - before * SECOND, "ann", "marked", "sales", "b1", "failed", "load")
    assert person_of(end_of_try(run(mark), again, nobody)) == ("ann" if counts else None)


@pytest.mark.parametrize("live", [True, False])
def test_a_mark_after_the_last_change_of_a_try_is_not_its_end(live: bool) -> None:
    times: dict[str, Any] = {"ended_at": AT + 9 * MINUTE, "updated_at": AT + (9 if live else 1) * MINUTE}
    for minutes, person in ((9, "ann"), (9.1, None)):
        end = end_of_try(run(marked("success", minutes)), attempt("success", live=live, **times), nobody)
        assert person_of(end) == person


def test_a_try_of_which_nobody_knows_when_it_changed_may_have_been_marked() -> None:
    unknown = attempt("failed", ended_at=None, updated_at=None)
    assert person_of(end_of_try(run(marked("failed", 30)), unknown, nobody)) == "ann"
    assert end_of_try(run(marked("failed", 2), cleared(4)), unknown, nobody) is None
    past = attempt("success", live=False, ended_at=None)
    assert end_of_try(run(marked("success", 2), cleared(4)), past, nobody) is None


def test_a_clear_takes_the_marks_of_its_own_map_index() -> None:
    for map_index, person in ((-1, None), (0, "ann")):
        clear = PersonAct(AT + 8.5 * MINUTE, "bob", "cleared", "sales", "b1", None, "load", map_index)
        assert person_of(end_of_try(run(marked("failed", 8), clear), attempt("failed"), nobody)) == person


def test_a_clear_at_the_end_of_a_past_try_leaves_its_mark() -> None:
    past = attempt("failed", live=False, ended_at=AT + 5 * MINUTE)
    assert person_of(end_of_try(run(marked("failed", 4), cleared(5)), past, nobody)) == "ann"
    assert person_of(end_of_try(run(marked("failed", 4), cleared(4.5)), past, nobody)) == "bob"


def test_a_clear_of_another_task_leaves_a_mark() -> None:
    assert person_of(end_of_try(run(marked("failed", 8), cleared(8.5, "stage")), attempt("failed"), nobody)) == "ann"
    assert person_of(end_of_try(run(marked("failed", 8), cleared(8)), attempt("failed"), nobody)) == "ann"


@pytest.mark.parametrize(
    ("reported_at", "updated_at", "person"),
    [(7, 9, "ann"), (8, 9, "ann"), (8.1, 9, None), (7, 7.9, None), (7, 8, "ann")],
    ids=["marked later", "at once", "ended later by itself", "changed nothing", "changed at once"],
)
def test_a_mark_of_what_had_been_reported(reported_at: float, updated_at: float, person: str | None) -> None:
    """The row did not change, or changed again by itself, or both were the same moment."""
    done = attempt("success", updated_at=AT + updated_at * MINUTE)
    # Of a row that is older than the mark it is known in another way that the mark was in its life.
    past = TryState(*("load", -1, 1, "success", AT, AT + 9 * MINUTE, done.updated_at), live=updated_at >= 8)
    assert person_of(end_of_try(run(marked("success", 8)), past, reported("success", reported_at))) == person


@pytest.mark.parametrize(("state", "status"), [("failed", "ERROR"), ("success", None)])
def test_a_mark_of_the_whole_run_says_so(state: str, status: str | None) -> None:
    text = f"the DAG run was marked {state} by ann before this task was done"
    end = end_of_try(run(marked(state, 8, None), state=state), attempt(state), nobody)
    assert end == End(f"marked_{state}", "ann", text, status)


def test_what_had_not_begun_when_its_run_was_marked_is_skipped_by_that_person() -> None:
    mark = marked("success", 8, None)
    text = "the DAG run was marked success by ann before this task was done"
    pending = attempt("skipped", started_at=None)
    assert end_of_try(run(mark, state="success"), pending, nobody) == End("marked_success", "ann", text)
    before = attempt("skipped", ended_at=AT + 3 * MINUTE, updated_at=AT + 3 * MINUTE)
    assert end_of_try(run(mark, state="success"), before, nobody) is None
    of_task = end_of_try(run(marked("success", 8), state="success"), pending, nobody)
    assert of_task is None


@pytest.mark.parametrize(
    ("of_run", "of_try"),
    [
        ({"state": "success"}, {}),
        ({"ended_at": None, "state": "failed"}, {}),
        ({}, {"live": False}),
        ({}, {"ended_at": AT + 9 * MINUTE}),
        ({}, {"ended_at": AT + 3 * MINUTE, "updated_at": AT + 9 * MINUTE - SECOND}),
        ({}, {"updated_at": AT + 9 * MINUTE - SECOND}),
    ],
    ids=["a run that succeeded", "one that goes on", "a try of the past", "ended with it", "skipped before", "an empty list"],
)
def test_what_was_not_skipped_by_the_timeout_of_its_run(of_run: dict[str, Any], of_try: dict[str, Any]) -> None:
    assert end_of_try(run(**of_run), attempt("skipped", **{"ended_at": None, **of_try}), nobody) is None


def test_what_was_skipped_by_the_timeout_of_its_run() -> None:
    for times in ({"ended_at": AT + 8 * MINUTE}, {"ended_at": AT + 8 * MINUTE, "updated_at": None}):
        end = end_of_try(run(), attempt("skipped", **times), nobody)
        assert end is not None
        assert end.cause == "run_timeout"


@pytest.mark.parametrize(("minutes", "counts"), [(-0.1, False), (0, True), (5, True), (5.1, False)])
def test_a_clear_ends_the_try_that_ran_then(minutes: float, counts: bool) -> None:
    before = attempt("failed", live=False, ended_at=AT + 5 * MINUTE)
    assert person_of(end_of_try(run(cleared(9, "stage"), cleared(minutes)), before, nobody)) == ("bob" if counts else None)


@pytest.mark.parametrize(
    ("state", "values"),
    [
        ("failed", {"live": True}),
        ("success", {"live": False}),
        ("failed", {"live": False, "started_at": None}),
        ("failed", {"live": False, "ended_at": None}),
    ],
)
def test_what_no_clear_has_ended(state: str, values: dict[str, Any]) -> None:
    assert end_of_try(run(cleared(4), marked("failed", 4, "stage")), attempt(state, **values), nobody) is None


def test_a_clear_of_another_task_ends_nothing() -> None:
    before = attempt("failed", live=False, ended_at=AT + 5 * MINUTE)
    assert end_of_try(run(cleared(4, "stage")), before, nobody) is None
    assert person_of(end_of_try(run(cleared(4, "stage"), cleared(4, None, "eve")), before, nobody)) == "eve"


def test_a_long_text_of_the_scheduler_is_cut() -> None:
    ends = {("load", -1, 1): SchedulerEnd("killed", "x" * 5000)}
    end = end_of_try(run(scheduler_ends=ends, state="running", ended_at=None), attempt("skipped"), nobody)
    assert end is not None
    assert (end.cause, end.text) == ("killed", "x" * 999 + "…")


@pytest.mark.parametrize(("status", "kept"), [("ERROR", True), ("SKIPPED", True), ("NEW", False), ("PROCESSING", False)])
def test_an_end_is_kept_only_of_what_has_ended(status: str, kept: bool) -> None:
    log: Any = SimpleNamespace(status=status, end_cause="killed", ended_by=None)
    assert kept_end(status, log) == (End("killed") if kept else None)
    log.end_cause = None
    assert kept_end(status, log) is None


def test_a_try_that_has_said_why_it_failed_was_not_killed() -> None:
    log: Any = SimpleNamespace(status="ERROR", error_type="ValueError")
    assert cause_of_try("ERROR", log, None) == "task"
    assert cause_of_try("NEW", None, None) is None


def test_a_run_that_goes_on_has_no_end() -> None:
    assert end_of_run(run(marked("failed", 9, None), state="running"), [{"end_cause": "run_timeout"}], None) is None


@pytest.mark.parametrize(("stored", "cause"), [({"ended_by": None}, "task"), ({}, "marked_success")])
def test_a_stored_end_without_a_person_is_computed_anew(stored: dict[str, Any], cause: str) -> None:
    batch: Any = SimpleNamespace(
        **{"status": "ERROR", "end_cause": "marked_success", "ended_by": "ann", "ended_at": AT + 9 * MINUTE, **stored}
    )
    end = end_of_run(run(), [], batch)
    assert end is not None
    assert end.cause == cause


@pytest.mark.parametrize(("ended_at", "counts"), [(9, True), (9.5, True), (10, True), (10.1, False), (8.9, False), (None, False)])
def test_a_request_ends_a_run_within_a_minute(ended_at: float | None, counts: bool) -> None:
    mark = marked("failed", 9, None)
    found = mark_of_run(run(mark, ended_at=None if ended_at is None else AT + ended_at * MINUTE))
    assert found == (mark if counts else None)


def test_a_mark_of_a_task_hides_no_mark_of_the_run() -> None:
    mark, of_task = marked("failed", 9, None), marked("success", 9, "load")
    assert mark_of_run(run(mark, of_task)) == mark
    assert mark_of_run(run(marked("success", 9, None), mark)) == mark


def test_a_mark_at_the_moment_of_the_report_is_not_later() -> None:
    assert not ended_by_a_person(attempt("failed"), [marked("failed", 0)], TryReport(AT, "failed"))
    assert not ended_by_a_person(attempt("failed"), [marked("failed", 5, "stage")], TryReport(AT, "failed"))
