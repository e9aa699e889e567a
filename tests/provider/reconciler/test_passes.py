from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from provider.batch_ids import TEMPORARY_RUN_PREFIX
from provider.hooks.airflow_api import AirflowApi
from provider.metadata import batches, states, task_logs
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import TaskBatch, TaskLog
from provider.reconciler import end_causes, passes
from provider.reconciler.passes import Reconciler
from tests.provider.reconciler.batch_rows import AT, batch, logs, open_batch, provisional, statuses
from tests.provider.reconciler.conftest import AirflowDatabase, long_ago, source_of

pytestmark = pytest.mark.usefixtures("application_database")


class TestTries:
    def test_every_state_is_mirrored_and_ghosts_of_start_batch_go(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        open_batch("a", "mapped")
        airflow_database.run()
        for state, status in states.STATUS_OF_TASK_STATE.items():
            airflow_database.task(f"t_{state}", state, 0 if status == "NEW" else 1)
        airflow_database.task("mapped", "running", map_index=0)
        airflow_database.task("mapped", "success", map_index=1)
        assert one.tick()
        expected = {(f"t_{state}", -1, 1): status for state, status in states.STATUS_OF_TASK_STATE.items()}
        assert statuses() == {**expected, ("mapped", 0, 1): "PROCESSING", ("mapped", 1, 1): "SUCCESS"}

    def test_a_run_of_tasks_test_is_no_batch(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        """It is there as a running one for some seconds, and a scheduler takes its tasks for its own."""
        temporary = f"{TEMPORARY_RUN_PREFIX}2026-03-16T04:00:00+00:00__"
        airflow_database.run(temporary)
        airflow_database.task("a", "running", run_id=temporary)
        one.tick()
        airflow_database.delete_run(temporary)
        one.tick()
        with read_session() as session:
            assert [session.scalars(select(model)).all() for model in (TaskBatch, TaskLog)] == [[], []]

    def test_a_retry_is_one_row_for_each_try(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run()
        airflow_database.history("a", "failed", 1)
        airflow_database.history("a", "failed", 2)
        airflow_database.task("a", "running", 3)
        airflow_database.history("waits", "failed", 1)
        airflow_database.task("waits", "up_for_retry", 1)
        one.tick()
        assert statuses() == {("a", -1, 1): "ERROR", ("a", -1, 2): "ERROR", ("a", -1, 3): "PROCESSING", ("waits", -1, 1): "ERROR"}

    @pytest.mark.parametrize(("state", "status"), [(None, "NEW"), ("upstream_failed", "BLOCKED"), ("skipped", "SKIPPED")])
    def test_after_a_clear_the_task_is_its_next_try(
        self, airflow_database: AirflowDatabase, one: Reconciler, state: str | None, status: str
    ) -> None:
        airflow_database.run()
        airflow_database.history("a", "success", 1)
        airflow_database.task("a", state, 1)
        one.tick()
        assert statuses() == {("a", -1, 1): "SUCCESS", ("a", -1, 2): status}

    def test_a_clear_before_the_first_try_is_no_try(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run()
        airflow_database.history("a", "failed", 0)
        airflow_database.task("a", "running", 1)
        one.tick()
        assert statuses() == {("a", -1, 1): "PROCESSING"}

    def test_a_waiting_task_has_no_times(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run()
        airflow_database.history("a", "failed", 1)
        airflow_database.task("a", "queued", 2, end_date=AT)
        one.tick()
        with read_session() as session:
            log = session.get(TaskLog, ("sales", "b1", "a", -1, 2))
            assert log is not None
            assert (log.status, log.started_at, log.ended_at) == ("NEW", None, None)

    def test_a_wrong_word_of_the_task_process_is_put_right(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run(state="failed", end_date=AT)
        airflow_database.task("a", "failed")
        provisional("a", "SUCCESS")
        one.tick()
        assert statuses() == {("a", -1, 1): "ERROR"}

    def test_a_row_of_a_try_that_airflow_will_only_know_in_a_moment_stays_for_now(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        airflow_database.run()
        airflow_database.task("a", "up_for_retry", 1)
        provisional("a", "ERROR", try_number=2, error_message="real reason")
        one.tick()
        assert ("a", -1, 2) in logs()
        with write_session() as session:
            session.execute(
                update(TaskLog).where(TaskLog.try_number == 2).values(updated_at=datetime.now(UTC) - timedelta(minutes=1))
            )
        one.tick()
        assert ("a", -1, 2) not in logs()

    def test_the_remote_job_of_every_try_comes_from_the_ledger(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        from airflow.models.task_state_store import TaskStateStoreModel

        airflow_database.run()
        airflow_database.history("a", "failed", 1)
        airflow_database.task("a", "running", 2)
        ledger = '{"tries": {"1": {"id": "job/1", "url": "https://x/1"}, "2": {"id": "job/2", "url": null}}}'
        for key, value in (("remote_job", ledger), ("other", "{")):
            airflow_database.insert(
                TaskStateStoreModel,
                dag_run_id=1,
                task_id="a",
                map_index=-1,
                key=key,
                dag_id="sales",
                run_id="b1",
                value=value,
                updated_at=AT,
            )
        one.tick()
        with read_session() as session:
            found = {
                log.try_number: (log.remote_job_id, log.remote_job_url) for log in session.query(TaskLog).filter_by(task_id="a")
            }
        assert found == {1: ("job/1", "https://x/1"), 2: ("job/2", None)}


class TestBatches:
    def test_a_failed_run_says_which_tasks_and_the_first_error(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        open_batch("a", "b")
        airflow_database.run(state="failed", end_date=AT, triggered_by="UI", conf={"country": "DE", "scope": "workflow"})
        airflow_database.history("a", "failed", 1)
        airflow_database.task("a", "failed", 2, end_date=AT + timedelta(seconds=5))
        airflow_database.task("b", "failed", end_date=AT + timedelta(seconds=1))
        provisional("b", "ERROR", error_type="RemoteJobError", error_message="no such table")
        one.tick()
        found = batch()
        assert found.error == "2 tasks failed: a, b; first error: no such table"
        assert (found.status, found.airflow_state, found.source, found.ended_at) == ("ERROR", "failed", "ui", AT)

    def test_a_run_without_start_batch_yet_is_a_new_batch(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        origin = {"request_id": 1, "message_id": "m1", "workflow_id": "sales", "batch_id": "b1"}
        airflow_database.run(state="queued", conf={"_accelerator": origin, "country": "DE", "token": "secret"}, start_date=None)
        one.tick()
        found = batch()
        assert (found.status, found.source, found.message_id, found.scope) == ("NEW", "message", "m1", None)
        assert (found.params, found.started_at, found.created_at) == ({"country": "DE", "token": "***"}, None, AT)

    def test_a_deleted_run_ends_its_batch(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run()
        airflow_database.task("a", "running")
        airflow_database.task("b", "success")
        one.tick()
        airflow_database.delete_run("b1")
        one.tick()
        assert (batch().status, batch().error) == ("ERROR", end_causes.DELETED_REASON)
        assert logs() == {("a", -1, 1): ("ERROR", end_causes.DELETED_REASON), ("b", -1, 1): ("SUCCESS", None)}

    def test_other_dags_are_left_alone(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        from airflow.models.taskinstance import TaskInstance

        airflow_database.run(dag_id="other")
        airflow_database.set(TaskInstance, {"dag_id": "other"}, operator="EmptyOperator")
        one.tick()
        with read_session() as session:
            assert session.query(TaskBatch).count() == 0


def fail_once(reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a pass that finds everything and can write nothing."""
    with monkeypatch.context() as broken:
        broken.setattr(passes, "mirror_runs", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        with pytest.raises(ConnectionError):
            reconciler.tick()


class TestPasses:
    def test_a_row_written_between_the_look_and_the_delete_stays(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What Airflow did not know when it was looked at, it may know since."""
        open_batch("new")
        airflow_database.run()
        stored_runs = batches.stored_runs

        def look(*arguments: Any) -> Any:
            found = stored_runs(*arguments)
            monkeypatch.undo_look()  # type: ignore[attr-defined]
            provisional("new", "PROCESSING")
            return found

        with monkeypatch.context() as looking:
            monkeypatch.undo_look = looking.undo  # type: ignore[attr-defined]
            looking.setattr(batches, "stored_runs", look)
            one.tick()
        assert statuses() == {("new", -1, 1): "PROCESSING"}

    def test_a_failed_try_of_an_ended_run_has_its_message_at_once(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        now = datetime.now(UTC)
        airflow_database.run(state="failed", end_date=now)
        airflow_database.task("a", "failed", start_date=now, end_date=now)
        one.tick()
        ((status, message),) = logs().values()
        assert (status, str(message).partition(" (")[0]) == ("ERROR", "The task process ended without a message")

    def test_a_running_try_that_has_told_its_error_is_written_once(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        airflow_database.run()
        airflow_database.task("a", "running", start_date=AT)
        provisional("a", "ERROR", error_type="ValueError", error_message="no such table")
        one.tick()
        assert logs() == {("a", -1, 1): ("PROCESSING", "no such table")}
        monkeypatch.setattr(task_logs, "record_tries", lambda *_a, **_k: pytest.fail("written again"))
        one._seen = {}
        one.tick()

    def test_an_error_outlives_a_look_from_before_the_try_that_is_written_again_and_again(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        """Rows of an instance that was not there at that look leave the run unsettled."""
        from airflow.models.taskinstance import TaskInstance

        airflow_database.run()
        airflow_database.task("a", "scheduled")
        provisional("later", "SUCCESS")
        one.tick()
        provisional("a", "ERROR", error_type="ValueError", error_message="no such table")
        one._next_task_look = float("inf")
        one.tick()
        one.tick()
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="failed")
        one._next_task_look = 0.0
        one.tick()
        assert logs()[("a", -1, 1)] == ("ERROR", "no such table")

    def test_an_error_that_a_running_try_has_told_is_no_reason_for_the_skip_that_a_person_made_of_it(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        """Between two looks the try failed, and was marked; the application database was away, for instance."""
        from airflow.models.taskinstance import TaskInstance

        airflow_database.run()
        airflow_database.task("a", "running", start_date=AT)
        provisional("a", "ERROR", error_type="ValueError", error_message="no such table")
        one.tick()
        marked = datetime.now(UTC)
        airflow_database.acts("patch_task_instance", marked, owner="bob", task_id="a", extra={"new_state": "skipped"})
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="skipped", end_date=AT, updated_at=marked)
        one.tick()
        assert logs() == {("a", -1, 1): ("SKIPPED", "marked skipped by bob")}
        with read_session() as session:
            assert set(session.scalars(select(TaskLog.error_type))) == {None}

    def test_what_a_failed_pass_has_found_is_found_again_however_late(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A person's change to an old run, which nothing but the look at all tasks finds."""
        from airflow.models.taskinstance import TaskInstance

        long_ago(airflow_database, one)
        monkeypatch.setattr(passes, "_OVERLAP", timedelta(0))  # the next pass comes later than that
        one._next_task_look = 0.0
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="failed")
        fail_once(one, monkeypatch)
        assert logs() == {}
        one.tick()
        assert statuses() == {("a", -1, 1): "ERROR"}

    def test_a_sweep_that_failed_goes_on_where_it_was(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.models.taskinstance import TaskInstance

        old = datetime.now(UTC) - timedelta(days=3)
        airflow_database.run(state="success", end_date=AT, updated_at=old)
        airflow_database.set(TaskInstance, {"task_id": "start_batch"}, updated_at=old)
        fail_once(one, monkeypatch)
        one.tick()
        assert batch().status == "SUCCESS"

    def test_a_sweep_that_takes_longer_than_its_pause_comes_to_its_end(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        from airflow.models.taskinstance import TaskInstance

        one._source = replace(one._source, sweep=0.0, swept=1)
        old = datetime.now(UTC) - timedelta(hours=3)
        for run_id in ("b1", "b2"):
            airflow_database.run(run_id, state="success", end_date=AT, updated_at=old)
        airflow_database.set(TaskInstance, {"task_id": "start_batch"}, updated_at=old)
        one.tick()
        one.tick()
        assert batch("b2").status == "SUCCESS"

    def test_a_pass_over_an_unchanged_run_writes_nothing(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        airflow_database.run()
        airflow_database.task("a", "running")
        one.tick()
        monkeypatch.setattr(task_logs, "record_tries", lambda *_a, **_k: pytest.fail("written again"))
        one.tick()
        one._seen = {}  # the comparison with the table must say so too, not only the memory
        one.tick()

    def test_an_old_run_that_nobody_mirrored_is_found_by_the_first_sweep(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        airflow_database.run(state="success", end_date=AT, updated_at=datetime.now(UTC) - timedelta(days=3))
        one.tick()
        assert batch().status == "SUCCESS"

    def test_a_task_that_a_person_changes_in_a_finished_run_is_found(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        from airflow.models.taskinstance import TaskInstance

        long_ago(airflow_database, one)
        assert logs() == {}
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="failed")
        one._next_task_look = 0.0
        one.tick()
        assert statuses() == {("a", -1, 1): "ERROR"}

    def test_a_pass_that_failed_is_made_again_whole(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        airflow_database.run()
        fail_once(one, monkeypatch)
        one.tick()
        assert batch().status == "PROCESSING"


def test_an_act_that_a_failed_pass_has_found_is_found_again(
    airflow_database: AirflowDatabase, airflow_api: AirflowApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of the API takes each entry of the audit log once."""
    one = Reconciler(source_of(airflow_api))
    long_ago(airflow_database, one)
    airflow_database.acts("patch_task_instance", datetime.now(UTC), task_id="a", extra={"new_state": "success"})
    one._next_task_look = 0.0
    fail_once(one, monkeypatch)
    one.tick()
    assert statuses() == {("a", -1, 1): "SUCCESS"}
    one.release()
