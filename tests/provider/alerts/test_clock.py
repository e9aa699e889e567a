"""What a time decides: late, never started, unusually long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from provider.alerts.clock import happenings_by_clock
from provider.alerts.happenings import Happening
from provider.alerts.rule_rows import RuleInForce
from provider.alerts.rules import AlertRule
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import EarlierName, TaskBatch, TaskLog, Workflow

pytestmark = pytest.mark.usefixtures("application_database")

#: A Monday, in Berlin an hour later.
DAY = datetime(2026, 3, 16, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def batch(batch_id: str, status: str, began: datetime, ended: datetime | None = None, workflow_id: str = "sales") -> None:
    row = {"workflow_id": workflow_id, "batch_id": batch_id, "status": status, "started_at": began, "ended_at": ended}
    with write_session() as session:
        session.execute(insert(TaskBatch).values(**row, created_at=began, run_after=began, updated_at=began))


def task(batch_id: str, status: str, began: datetime, ended: datetime | None = None, task_id: str = "load") -> None:
    row = {"workflow_id": "sales", "batch_id": batch_id, "task_id": task_id, "status": status, "started_at": began}
    with write_session() as session:
        session.execute(insert(TaskLog).values(**row, ended_at=ended, row_source="task", updated_at=began))


def found(now: datetime, events: str, **values: Any) -> list[Happening]:
    rule = AlertRule.model_validate({"rule_id": "r", "workflow_id": "sales", "events": events, "notifier": "mail", **values})
    with read_session() as session:
        return [happening for _rule, happening in happenings_by_clock(session, [RuleInForce(rule, DAY)], now).calls]


def notes(now: datetime, events: str = "late,not_started", **values: Any) -> dict[str, str]:
    return {one.event: one.details["note"] for one in found(now, events, at_time="06:30", **values)}


class TestByATime:
    def test_before_it_nothing_is_late(self) -> None:
        assert notes(DAY + timedelta(hours=6, minutes=29)) == {}

    def test_a_batch_that_never_came_is_told_once_for_the_day(self) -> None:
        first, again = (found(DAY + timedelta(hours=hour), "not_started", at_time="06:30") for hour in (7, 8))

        assert [one.details["note"] for one in first] == ["no batch had started by 06:30 (UTC)"]
        assert first[0].event_id == again[0].event_id
        assert (first[0].batch_id, first[0].at) == (None, DAY + timedelta(hours=6, minutes=30))
        next_day = found(DAY + timedelta(hours=31), "not_started", at_time="06:30")
        assert [one.event_id for one in next_day] != [first[0].event_id]

    def test_what_has_ended_with_success_by_then_is_not_late(self) -> None:
        batch("b1", "SUCCESS", DAY + timedelta(hours=5), DAY + timedelta(hours=6))
        assert notes(DAY + timedelta(hours=7)) == {}

    def test_a_batch_that_ran_under_an_earlier_name_is_one_of_it(self) -> None:
        batch("b1", "SUCCESS", DAY + timedelta(hours=5), DAY + timedelta(hours=6), "turnover")
        with write_session() as session:
            row = {"workflow_id": "sales", "earlier_id": "turnover", "renamed_at": DAY, "renamed_by": "ann"}
            session.execute(insert(EarlierName).values(**row))
        assert notes(DAY + timedelta(hours=7)) == {}

    @pytest.mark.parametrize(
        ("status", "ended", "said"),
        [
            ("PROCESSING", None, "b1 was still running"),
            ("SUCCESS", timedelta(hours=6, minutes=31), "b1 was still running"),
            ("ERROR", timedelta(hours=5, minutes=10), "b1 had ended as ERROR"),
        ],
    )
    def test_what_had_not_is_however_long_after_it_is_looked_at(self, status: str, ended: timedelta | None, said: str) -> None:
        batch("b1", status, DAY + timedelta(hours=5), None if ended is None else DAY + ended)
        assert notes(DAY + timedelta(hours=9)) == {"late": f"no batch had ended with success by 06:30 (UTC): {said}"}

    def test_yesterdays_batch_is_none_of_today(self) -> None:
        batch("old", "SUCCESS", DAY - timedelta(hours=2), DAY - timedelta(hours=1))
        assert notes(DAY + timedelta(hours=7)) == {
            "late": "no batch had ended with success by 06:30 (UTC): none was started",
            "not_started": "no batch had started by 06:30 (UTC)",
        }

    def test_yesterdays_batch_is_none_of_today_either_when_it_is_run_again(self) -> None:
        """Airflow then writes the beginning of the run anew."""
        batch("old", "SUCCESS", DAY + timedelta(hours=1), DAY + timedelta(hours=2))
        task("old", "SUCCESS", DAY - timedelta(hours=2), DAY - timedelta(hours=1), "start_batch")
        task("old", "SUCCESS", DAY + timedelta(hours=1), DAY + timedelta(hours=2))
        assert set(notes(DAY + timedelta(hours=7))) == {"late", "not_started"}

    def test_a_batch_that_is_run_again_after_the_time_had_begun_all_the_same(self) -> None:
        batch("b1", "PROCESSING", DAY + timedelta(hours=8))
        task("b1", "SUCCESS", DAY + timedelta(hours=5), DAY + timedelta(hours=6), "start_batch")
        assert set(notes(DAY + timedelta(hours=9))) == {"late"}

    def test_a_batch_that_first_began_after_the_time_came_too_late(self) -> None:
        batch("b1", "PROCESSING", DAY + timedelta(hours=7))
        task("b1", "PROCESSING", DAY + timedelta(hours=7), task_id="start_batch")
        assert set(notes(DAY + timedelta(hours=9))) == {"late", "not_started"}

    def test_a_window_may_begin_the_evening_before(self) -> None:
        batch("night", "SUCCESS", DAY - timedelta(hours=2), DAY - timedelta(hours=1))
        assert notes(DAY + timedelta(hours=7), from_time="20:00") == {}

    def test_only_on_its_days(self) -> None:
        assert notes(DAY + timedelta(hours=7), days="sat,sun") == {}
        assert set(notes(DAY + timedelta(hours=7), days="mon")) == {"late", "not_started"}

    def test_the_time_is_that_of_the_rule_or_of_its_workflow(self) -> None:
        with write_session() as session:
            session.execute(insert(Workflow).values(workflow_id="sales", timezone="Europe/Berlin"))
        just_after = DAY + timedelta(hours=5, minutes=31)

        assert notes(just_after)["not_started"] == "no batch had started by 06:30 (Europe/Berlin)"
        assert notes(just_after, timezone="UTC") == {}

    def test_a_workflow_whose_zone_is_none_is_taken_for_utc(self) -> None:
        with write_session() as session:
            session.execute(insert(Workflow).values(workflow_id="sales", timezone="../etc"))
        assert set(notes(DAY + timedelta(hours=7))) == {"late", "not_started"}

    def test_one_success_in_time_is_enough_however_many_came_after_it(self) -> None:
        batch("good", "SUCCESS", DAY + timedelta(hours=1), DAY + timedelta(hours=2))
        for number in range(25):
            batch(f"b{number}", "ERROR", DAY + timedelta(hours=3, minutes=number), DAY + timedelta(hours=4))
        assert notes(DAY + timedelta(hours=7)) == {}

    def test_what_ended_at_the_last_moment_has_time_to_become_known(self) -> None:
        assert notes(DAY + timedelta(hours=6, minutes=30, seconds=29)) == {}

    def test_in_the_hour_that_a_clock_leaves_out_nothing_is_missed(self) -> None:
        """From 02:45 to 03:00 there was no time at all in Berlin on that day."""
        after = datetime(2026, 3, 29, 1, 5, tzinfo=UTC)
        assert found(after, "late,not_started", at_time="03:00", from_time="02:45", timezone="Europe/Berlin") == []

    def test_a_time_that_passed_long_ago_is_told_no_more(self) -> None:
        assert notes(DAY + timedelta(hours=18, minutes=31)) == {}


class TestUnusuallyLong:
    def history(self, count: int = 5) -> None:
        for number in range(count):
            began = DAY - timedelta(days=number + 1)
            batch(f"old{number}", "SUCCESS", began, began + 10 * MINUTE)
            task(f"old{number}", "SUCCESS", began, began + 4 * MINUTE)

    def test_a_batch_is_told_once_it_takes_longer_by_the_factor(self) -> None:
        self.history()
        batch("b1", "PROCESSING", DAY)

        assert found(DAY + 19 * MINUTE, "slow") == []
        (one,) = found(DAY + 21 * MINUTE, "slow")
        assert (one.batch_id, one.task_id) == ("b1", None)
        assert one.details["note"] == "runs for 1260 s, and takes 600 s usually"
        assert found(DAY + 50 * MINUTE, "slow")[0].event_id == one.event_id
        assert found(DAY + 21 * MINUTE, "slow", factor=3.0) == []

    def test_a_task_that_hangs_is_told(self) -> None:
        self.history()
        batch("b1", "PROCESSING", DAY)
        task("b1", "PROCESSING", DAY)
        task("b1", "PROCESSING", DAY, task_id="never_ran_before")

        assert found(DAY + 7 * MINUTE, "slow", task_id="*") == []
        assert [(one.task_id, one.try_number) for one in found(DAY + 9 * MINUTE, "slow", task_id="*")] == [("load", 1)]
        assert found(DAY + 9 * MINUTE, "slow", task_id="other") == []

    def test_a_task_that_looks_again_and_again_is_one_that_is_slow(self) -> None:
        """Airflow writes the beginning of a sensor anew with each look."""
        self.history()
        batch("b1", "PROCESSING", DAY)
        task("b1", "PROCESSING", DAY)
        (one,) = found(DAY + 9 * MINUTE, "slow", task_id="*")
        with write_session() as session:
            session.execute(update(TaskLog).where(TaskLog.batch_id == "b1").values(started_at=DAY + 10 * MINUTE))
        (again,) = found(DAY + 30 * MINUTE, "slow", task_id="*")
        assert again.event_id == one.event_id

        with write_session() as session:
            session.execute(update(TaskLog).where(TaskLog.batch_id == "b1").values(airflow_state="up_for_reschedule"))
        assert found(DAY + 30 * MINUTE, "slow", task_id="*") == []

    def test_of_too_few_successes_nobody_can_tell_what_is_usual(self) -> None:
        self.history(4)
        batch("b1", "PROCESSING", DAY)
        assert found(DAY + timedelta(days=2), "slow") == []

    def test_what_takes_no_minute_is_never_unusual(self) -> None:
        for number in range(5):
            began = DAY - timedelta(days=number + 1)
            batch(f"old{number}", "SUCCESS", began, began + timedelta(seconds=1))
        batch("b1", "PROCESSING", DAY)

        assert found(DAY + timedelta(seconds=59), "slow") == []
        assert len(found(DAY + timedelta(seconds=61), "slow")) == 1
