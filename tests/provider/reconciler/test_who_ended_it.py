"""What people do in Airflow, and what the rows say of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.metadata.engine import read_session
from provider.metadata.tables import TaskLog
from provider.reconciler.passes import Reconciler
from tests.provider.reconciler.batch_rows import AT, batch, logs, provisional, statuses
from tests.provider.reconciler.conftest import AirflowDatabase

pytestmark = pytest.mark.usefixtures("application_database")

BEFORE = AT - timedelta(minutes=1)


def ends() -> dict[str, tuple[str | None, str | None]]:
    with read_session() as session:
        rows = session.query(TaskLog).filter(TaskLog.task_id != "start_batch").order_by(TaskLog.try_number)
        return {log.task_id: (log.end_cause, log.ended_by) for log in rows}


@pytest.mark.parametrize("note", ["patch_dag_run", "patch_task_instance", "bulk_dag_runs"])
def test_a_note_is_no_mark(airflow_database: AirflowDatabase, one: Reconciler, note: str) -> None:
    airflow_database.run(state="failed", created_at=BEFORE, end_date=AT)
    airflow_database.task("a", "skipped", updated_at=AT - timedelta(seconds=1), end_date=AT - timedelta(seconds=1))
    body: dict[str, Any] = {"note": "see ticket 7"}
    if note == "bulk_dag_runs":
        body = {"actions": [{"action": "update", "entities": [{"dag_run_id": "b1", **body}]}]}
    airflow_database.acts(note, AT - timedelta(seconds=2), extra=body)
    one.tick()
    assert statuses() == {("a", -1, 1): "SKIPPED"}
    assert (batch().end_cause, batch().ended_by) == ("task", None)


@pytest.mark.parametrize("dag_id", ["sales", "~"])
def test_a_mark_on_many_runs_is_seen(
    airflow_database: AirflowDatabase, one: Reconciler, dag_id: str, request: pytest.FixtureRequest
) -> None:
    airflow_database.run(state="failed", created_at=BEFORE, end_date=AT)
    airflow_database.task("open", "skipped", updated_at=AT, end_date=AT)
    body = {"actions": [{"action": "update", "entities": [{"dag_run_id": "b1", "dag_id": "sales", "state": "failed"}]}]}
    airflow_database.acts("bulk_dag_runs", AT - timedelta(seconds=1), run_id=None, dag_id=dag_id, extra=body)
    one.tick()
    if dag_id == "~" and "airflow_api" in request.fixturenames:
        # Airflow's API shows nobody the entries of no DAG; the state is right all the same.
        assert (statuses(), batch().ended_by) == ({("open", -1, 1): "SKIPPED"}, None)
        return
    assert logs()[("open", -1, 1)] == ("ERROR", "the DAG run was marked failed by ann before this task was done")
    assert (batch().end_cause, batch().ended_by) == ("marked_failed", "ann")


def test_a_success_of_a_person_on_a_task_that_never_ran_does_not_look_like_one_that_ran(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    airflow_database.run(created_at=BEFORE)
    airflow_database.task("a", "success", 0, start_date=AT, end_date=AT)
    airflow_database.acts("patch_task_instance", AT - timedelta(seconds=1), task_id="a", extra={"new_state": "success"})
    one.tick()
    with read_session() as session:
        log = session.get(TaskLog, ("sales", "b1", "a", -1, 1))
        assert log is not None
        assert (log.status, log.started_at, log.end_cause, log.ended_by) == ("SUCCESS", None, "marked_success", "ann")


def test_a_failed_last_task_that_a_person_marks_as_skipped_is_no_error(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run(state="failed", created_at=BEFORE, end_date=AT + timedelta(seconds=1))
    airflow_database.task("leaf", "failed")
    provisional("leaf", "ERROR", error_type="ValueError", error_message="no rows", end_cause="task")
    one.tick()
    assert (logs()[("leaf", -1, 1)], ends()["leaf"]) == (("ERROR", "no rows"), ("task", None))
    now = datetime.now(UTC)
    airflow_database.acts("patch_task_instance", now, owner="bob", task_id="leaf", extra={"new_state": "skipped"})
    airflow_database.set(TaskInstance, {"task_id": "leaf"}, state="skipped", updated_at=now + timedelta(seconds=1))
    one.tick()
    assert (logs()[("leaf", -1, 1)], ends()["leaf"]) == (("SKIPPED", "marked skipped by bob"), ("marked_skipped", "bob"))


def test_what_the_task_says_of_its_end_stays(airflow_database: AirflowDatabase, one: Reconciler) -> None:
    airflow_database.run()
    airflow_database.task("a", "failed")
    provisional("a", "ERROR", error_type="RemoteJobError", error_message="refresh failed", end_cause="remote")
    one.tick()
    assert (logs()[("a", -1, 1)], ends()["a"]) == (("ERROR", "refresh failed"), ("remote", None))


def test_a_try_whose_process_gave_no_sign_of_life_says_so(airflow_database: AirflowDatabase, one: Reconciler) -> None:
    from airflow.models.log import Log

    airflow_database.run(created_at=BEFORE)
    airflow_database.task("a", "failed")
    key = {"dag_id": "sales", "run_id": "b1", "task_id": "a", "map_index": -1, "try_number": 1}
    text = "Task did not emit heartbeat within time limit (300 seconds) and will be terminated."
    airflow_database.insert(Log, event="heartbeat timeout", dttm=AT, extra=text, **key)
    one.tick()
    assert (logs()[("a", -1, 1)], ends()["a"]) == (("ERROR", text), ("heartbeat", None))


@pytest.mark.parametrize(("seen", "seen_as"), [("queued", "NEW"), ("running", "PROCESSING")])
@pytest.mark.parametrize(
    ("state", "status", "cause"),
    [("failed", "ERROR", "remote"), ("failed", "ERROR", "execution_timeout"), ("skipped", "SKIPPED", "task")],
)
def test_what_a_task_says_of_its_end_outlives_a_look_from_before_airflow_knew_it(
    airflow_database: AirflowDatabase, one: Reconciler, state: str, status: str, cause: str, seen: str, seen_as: str
) -> None:
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.task("a", seen)
    provisional("a", status, error_message="what it says", end_cause=cause)
    one.tick()
    assert logs() == {("a", -1, 1): (seen_as, "what it says")}
    airflow_database.set(TaskInstance, {"task_id": "a"}, state="running", start_date=AT + timedelta(seconds=1))
    one.tick()
    airflow_database.set(TaskInstance, {"task_id": "a"}, state=state, end_date=AT + timedelta(seconds=9))
    one.tick()
    assert (logs()[("a", -1, 1)], ends()["a"]) == ((status, "what it says"), (cause, None))


def test_a_try_that_goes_on_has_no_end(airflow_database: AirflowDatabase, one: Reconciler) -> None:
    """A task that a person clears while it waits for its retry keeps its number."""
    from airflow.models.taskinstance import TaskInstance

    airflow_database.run()
    airflow_database.task("a", "failed")
    one.tick()
    assert ends() == {"a": ("killed", None)}
    airflow_database.set(TaskInstance, {"task_id": "a"}, state="running", end_date=None)
    one.tick()
    assert ends() == {"a": (None, None)}


@pytest.mark.parametrize("by_person", [True, False])
def test_a_process_that_succeeds_after_its_end_in_airflow_changes_nothing(
    airflow_database: AirflowDatabase, one: Reconciler, by_person: bool
) -> None:
    """Airflow notices some seconds after a mark that the process has to go, and that may have ended by itself until then."""
    provisional("a", "PROCESSING", started_at=BEFORE + timedelta(seconds=1))
    airflow_database.run(created_at=BEFORE)
    airflow_database.task("a", "success", start_date=BEFORE, end_date=AT, updated_at=AT)
    if by_person:
        airflow_database.acts("patch_task_instance", AT - timedelta(seconds=1), task_id="a", extra={"new_state": "success"})
    one.tick()
    expected = {"a": ("marked_success", "ann") if by_person else ("task", None)}
    assert ends() == expected
    late = AT + timedelta(seconds=8)
    provisional("a", "SUCCESS", started_at=BEFORE + timedelta(seconds=1), ended_at=late, end_cause="task")
    assert ends() == expected
    with read_session() as session:
        log = session.get_one(TaskLog, ("sales", "b1", "a", -1, 1))
        assert (log.started_at, log.ended_at, log.row_source) == (BEFORE, AT, "reconciler")


def test_who_deleted_a_run_that_had_not_ended(airflow_database: AirflowDatabase, one: Reconciler) -> None:
    airflow_database.run()
    airflow_database.task("a", "running")
    one.tick()
    airflow_database.acts("delete_dag_run", datetime.now(UTC), owner="bob")
    airflow_database.delete_run("b1")
    one.tick()
    assert (logs()[("a", -1, 1)], ends()["a"]) == (("ERROR", "the DAG run was deleted in Airflow by bob"), ("deleted", "bob"))
    assert (batch().end_cause, batch().ended_by) == ("deleted", "bob")


def keep(airflow_database: AirflowDatabase, value: Any) -> None:
    """Leave in the task state store what a task's process leaves there."""
    from airflow.models.task_state_store import TaskStateStoreModel

    key = {"dag_id": "sales", "run_id": "b1", "task_id": "a", "map_index": -1, "dag_run_id": 1, "key": "accelerator_error"}
    airflow_database.insert(TaskStateStoreModel, **key, value=value, updated_at=AT)


def test_the_text_that_the_database_had_no_connection_for_is_found_in_airflow(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    airflow_database.run()
    airflow_database.task("a", "failed", 2)
    left = {"try": 2, "type": "RemoteJobError", "message": "refresh\nfailed", "cause": "remote"}
    keep(airflow_database, json.dumps(left))
    one.tick()
    assert (logs()[("a", -1, 2)], ends()["a"]) == (("ERROR", "refresh failed"), ("remote", None))
    with read_session() as session:
        log = session.get(TaskLog, ("sales", "b1", "a", -1, 2))
        assert log is not None
        assert log.error_type == "RemoteJobError"


def test_the_reason_of_a_skip_that_the_database_had_no_connection_for_is_found_in_airflow(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    airflow_database.run()
    airflow_database.task("a", "skipped")
    left = {"try": 1, "type": None, "message": "nothing to load", "cause": "task", "status": "SKIPPED"}
    keep(airflow_database, json.dumps(left))
    one.tick()
    assert (logs()[("a", -1, 1)], ends()["a"]) == (("SKIPPED", "nothing to load"), ("task", None))


def test_a_task_that_is_expanded_over_an_empty_list_does_not_look_like_one_that_timed_out(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    """Airflow gives it no end, as it gives none to what is skipped when the run times out."""
    ended = datetime.now(UTC)
    airflow_database.run(state="failed", created_at=BEFORE, end_date=ended)
    airflow_database.task("a", "failed")
    airflow_database.task("empty", "skipped", 0, end_date=None, updated_at=ended - timedelta(seconds=1))
    airflow_database.task("late", "skipped", 0, end_date=None, updated_at=ended + timedelta(seconds=1))
    one.tick()
    assert (statuses()[("empty", -1, 1)], ends()["empty"]) == ("SKIPPED", ("upstream", None))
    assert (statuses()[("late", -1, 1)], ends()["late"]) == ("ERROR", ("run_timeout", None))


def test_what_had_not_begun_when_a_person_marked_the_run_as_succeeded_names_the_person(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    airflow_database.run(state="success", created_at=BEFORE, end_date=AT)
    airflow_database.task("a", "skipped", 0, start_date=AT, updated_at=AT)
    airflow_database.acts("patch_dag_run", AT - timedelta(seconds=1), extra={"state": "success"})
    one.tick()
    text = "the DAG run was marked success by ann before this task was done"
    assert (logs()[("a", -1, 1)], ends()["a"]) == (("SKIPPED", text), ("marked_success", "ann"))
    assert (batch().end_cause, batch().ended_by) == ("marked_success", "ann")


@pytest.mark.parametrize(
    "value",
    [
        "no JSON",
        "[]",
        "[" * 50_000,
        json.dumps({"try": 1, "message": "of another try"}),
        json.dumps({"try": "2", "message": "x"}),
        json.dumps({"try": 2, "message": ["x"]}),
    ],
)
def test_a_text_that_makes_no_sense_or_is_of_another_try_is_none(
    airflow_database: AirflowDatabase, one: Reconciler, value: str
) -> None:
    airflow_database.run()
    airflow_database.task("a", "failed", 2)
    keep(airflow_database, value)
    one.tick()
    assert "ended without a message" in str(logs()[("a", -1, 2)][1])


@pytest.mark.parametrize(("first", "by"), [("failed", None), ("failed", "ann"), ("success", None)])
def test_who_gave_an_ended_run_another_end(
    airflow_database: AirflowDatabase, one: Reconciler, first: str, by: str | None
) -> None:
    """Airflow leaves the time of the first end as it is."""
    from airflow.models.dagrun import DagRun

    then = "success" if first == "failed" else "failed"
    at = datetime.now(UTC) - timedelta(minutes=10)
    airflow_database.run(state=first, created_at=at - timedelta(hours=1), end_date=at)
    airflow_database.task("a", first, end_date=at)
    if by is not None:
        airflow_database.acts("patch_dag_run", at - timedelta(seconds=1), by, extra={"state": first})
    one.tick()
    assert batch().ended_by == by
    airflow_database.acts("patch_dag_run", datetime.now(UTC), "ben", extra={"state": then})
    airflow_database.set(DagRun, {"run_id": "b1"}, state=then)
    for _look in range(2):
        one.tick()
        assert (batch().end_cause, batch().ended_by) == (f"marked_{then}", "ben")
