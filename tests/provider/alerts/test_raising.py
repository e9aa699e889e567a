"""From Airflow's state of a run to alerts: each thing that happened once, with the row that says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from provider.airflow_internals.audit_log import PersonAct
from provider.alerts import outbox, raising, rule_rows
from provider.exceptions import LostLeadError
from provider.metadata import task_logs
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import AlertRule, TaskBatch
from tests.provider.alerts.alert_world import NOW, SECOND, add_rule, alerts, attempt, mirror, run, told

pytestmark = pytest.mark.usefixtures("application_database")


def test_a_failed_batch_is_told_once_however_often_it_is_looked_at() -> None:
    add_rule("batches")
    failed = run(attempt("failed"), attempt("upstream_failed", task_id="after"), state="failed")
    for _ in range(3):
        mirror(failed)

    assert told() == [("batches", "failure", None, None)]
    (alert,) = alerts()
    assert (alert.batch_id, alert.happened_at, alert.state) == ("b1", NOW - 50 * SECOND, "waiting")
    assert alert.details["error"].startswith("1 task failed: load; first error: The task process ended without a message")


def test_a_rule_about_tasks_tells_of_each_but_not_of_the_batch() -> None:
    add_rule("tasks", "failure,blocked,success", task_id="*")
    mirror(
        run(
            *(attempt("failed"), attempt("upstream_failed", task_id="after"), attempt("success", task_id="other")),
            attempt("failed", task_id="batch_watcher"),
            state="failed",
        )
    )

    assert told() == [("tasks", "blocked", "after", 1), ("tasks", "failure", "load", 1), ("tasks", "success", "other", 1)]


def test_a_rule_about_one_task_leaves_the_others_alone() -> None:
    add_rule("one", "failure", task_id="load")
    mirror(run(attempt("failed"), attempt("failed", task_id="other"), state="failed"))

    assert told() == [("one", "failure", "load", 1)]


def test_without_a_task_blocked_and_retry_are_those_of_any_task() -> None:
    add_rule("all", "blocked,retry")
    mirror(run(attempt("up_for_retry", max_tries=2), attempt("upstream_failed", task_id="after")))

    assert told() == [("all", "blocked", "after", 1), ("all", "retry", "load", 1)]


def cleared(at: datetime) -> PersonAct:
    return PersonAct(at, "ann", "cleared", "sales", "b1", task_id="load")


class TestRetries:
    def test_a_try_that_airflow_repeats_is_a_retry_and_the_last_one_a_failure(self) -> None:
        add_rule("tries", "failure,retry", task_id="*")
        first = attempt("failed", 1, live=False, max_tries=1)
        mirror(run(attempt("up_for_retry", 1, max_tries=1)))
        mirror(run(first, attempt("running", 2, max_tries=1, started_at=NOW - 55 * SECOND)))
        mirror(run(first, attempt("failed", 2, max_tries=1, started_at=NOW - 55 * SECOND), state="failed"))

        assert told() == [("tries", "failure", "load", 2), ("tries", "retry", "load", 1)]

    def test_a_retry_that_nobody_saw_is_told_afterwards(self) -> None:
        add_rule("tries", "failure,retry", task_id="*")
        mirror(run(attempt("failed", 1, live=False, max_tries=1), attempt("success", 2, max_tries=1), state="success"))

        assert told() == [("tries", "retry", "load", 1)]

    def test_a_failure_that_a_person_has_run_again_was_no_retry(self) -> None:
        """Although tries were left, as where the task said that it makes no sense to try again."""
        add_rule("tries", "failure,retry", task_id="*")
        clear = cleared(NOW - 58 * SECOND)
        again = attempt("running", 2, max_tries=3, started_at=NOW - 55 * SECOND)
        mirror(run(attempt("failed", 1, max_tries=3), state="failed"))
        mirror(run(attempt("failed", 1, live=False, max_tries=3), again, acts=(clear,)))

        assert told() == [("tries", "failure", "load", 1)]

    def test_a_try_that_a_person_cleared_while_it_ran_is_no_failure(self) -> None:
        add_rule("tries", "failure,retry", task_id="*")
        clear = cleared(NOW - 70 * SECOND)
        mirror(run(attempt("failed", 1, live=False), attempt("running", 2), acts=(clear,)))

        assert told() == []


def test_a_batch_that_is_restarted_and_fails_again_is_told_again() -> None:
    add_rule("batches", "failure,success")
    mirror(run(attempt("failed"), state="failed"))
    mirror(run(attempt("failed", 1, live=False), attempt("running", 2)))
    mirror(run(attempt("failed", 1, live=False), attempt("failed", 2), state="failed", ended_at=NOW - 40 * SECOND))
    mirror(run(attempt("failed", 1, live=False), attempt("success", 3), state="success", ended_at=NOW - 31 * SECOND))

    assert told() == [("batches", "failure", None, None)] * 2 + [("batches", "success", None, None)]


def test_another_run_with_the_id_of_a_deleted_one_has_alerts_of_its_own() -> None:
    add_rule("tasks", task_id="*")
    mirror(run(attempt("failed"), state="failed"))
    mirror(run(attempt("failed"), state="failed", run_after=NOW - 99 * SECOND))

    assert told() == [("tasks", "failure", "load", 1)] * 2


def test_what_the_task_itself_has_written_before_is_told_with_its_error() -> None:
    """The reconciler then finds nothing to write, and yet something to tell."""
    add_rule("tasks", task_id="*")
    failed = run(attempt("failed"), state="failed")
    mirror(failed, allowed=())
    row: Any = {
        **{"workflow_id": "sales", "batch_id": "b1", "task_id": "load", "map_index": -1, "try_number": 1},
        **{"status": "ERROR", "airflow_state": "failed", "started_at": NOW - 90 * SECOND, "ended_at": NOW - 60 * SECOND},
        **{"error_type": "ValueError", "error_message": "no rows {{ 7 * 7 }}", "end_cause": "task", "ended_by": None},
        **{"remote_job_id": "j", "remote_job_url": "https://jobs/j", "row_source": "task"},
    }
    with write_session() as session:
        task_logs.delete_tries(session, ("sales", "b1"), [("load", -1, 1)], unchanged_since=NOW + timedelta(days=1))
        task_logs.record_tries(session, [row], authoritative=False)
    mirror(failed)

    (alert,) = alerts()
    assert alert.details == {
        "error": "no rows {{ 7 * 7 }}",
        "cause": "task",
        "started_at": (NOW - 90 * SECOND).isoformat(),
        "remote_job_url": "https://jobs/j",
    }


def test_a_failure_is_told_when_its_process_has_had_its_time_to_say_why() -> None:
    add_rule("tasks", "failure", task_id="*")
    add_rule("batches", "failure")
    fresh = attempt("failed", ended_at=datetime.now(UTC))
    mirror(run(fresh, state="running"))
    assert told() == []

    mirror(run(attempt("failed"), state="failed"))
    assert told() == [("batches", "failure", None, None), ("tasks", "failure", "load", 1)]


class TestRulesInForce:
    def test_what_happened_before_the_rule_is_not_told(self) -> None:
        add_rule("new", created_at=NOW)
        mirror(run(attempt("failed"), state="failed"))

        assert told() == []

    def test_a_rule_of_another_workflow_and_one_that_is_off_tell_nothing(self) -> None:
        add_rule("other", workflow_id="stock")
        add_rule("off", enabled=False)
        add_rule("forbidden", notifier="os.system")
        mirror(run(attempt("failed"), state="failed"))

        assert told() == []

    def test_a_rule_that_is_changed_tells_of_what_comes_then(self) -> None:
        """Else a rule that gets another event would tell of all that there was of it."""
        add_rule("rule", "success")
        look = raising.Alerting(["mail"])
        look.look_at_clock(lambda _session: None, NOW)
        with write_session() as session:
            session.execute(update(AlertRule).values(events="failure"))
        mirror(run(attempt("failed"), state="failed"))
        assert told() == []

        raising.Alerting(["mail"]).look_at_clock(lambda _session: None, NOW)
        later = NOW + timedelta(hours=1)
        mirror(run(attempt("failed"), state="failed", batch_id="b2", ended_at=later))
        assert told() == [("rule", "failure", None, None)]

    def test_who_is_told_may_change_without_that(self) -> None:
        add_rule("rule", "failure")
        raising.Alerting(["mail", "topic"]).look_at_clock(lambda _session: None, NOW)
        with write_session() as session:
            session.execute(update(AlertRule).values(config={"to": "b@example.org"}, notifier="topic"))
        mirror(run(attempt("failed"), state="failed"))

        assert told() == [("rule", "failure", None, None)]


def batches_stored() -> list[str]:
    with read_session() as session:
        return sorted(session.scalars(select(TaskBatch.batch_id)))


def test_the_alert_and_the_row_are_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    add_rule("batches")
    store = outbox.store

    def store_and_lose(session: Session, rows: Any) -> None:
        store(session, rows)
        raise LostLeadError

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "store", store_and_lose)
        with pytest.raises(LostLeadError):
            mirror(run(attempt("failed"), state="failed"))
    assert (batches_stored(), told()) == ([], [])

    mirror(run(attempt("failed"), state="failed"))
    assert told() == [("batches", "failure", None, None)]


class TestWhereAlertsFail:
    """The record is kept all the same, and what could not be told is told later."""

    @pytest.mark.parametrize(("where", "name"), [(outbox, "store"), (rule_rows, "rules_in_force")])
    @pytest.mark.parametrize("error", [ValueError("odd"), ConnectionError("gone")])
    def test_the_record_is_written(
        self, where: ModuleType, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        add_rule("batches")
        real = getattr(where, name)

        def broken(session: Session, *arguments: Any) -> Any:
            if name == "store" and not arguments[0]:
                return real(session, *arguments)
            raise error

        failed = run(attempt("failed"), state="failed")
        with monkeypatch.context() as patch:
            patch.setattr(where, name, broken)
            mirror(failed)
        assert (batches_stored(), told()) == (["b1"], [])
        assert "Alerts cannot be written; the record is kept" in caplog.text

        mirror(failed)
        assert told() == [("batches", "failure", None, None)]

    def test_one_run_of_which_nothing_can_be_told_keeps_no_other_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        add_rule("batches")
        store = outbox.store

        def picky(session: Session, rows: Any) -> None:
            if any(row["batch_id"] == "b2" for row in rows):
                raise ValueError("odd")
            store(session, rows)

        monkeypatch.setattr(outbox, "store", picky)
        mirror(*(run(attempt("failed"), state="failed", batch_id=batch_id) for batch_id in ("b1", "b2", "b3")))

        assert batches_stored() == ["b1", "b2", "b3"]
        assert [one.batch_id for one in alerts()] == ["b1", "b3"]

    def test_a_table_that_is_missing_takes_the_record_along_no_more_than_that(self) -> None:
        with write_session() as session:
            session.execute(text("DROP TABLE alert_rules"))
        mirror(run(attempt("failed"), state="failed"))
        raising.Alerting(["mail"]).look_at_clock(lambda _session: None, NOW)

        assert batches_stored() == ["b1"]


def test_a_try_that_was_marked_before_it_ran_and_then_fails_has_failed_twice() -> None:
    """Airflow gives both the number one, once the first is cleared."""
    add_rule("tasks", "failure", task_id="*")
    marked = attempt("failed", 0, started_at=NOW - 70 * SECOND, ended_at=NOW - 70 * SECOND)
    for _ in range(2):
        mirror(run(marked, state="failed"))
    mirror(run(attempt("failed", 0, live=False), attempt("failed", 1), state="failed"))

    assert told() == [("tasks", "failure", "load", 1)] * 2
