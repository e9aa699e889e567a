"""The reconciler's look at the clock, from rules to alerts: each rule is told what it asks for, and each time of day once."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from provider.alerts import raising, rule_rows
from provider.alerts.raising import Alerting
from provider.exceptions import LostLeadError
from provider.metadata.engine import write_session
from provider.metadata.tables import AlertRule, TaskBatch
from tests.provider.alerts.alert_world import NOW, add_rule, alerts, attempt, mirror, run, told

pytestmark = pytest.mark.usefixtures("application_database")

HOUR = timedelta(hours=1)
#: Times of day of two rules, both past, in the same hours of the day however late it is.
EARLY, LATER = NOW - 2 * HOUR, NOW - HOUR


def look(as_of: datetime | None = None) -> None:
    """Look as another process does, which remembers nothing."""
    Alerting(["mail"]).look_at_clock(lambda _session: None, as_of or datetime.now(UTC))


def add_timed(rule_id: str, events: str, at: datetime, **values: Any) -> None:
    begin = f"{at - 3 * HOUR:%H:%M}"
    row = {"workflow_id": "sales", "at_time": f"{at:%H:%M}", "from_time": begin, "created_at": NOW - 6 * HOUR}
    add_rule(rule_id, events, **row | values)


def add_batch(batch_id: str, began: datetime, ended: datetime | None, status: str = "SUCCESS") -> None:
    row = {"workflow_id": "sales", "batch_id": batch_id, "status": status, "started_at": began, "ended_at": ended}
    with write_session() as session:
        session.execute(insert(TaskBatch).values(**row, created_at=began, run_after=began, updated_at=began))


def test_a_time_of_day_is_that_of_its_rule_and_of_no_other() -> None:
    add_timed("early", "late", EARLY)
    add_timed("later", "late", LATER)
    add_batch("b1", EARLY - HOUR, EARLY + HOUR / 2)
    look()

    assert told() == [("early", "late", None, None)]


def test_what_is_written_of_the_future_keeps_no_rule_silent() -> None:
    """As after one look of a machine whose clock was a year ahead."""
    add_timed("early", "late", EARLY)
    with write_session() as session:
        rule_rows.note_changed_rules(session, rule_rows.rules_in_force(session, ["mail"]))
        ahead = NOW + timedelta(days=365)
        session.execute(update(AlertRule).values(decided_until=ahead, in_force_since=ahead))
    look(datetime.now(UTC) + timedelta(days=1))

    assert told() == [("early", "late", None, None)]


def test_a_factor_is_that_of_its_rule_and_of_no_other() -> None:
    add_rule("twice", "slow", factor=2.0)
    add_rule("often", "slow", factor=500.0)
    for number in range(5):
        began = NOW - timedelta(days=number + 1)
        add_batch(f"old{number}", began, began + timedelta(minutes=10))
    add_batch("b1", NOW - HOUR, None, "PROCESSING")
    look()

    assert told() == [("twice", "slow", None, None)]


@pytest.mark.parametrize("happens", ["run again", "marked", "deleted"])
def test_a_time_of_day_is_decided_once(happens: str) -> None:
    """What becomes of a batch hours later does not make it late, or not started, whoever looks then."""
    add_timed("rule", "late,not_started", EARLY)
    add_batch("b1", EARLY - HOUR, EARLY - HOUR / 2)
    look()
    again = {
        "run again": update(TaskBatch).values(status="PROCESSING", started_at=NOW, ended_at=None),
        "marked": update(TaskBatch).values(status="ERROR"),
        "deleted": delete(TaskBatch),
    }
    with write_session() as session:
        session.execute(again[happens])
    look()

    assert told() == []


def test_a_rule_that_rested_tells_nothing_of_that_time() -> None:
    add_rule("rule", "failure", created_at=NOW - 6 * HOUR)
    look()
    for enabled in (False, True):
        with write_session() as session:
            session.execute(update(AlertRule).values(enabled=enabled))
        look()
    mirror(run(attempt("failed"), state="failed"))

    assert told() == []


def test_a_look_that_fails_is_told_and_made_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    add_timed("rule", "not_started", EARLY)

    def broken(*_: Any) -> Any:
        raise RuntimeError("no such thing")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(raising, "happenings_by_clock", broken)
        look()
    assert "Alerts cannot be written" in caplog.text
    look()
    assert told() == [("rule", "not_started", None, None)]


def test_who_may_not_write_writes_nothing_and_says_so() -> None:
    add_timed("rule", "not_started", EARLY)

    def confirm(_session: Any) -> None:
        raise LostLeadError

    with pytest.raises(LostLeadError):
        Alerting(["mail"]).look_at_clock(confirm, datetime.now(UTC))
    assert alerts() == []
