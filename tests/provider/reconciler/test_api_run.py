"""What a run is, put together from the pieces that the REST API gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from provider.airflow_internals.audit_log import PersonAct, SchedulerEnd
from provider.hooks.remote_job import RemoteCallError
from provider.reconciler.airflow_state import LeftText, RemoteJobState, TryState
from provider.reconciler.api_answers import EventAnswer, HistoryAnswer, RunAnswer, TaskAnswer, read
from provider.reconciler.api_run import RunPieces, TaskPieces, may_have_history, may_keep_something

AT = datetime(2026, 3, 16, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def run(state: str = "running", **values: Any) -> RunAnswer:
    row = {"dag_id": "sales", "dag_run_id": "b1", "run_type": "manual", "triggered_by": "ui", "conf": {"x": 1}, "run_after": AT}
    ended_at = None if state == "running" else AT + 9 * MINUTE
    return RunAnswer.model_validate({**row, "state": state, "start_date": AT + MINUTE, "end_date": ended_at, **values})


def values_of_try(state: str | None, number: int, values: dict[str, Any]) -> dict[str, Any]:
    row = {
        "dag_id": "sales",
        "dag_run_id": "b1",
        "task_id": "load",
        "map_index": -1,
        "max_tries": 2,
        "operator": "PythonOperator",
    }
    return {**row, "state": state, "try_number": number, "start_date": AT, "end_date": None, **values}


def task(state: str | None = "running", number: int = 1, row_id: int = 1, **values: Any) -> TaskAnswer:
    return TaskAnswer.model_validate({**values_of_try(state, number, values), "id": UUID(int=row_id)})


def past(state: str | None = "failed", number: int = 1, **values: Any) -> HistoryAnswer:
    return HistoryAnswer.model_validate(values_of_try(state, number, {"end_date": AT, **values}))


def event(number: int, name: str, minutes: float = 0, **values: Any) -> EventAnswer:
    row = dict.fromkeys(("owner", "dag_id", "run_id", "task_id", "map_index", "try_number", "extra"))
    row |= {"owner": "ann", "dag_id": "sales", "run_id": "b1"}
    return EventAnswer.model_validate({"event_log_id": number, "when": AT + minutes * MINUTE, "event": name, **row, **values})


def pieces(*tasks: TaskAnswer, of: RunAnswer | None = None) -> RunPieces:
    found = RunPieces(of or run(), 0.0)
    for one in tasks:
        found.take_task(one)
    return found


def test_a_run_is_what_its_row_says() -> None:
    state = pieces(of=run("failed", conf=None)).state(())
    assert (state.key, state.state, state.run_type, state.triggered_by) == (("sales", "b1"), "failed", "manual", "ui")
    assert (state.conf, state.run_after, state.created_at) == ({}, AT, None)
    assert (state.started_at, state.ended_at) == (AT + MINUTE, AT + 9 * MINUTE)
    assert (state.tries, state.acts, state.scheduler_ends, state.jobs, state.texts) == ((), (), {}, {}, {})
    assert pieces().state(()).conf == {"x": 1}


def test_tries_of_the_past_come_first_and_all_in_one_order() -> None:
    found = pieces(task("running", 3), task("success", row_id=2, task_id="a", end_date=AT))
    found.tasks["load", -1].history = (past(number=2), past(number=1))
    assert [(one.task_id, one.try_number, one.live) for one in found.state(()).tries] == [
        *(("load", 1, False), ("load", 2, False)),
        *(("a", 1, True), ("load", 3, True)),
    ]
    assert found.state(()).tries[0] == TryState("load", -1, 1, "failed", AT, AT, None, live=False, max_tries=2)


def test_the_state_is_the_same_object_until_a_piece_changes() -> None:
    found = pieces(task())
    before, state = found.is_assembled, found.state(())
    assert (before, found.is_assembled) == (False, True)
    assert found.state(()) is state
    assert found.take_task(task()) is None
    assert found.state(()) is state
    changed = found.take_task(task("success"))
    assert changed is found.tasks["load", -1]
    assert found.state(()) is not state


def test_a_task_that_is_expanded_keeps_its_row_under_its_first_index() -> None:
    found = pieces(task(None, 0), task(task_id="other", row_id=2))
    found.take_task(task(None, 0, map_index=0))
    assert set(found.tasks) == {("load", 0), ("other", -1)}


def test_a_new_row_of_a_task_keeps_what_was_read_beside_it() -> None:
    found, job = pieces(task()), RemoteJobState({"1": {}})
    found.tasks["load", -1].history, found.tasks["load", -1].kept = (past(),), (job,)
    assert found.take_task(task("success")) == TaskPieces(task("success"), (past(),), (job,))


def test_what_tasks_keep_is_sorted_by_its_kind() -> None:
    found, job, text = pieces(task()), RemoteJobState({"1": {}}), LeftText(1, None, "x", None)
    found.tasks["load", -1].kept = (text, job)
    assert (found.state(()).jobs, found.state(()).texts) == ({("load", -1): job}, {("load", -1): text})


def test_acts_are_of_this_run_in_the_order_of_time() -> None:
    found = pieces()
    found.events = {2: event(2, "clear_dag_run", 3), 5: event(5, "clear_dag_run", 1, owner="bob")}
    several = event(4, "clear_dag_runs", 1, run_id=None, extra='{"dag_runs": [{"dag_run_id": "b1"}, {"dag_run_id": "b2"}]}')
    acts = [PersonAct(AT + at * MINUTE, who, "cleared", "sales", "b1") for at, who in ((1, "ann"), (1, "bob"), (3, "ann"))]
    assert found.acts([several]) == tuple(acts)
    assert pieces().acts([]) == ()


def test_the_last_word_of_the_scheduler_counts() -> None:
    found, of_try = pieces(), {"task_id": "load", "map_index": -1, "try_number": 1}
    found.events = {7: event(7, "state mismatch", 1, **of_try), 3: event(3, "heartbeat timeout", 2, **of_try, extra="lost")}
    assert found.state(()).scheduler_ends == {("load", -1, 1): SchedulerEnd("killed", "state mismatch")}


def test_it_matters_what_changed_since_people_acted_and_since_a_failed_run_ended() -> None:
    acts = [PersonAct(AT + minutes * MINUTE, "ann", "cleared", "sales", "b1") for minutes in (3, 1, 3)]
    assert pieces().instants(acts) == [AT + MINUTE, AT + 3 * MINUTE]
    many = [PersonAct(AT + minutes * MINUTE, "ann", "cleared", "sales", "b1") for minutes in range(30)]
    assert pieces().instants(many) == [AT + minutes * MINUTE for minutes in range(10, 30)]
    end = AT + 9 * MINUTE
    skipped = task("skipped", end_date=end - MINUTE)
    assert pieces(skipped, of=run("failed")).instants([]) == [end]
    assert pieces(task("skipped"), of=run("failed")).instants([]) == [end]
    for tasks, of in (
        ([skipped], run("success")),
        ([skipped], run("failed", end_date=None)),
        ([task("skipped", end_date=end)], run("failed")),
        ([task("failed", end_date=end - MINUTE)], run("failed")),
    ):
        assert pieces(*tasks, of=of).instants([]) == []


@pytest.mark.parametrize(
    ("row", "changed_at"),
    [
        (task("success", end_date=AT + 5 * MINUTE, queued_when=AT + 6 * MINUTE), 5),
        (task("running", start_date=AT + 3 * MINUTE, queued_when=AT + MINUTE, scheduled_when=AT), 3),
        (task("queued", start_date=None, queued_when=AT + MINUTE, scheduled_when=AT), 1),
        (task("scheduled", start_date=None, scheduled_when=AT), 0),
        (task(None, start_date=None), None),
        (task("skipped", start_date=None), 1),
    ],
)
def test_a_row_changed_at_its_latest_instant_or_later(row: TaskAnswer, changed_at: int | None) -> None:
    found = pieces(row)
    (attempt,) = found.state(()).tries
    assert attempt.updated_at == (None if changed_at is None else AT + changed_at * MINUTE)
    found.forget_state()
    found.changed_since = {AT + 7 * MINUTE: frozenset({("load", -1)}), AT + 8 * MINUTE: frozenset({("other", -1)})}
    (attempt,) = found.state(()).tries
    assert attempt.updated_at == AT + 7 * MINUTE


@pytest.mark.parametrize(
    ("row", "known", "cleared", "may"),
    [
        (task(), None, False, False),
        (task(), None, True, True),
        (task("up_for_retry"), None, False, True),
        (task("queued", start_date=None), None, True, False),
        (task(number=2), None, False, True),
        (task(), task(), True, False),
        (task("success"), task(), True, False),
        (task(number=2), task(), False, True),
        (task(row_id=2), task(), False, True),
        (task("up_for_retry"), task(), False, True),
        (task(), task("up_for_retry"), False, True),
    ],
)
def test_earlier_tries_are_read_where_there_may_be_new_ones(
    row: TaskAnswer, known: TaskAnswer | None, cleared: bool, may: bool
) -> None:
    assert may_have_history(row, None if known is None else TaskPieces(known), cleared=cleared) is may


@pytest.mark.parametrize(
    ("row", "known", "may"),
    [
        (task("success"), None, True),
        (task(), None, True),
        (task(), task("queued"), False),
        (task(number=2), task("queued"), True),
        (task("success"), task(), True),
        (task("queued"), None, False),
        (task("scheduled"), None, False),
        (task("success", start_date=None), None, False),
        (task("success", operator="EmptyOperator"), None, False),
        (task("success", operator="StartBatchOperator"), None, False),
    ],
)
def test_what_a_task_keeps_is_read_where_there_may_be_something_new(row: TaskAnswer, known: TaskAnswer | None, may: bool) -> None:
    assert may_keep_something(row, None if known is None else TaskPieces(known)) is may


def test_an_answer_of_another_shape_says_what_is_wrong() -> None:
    with pytest.raises(RemoteCallError) as caught:
        read(HistoryAnswer, {**values_of_try("failed", 1, {}), "map_index": "x"})
    assert str(caught.value).startswith(
        "Airflow's REST API gave a history whose map_index is wrong: Input should be a valid integer"
    )
    assert str(caught.value).endswith(". Is this a version of Airflow that is supported?")
    assert not caught.value.retryable
