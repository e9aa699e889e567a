"""A batch id that is used again, after its run was deleted: the new batch has nothing of the old one, and loses nothing to it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from provider.metadata import batches
from provider.metadata.engine import read_session
from provider.metadata.tables import TaskLog
from provider.reconciler import passes
from provider.reconciler.airflow_state import RunState
from provider.reconciler.mirror import compare_runs
from provider.reconciler.passes import Reconciler, end_deleted, load, mirror
from tests.provider.reconciler.batch_rows import AT, batch, logs, open_batch, open_batch_in, provisional
from tests.provider.reconciler.conftest import AirflowDatabase

pytestmark = pytest.mark.usefixtures("application_database")

KEY = ("sales", "b1")
LATER = AT + timedelta(hours=1)


def test_another_run_with_the_id_of_a_deleted_one_has_nothing_of_it(airflow_database: AirflowDatabase, one: Reconciler) -> None:
    open_batch("a", "old", scope=["a"])
    airflow_database.run(state="failed", end_date=AT)
    airflow_database.task("a", "failed")
    airflow_database.task("old", "skipped")
    provisional("a", "ERROR", error_message="of the first run", end_cause="task")
    one.tick()
    assert batch().scope_task_ids == ["a"]
    airflow_database.delete_run("b1")
    airflow_database.run(run_after=AT + timedelta(hours=1))
    airflow_database.task("a", "running")
    one.tick()
    assert logs() == {("a", -1, 1): ("PROCESSING", None)}
    assert (batch().status, batch().error, batch().scope, batch().params) == ("PROCESSING", None, None, {})


def begin_in_airflow_again(airflow_database: AirflowDatabase) -> None:
    """Delete the run and start another one with its id."""
    airflow_database.delete_run("b1")
    airflow_database.run(run_after=LATER)
    airflow_database.task("a", "running")


def begin_again(airflow_database: AirflowDatabase) -> None:
    """The same, with its batch, whose scope is one task of two."""
    begin_in_airflow_again(airflow_database)
    open_batch("a", "old", scope=["a"], run_after=LATER)


def scope_of_batch() -> tuple[datetime | None, list[str] | None]:
    found = batch()
    return found.run_after, found.scope_task_ids


@pytest.mark.parametrize("is_known", [True, False])
def test_a_look_at_the_old_run_takes_nothing_from_the_new_batch(
    airflow_database: AirflowDatabase, one: Reconciler, is_known: bool
) -> None:
    """Between the look and the writing of it the run was deleted, and its id used again."""
    airflow_database.run(state="success", end_date=AT)
    airflow_database.task("a", "success")
    if is_known:
        one.tick()
    old = load([KEY], one._source.open)
    begin_again(airflow_database)
    assert mirror(list(old.values()), lambda _run, _attempt: None, one._source.open) == set()
    assert scope_of_batch() == (LATER, ["a"])
    assert logs() == {("a", -1, 1): ("NEW", None)}
    one.tick()
    assert scope_of_batch() == (LATER, ["a"])
    assert logs() == {("a", -1, 1): ("PROCESSING", None)}


@pytest.mark.parametrize("is_known", [True, False])
def test_a_batch_that_begins_while_the_old_run_is_written_loses_nothing(
    airflow_database: AirflowDatabase, one: Reconciler, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what is stored was read and the transaction that writes, ``start_batch`` of the new run opened its batch."""
    airflow_database.run(state="success", end_date=AT)
    airflow_database.task("a", "success")
    if is_known:
        open_batch("a", "old")
    compare = compare_runs

    def compare_and_begin_again(runs: Collection[RunState], *arguments: Any) -> Any:
        compared = compare(runs, *arguments)
        begin_again(airflow_database)
        return compared

    old = load([KEY], one._source.open)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("provider.reconciler.writing.compare_runs", compare_and_begin_again)
        assert mirror(list(old.values()), lambda _run, _attempt: None, one._source.open) == set()
    assert scope_of_batch() == (LATER, ["a"])
    assert logs() == {("a", -1, 1): ("NEW", None)}


def test_a_batch_that_begins_while_its_run_is_written_for_the_first_time_loses_nothing(
    airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is the deleted run's, so it is to be replaced, and ``start_batch`` of the new run has done so before."""
    open_batch("a", "old")
    begin_in_airflow_again(airflow_database)
    compare = compare_runs

    def compare_and_open(runs: Collection[RunState], *arguments: Any) -> Any:
        compared = compare(runs, *arguments)
        open_batch("a", "old", scope=["a"], run_after=LATER)
        provisional("a", "PROCESSING", remote_job_id="job-1")
        return compared

    new = load([KEY], one._source.open)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("provider.reconciler.writing.compare_runs", compare_and_open)
        assert mirror(list(new.values()), lambda _run, _attempt: None, one._source.open) == set()
    one.tick()
    assert scope_of_batch() == (LATER, ["a"])
    with read_session() as session:
        assert session.get_one(TaskLog, ("sales", "b1", "a", -1, 1)).remote_job_id == "job-1"


def test_a_batch_that_begins_while_the_old_run_is_inserted_keeps_its_tries(
    airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no row to lock: the insert of the new batch is committed when the old run's waits for it."""
    airflow_database.run(state="success", end_date=AT)
    airflow_database.task("a", "success")
    old = load([KEY], one._source.open)
    lock = batches.lock_batches
    looks = iter([True])

    def lock_none_at_first(session: Session, runs: Collection[Any]) -> Any:
        if next(looks, False):
            begin_in_airflow_again(airflow_database)
            open_batch_in(session, "a", "old", scope=["a"], run_after=LATER)
            return {}
        return lock(session, runs)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(batches, "lock_batches", lock_none_at_first)
        assert mirror(list(old.values()), lambda _run, _attempt: None, one._source.open) == set()
    assert scope_of_batch() == (LATER, ["a"])
    assert logs() == {("a", -1, 1): ("NEW", None)}


def test_a_run_that_begins_anew_while_the_deleted_one_is_ended_goes_on(
    airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look that missed the run and the row that says so, ``start_batch`` of the next one has opened its batch."""
    airflow_database.run()
    airflow_database.task("a", "running")
    open_batch("a")
    one.tick()
    airflow_database.delete_run("b1")

    def begin_and_end(*arguments: Any) -> None:
        begin_again(airflow_database)
        end_deleted(*arguments)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(passes, "end_deleted", begin_and_end)
        one.tick()
    one.tick()
    assert (batch().status, batch().error) == ("PROCESSING", None)
    assert logs() == {("a", -1, 1): ("PROCESSING", None)}


def test_the_new_run_replaces_a_batch_of_the_old_one_that_was_written_late(
    airflow_database: AirflowDatabase, one: Reconciler
) -> None:
    """Whichever of the two is there: the run that Airflow has now is the one that counts."""
    open_batch("a", run_after=LATER)
    airflow_database.run()
    airflow_database.task("a", "running")
    one.tick()
    assert scope_of_batch() == (AT, None)
