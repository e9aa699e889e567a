"""Which reason a row of a task that never ran gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.metadata import states
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import TaskLog
from provider.reconciler import end_causes
from provider.reconciler.passes import Reconciler
from tests.provider.reconciler.batch_rows import AT, batch, logs, open_batch, provisional, statuses
from tests.provider.reconciler.conftest import AirflowDatabase, edges_are

LATER = AT + timedelta(minutes=10)

pytestmark = pytest.mark.usefixtures("application_database")


class TestReasons:
    def test_out_of_scope_and_disabled(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run()
        for task_id in ("a", "off", "out"):
            airflow_database.task(task_id, None if task_id != "out" else "skipped", 0)
        one.tick()  # faster than start_batch
        open_batch("a", "off", "out", scope=["a", "off"], disabled={"off"})
        from airflow.models.taskinstance import TaskInstance

        airflow_database.set(TaskInstance, {"task_id": "off"}, state="skipped", end_date=AT)
        airflow_database.set(TaskInstance, {"task_id": "out"}, end_date=AT)
        one.tick()
        assert logs()[("off", -1, 1)] == ("SKIPPED", "the task is disabled")

    @pytest.mark.parametrize(
        ("enabled", "conf", "reason"),
        [
            (False, {}, states.DISABLED_REASON),
            (True, {"_accelerator": {"message_id": "1", "completed_task_id": "off"}}, states.DONE_ELSEWHERE_REASON),
        ],
    )
    def test_what_start_batch_skips_has_its_reason_though_the_reconciler_was_faster_or_it_is_skipped_again(
        self, airflow_database: AirflowDatabase, one: Reconciler, enabled: bool, conf: dict[str, Any], reason: str
    ) -> None:
        from airflow.models.taskinstance import TaskInstance

        off = {"task_id": "off", "workflow_id": "sales", "task_type": "noop", "enabled": enabled}
        with write_session() as session:
            replace_workflows(session, DefinitionRows([{"workflow_id": "sales"}], [off], []))
        open_batch("a", "off", disabled=["off"])
        airflow_database.run(conf=conf)
        airflow_database.task("off", None, 0)
        one.tick()
        airflow_database.set(TaskInstance, {"task_id": "off"}, state="skipped", end_date=AT)
        one.tick()
        assert logs()[("off", -1, 1)] == ("SKIPPED", reason)
        airflow_database.history("off", "skipped", 1)
        airflow_database.set(TaskInstance, {"task_id": "off"}, try_number=2)
        one.tick()
        assert logs()[("off", -1, 2)] == ("SKIPPED", reason)

    def test_a_task_that_was_blocked_and_is_skipped_has_the_new_reason(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.models.taskinstance import TaskInstance

        edges_are({"out": {"a"}}, monkeypatch)
        open_batch("a", "out", scope=["a"])
        airflow_database.run()
        airflow_database.task("a", "failed")
        airflow_database.task("out", "upstream_failed", 1)
        one.tick()
        assert logs()[("out", -1, 1)] == ("BLOCKED", "blocked by a")
        airflow_database.set(TaskInstance, {"task_id": "out"}, state="skipped")
        one.tick()
        assert logs()[("out", -1, 1)] == ("SKIPPED", "out of scope of this batch")

    def test_a_task_out_of_scope_says_so(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        open_batch("a", "out", scope=["a"])
        airflow_database.run()
        airflow_database.task("out", "skipped", 0)
        one.tick()
        assert logs()[("out", -1, 1)] == ("SKIPPED", "out of scope of this batch")

    def test_a_process_that_says_nothing_gets_a_message_only_after_it_had_its_time(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        from airflow.models.taskinstancehistory import TaskInstanceHistory

        airflow_database.run()
        airflow_database.history("a", "failed", 1, end_date=datetime.now(UTC))
        airflow_database.task("a", "up_for_retry", 1, end_date=datetime.now(UTC))
        one.tick()
        assert logs()[("a", -1, 1)] == ("ERROR", None)
        from airflow.models.taskinstance import TaskInstance

        for model in (TaskInstanceHistory, TaskInstance):
            airflow_database.set(model, {"task_id": "a"}, end_date=AT)
        one.tick()
        assert "ended without a message" in str(logs()[("a", -1, 1)][1])

    def test_what_the_scheduler_says_is_better_than_nothing(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run()
        airflow_database.task("a", "failed")
        one.note(("sales", "b1"), ("a", -1, 1), "heartbeat lost")
        one.tick()
        assert logs()[("a", -1, 1)] == ("ERROR", "heartbeat lost")

    def test_a_timeout_of_the_run_is_an_error_of_what_was_open(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        from airflow.models.taskinstance import TaskInstance

        open_batch("a", "waits", "again", "out", scope=["a", "waits", "again"])
        airflow_database.run(state="failed", end_date=AT)
        airflow_database.task("a", "skipped", end_date=None)
        airflow_database.task("waits", "skipped", 0)
        airflow_database.set(TaskInstance, {"task_id": "waits"}, end_date=None)
        airflow_database.history("again", "failed", 1, end_date=AT - timedelta(minutes=1))
        airflow_database.task("again", "skipped", 1, end_date=AT - timedelta(minutes=1))
        airflow_database.task("out", "skipped", 0, updated_at=AT - timedelta(minutes=5), end_date=AT - timedelta(minutes=5))
        one.tick()
        found = logs()
        for key in (("a", -1, 1), ("waits", -1, 1), ("again", -1, 2)):
            assert found[key] == ("ERROR", end_causes.TIMED_OUT_REASON)
        assert found[("out", -1, 1)] == ("SKIPPED", "out of scope of this batch")
        assert batch().error == f"3 tasks failed: a, again, waits; first error: {end_causes.TIMED_OUT_REASON}"

    def test_a_look_between_the_skipped_tasks_and_their_timed_out_run_leaves_nothing_behind(
        self, airflow_database: AirflowDatabase, one: Reconciler
    ) -> None:
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance

        open_batch("a")
        airflow_database.run()
        airflow_database.task("a", "skipped")
        airflow_database.set(TaskInstance, {"task_id": "a"}, end_date=None)
        one.tick()
        assert statuses() == {("a", -1, 1): "SKIPPED"}
        airflow_database.set(DagRun, {"run_id": "b1"}, state="failed", end_date=AT, updated_at=AT)
        one.tick()
        assert logs() == {("a", -1, 1): ("ERROR", end_causes.TIMED_OUT_REASON)}
        assert batch().error == f"1 task failed: a; first error: {end_causes.TIMED_OUT_REASON}"

    @pytest.mark.parametrize("is_seen", [True, False])
    def test_what_was_blocked_before_it_began_says_its_own_error(
        self, airflow_database: AirflowDatabase, one: Reconciler, is_seen: bool
    ) -> None:
        """A person clears; Airflow begins the task under the number that it had, and nobody has seen it wait in between."""
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance

        airflow_database.run(state="failed", end_date=AT)
        airflow_database.task("a", "failed")
        airflow_database.task("b", "upstream_failed", 0)
        one.tick()
        assert statuses()[("b", -1, 1)] == "BLOCKED"
        airflow_database.set(DagRun, {"run_id": "b1"}, state="running", end_date=None)
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="success", try_number=2)
        airflow_database.set(TaskInstance, {"task_id": "b"}, state="running", try_number=1, start_date=LATER, end_date=None)
        provisional("b", "PROCESSING", airflow_state="running", started_at=LATER, config={"sql": "SELECT 1"})
        if is_seen:
            one.tick()
            assert logs()[("b", -1, 1)] == ("PROCESSING", None)
        failed: dict[str, Any] = {"error_type": "ValueError", "error_message": "no rows", "end_cause": "task"}
        provisional("b", "ERROR", airflow_state="failed", started_at=LATER, ended_at=LATER, **failed)
        airflow_database.set(TaskInstance, {"task_id": "b"}, state="failed", end_date=LATER)
        airflow_database.set(DagRun, {"run_id": "b1"}, state="failed", end_date=LATER)
        one.tick()
        with read_session() as session:
            row = session.get_one(TaskLog, ("sales", "b1", "b", -1, 1))
        assert (row.status, row.error_message, row.end_cause, row.config) == ("ERROR", "no rows", "task", {"sql": "SELECT 1"})
        assert batch().error == "1 task failed: b; first error: no rows"

    def test_another_event_of_the_audit_log_is_no_mark(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run(state="failed", created_at=AT - timedelta(minutes=1), end_date=AT)
        airflow_database.task("a", "skipped", updated_at=AT - timedelta(seconds=1), end_date=AT - timedelta(seconds=1))
        for event in ("trigger_dag_run", "failed", "patch_task_instance", "success"):
            airflow_database.acts(event, AT - timedelta(seconds=2))
        one.tick()
        assert statuses() == {("a", -1, 1): "SKIPPED"}

    def test_a_run_marked_failed_by_a_person(self, airflow_database: AirflowDatabase, one: Reconciler) -> None:
        airflow_database.run(state="failed", created_at=AT - timedelta(minutes=1), end_date=AT)
        airflow_database.task("before", "skipped", updated_at=AT - timedelta(seconds=9), end_date=AT - timedelta(seconds=9))
        airflow_database.task("open", "skipped", updated_at=AT - timedelta(seconds=1), end_date=AT - timedelta(seconds=1))
        airflow_database.acts("patch_dag_run", AT - timedelta(seconds=2), extra={"state": "failed", "note": None})
        one.tick()
        assert statuses() == {("before", -1, 1): "SKIPPED", ("open", -1, 1): "ERROR"}
        assert logs()[("open", -1, 1)][1] == "the DAG run was marked failed by ann before this task was done"
        assert (batch().end_cause, batch().ended_by) == ("marked_failed", "ann")

    def test_a_blocked_task_names_the_failed_one_above(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        edges = {"b": {"a"}, "c": {"b", "ok"}, "a": set(), "ok": set()}
        edges_are(edges, monkeypatch)
        airflow_database.run()
        for task_id, state in (("a", "failed"), ("b", "upstream_failed"), ("c", "upstream_failed"), ("ok", "success")):
            airflow_database.task(task_id, state)
        one.tick()
        assert logs()[("c", -1, 1)] == ("BLOCKED", "blocked by a")

    def test_a_task_cleared_behind_a_blocked_one_names_that(
        self, airflow_database: AirflowDatabase, one: Reconciler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one that had failed was cleared alone, and has succeeded."""
        from airflow.models.taskinstance import TaskInstance

        edges_are({"b": {"a"}, "c": {"b"}, "a": set()}, monkeypatch)
        airflow_database.run()
        for task_id, state in (("a", "failed"), ("b", "upstream_failed"), ("c", "upstream_failed")):
            airflow_database.task(task_id, state)
        one.tick()
        assert logs()[("c", -1, 1)] == ("BLOCKED", "blocked by a")
        airflow_database.acts("post_clear_task_instances", datetime.now(UTC), extra={"task_ids": ["a"]})
        airflow_database.set(TaskInstance, {"task_id": "a"}, state="success", try_number=2)
        airflow_database.set(TaskInstance, {"task_id": "c"}, state="upstream_failed")  # again; Airflow keeps its end
        one.tick()
        assert logs()[("c", -1, 1)] == ("BLOCKED", "blocked by b")
