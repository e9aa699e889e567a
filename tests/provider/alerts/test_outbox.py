"""Alerts that wait: when they are due, who sends them, what becomes of those that cannot be sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from provider import settings
from provider.alerts import outbox
from provider.alerts.rules import AlertRule
from provider.metadata import engine
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import Alert
from tests.provider.alerts.alert_world import NOW, SECOND, add_alert, alert_row, alerts


def rule(**values: Any) -> AlertRule:
    return AlertRule.model_validate({"rule_id": "r", "events": "failure", "notifier": "mail", "group_seconds": 0, **values})


def add(number: int, **values: Any) -> None:
    add_alert(f"e{number}", **values)


def claim(limit: int = 100) -> list[outbox.ClaimedAlert]:
    with write_session() as session:
        return outbox.claim(session, limit)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-16T{clock}:00+00:00")


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("21:59", "2026-03-16T21:59"),
        ("22:00", "2026-03-17T06:00"),
        ("23:30", "2026-03-17T06:00"),
        ("05:59", "2026-03-16T06:00"),
        ("06:00", "2026-03-16T06:00"),
        ("12:00", "2026-03-16T12:00"),
    ],
)
def test_quiet_hours_over_midnight_hold_alerts_back(now: str, due: str) -> None:
    assert outbox.due_at(rule(quiet_hours="22:00-06:00"), at(now)) == datetime.fromisoformat(f"{due}:00+00:00")


def test_quiet_hours_are_those_of_the_zone_of_the_rule() -> None:
    quiet = rule(quiet_hours="12:00-13:00", timezone="Europe/Berlin")

    assert outbox.due_at(quiet, at("11:30")) == at("12:00")
    assert outbox.due_at(quiet, at("12:30")) == at("12:30")


def test_quiet_hours_never_end_before_an_alert_was_raised() -> None:
    """In the night when 02:45 comes twice, the first of them is past at the second 02:30."""
    quiet = rule(quiet_hours="01:00-02:45", timezone="Europe/Berlin")
    second = datetime.fromisoformat("2026-10-25T01:30:00+00:00")

    assert outbox.due_at(quiet, second) >= second


def test_an_alert_waits_for_what_else_comes_of_its_batch() -> None:
    assert outbox.due_at(rule(group_seconds=90), at("12:00")) == at("12:00") + timedelta(seconds=90)


@pytest.mark.usefixtures("application_database")
class TestClaims:
    def test_an_alert_is_stored_once(self) -> None:
        add(1)
        add(1)

        assert [(one.event_id, one.state) for one in alerts()] == [("e1", "waiting")]

    def test_one_claim_takes_what_is_due_and_what_else_waits_of_the_same_batch(self) -> None:
        add(1)
        add(2, due_at=NOW + timedelta(hours=1))
        add(3, batch_id="b2", due_at=NOW + timedelta(hours=1))
        add(4, rule_id="other", due_at=NOW + timedelta(hours=1))
        add(5, batch_id=None)

        assert sorted(one.event_id for one in claim()) == ["e1", "e2", "e5"]
        assert claim() == []

    def test_what_fails_at_once_in_a_batch_goes_together(self) -> None:
        with write_session() as session:
            outbox.store(session, [alert_row(f"e{number}") for number in range(1200)])

        assert [len(claim()), len(claim()), len(claim())] == [1000, 200, 0]

    def test_what_is_given_back_can_be_claimed_at_once_and_was_not_tried(self) -> None:
        add(1)
        (first,) = claim()
        with write_session() as session:
            outbox.release(session, [first.id])

        assert [(one.event_id, one.attempts, one.deaths) for one in claim()] == [("e1", 0, 0)]

    def test_a_death_is_a_sending_that_has_begun_and_had_no_outcome(self) -> None:
        """Of what was only claimed nobody has died; what has failed since, or is sent once more by a person, starts anew."""
        add(1)
        add(2, batch_id="b2")
        deaths = []
        for _ in range(3):
            first, second = claim()
            deaths.append((first.deaths, second.deaths))
            with write_session() as session:
                outbox.begin(session, [first])
            self.free()
        assert deaths == [(0, 0), (1, 0), (2, 0)]

        with write_session() as session:
            outbox.mark_failed(session, [one for one in outbox.claim(session) if one.event_id == "e1"], "no server")
        self.free()
        assert [(one.event_id, one.deaths, one.attempts) for one in claim()] == [("e1", 0, 3), ("e2", 0, 0)]

    def test_what_somebody_wants_sent_once_more_has_as_many_tries_as_at_first(self) -> None:
        add(1)
        with write_session() as session:
            outbox.mark_failed(session, outbox.begin(session, outbox.claim(session)), "it has died", for_good=True)
            outbox.retry_failed(session)

        assert [(one.attempts, one.reason) for one in claim()] == [(0, None)]

    def free(self) -> None:
        """Let claims run out, and let everything be due."""
        with write_session() as session:
            session.execute(update(Alert).values(claimed_until=None, due_at=NOW - SECOND))

    def test_the_claim_of_one_that_died_runs_out(self) -> None:
        add(1)
        assert len(claim()) == 1
        with write_session() as session:
            session.execute(update(Alert).values(claimed_until=NOW - SECOND))

        assert len(claim()) == 1

    def test_what_is_sent_is_over(self) -> None:
        add(1)
        with write_session() as session:
            outbox.mark_sent(session, [one.id for one in outbox.claim(session)])
        with read_session() as session:
            assert not outbox.any_due(session)

        (alert,) = alerts()
        assert (alert.state, alert.claimed_until, alert.reason) == ("sent", None, None)
        assert alert.sent_at is not None

    def test_what_could_not_be_sent_is_tried_again_later_and_later(self) -> None:
        add(1)
        pauses = []
        for _ in range(4):
            before = datetime.now(UTC)
            with write_session() as session:
                outbox.mark_failed(session, outbox.begin(session, outbox.claim(session)), "no\nserver\x00")
            (alert,) = alerts()
            pauses.append((alert.due_at - before).total_seconds())
            assert (alert.state, alert.reason) == ("waiting", "no server")
            with write_session() as session:
                session.execute(update(Alert).values(due_at=NOW - SECOND))

        assert [round(pause / 15) for pause in pauses] == pytest.approx([1, 2, 4, 8], rel=0.15)

    def test_rules_take_turns_however_much_one_of_them_has(self) -> None:
        for number in range(5):
            add(number, rule_id="a", batch_id=f"b{number}", due_at=NOW - (60 - number) * SECOND)
        add(5, rule_id="z")
        add(6, rule_id="z", batch_id="b2", attempts=1, due_at=NOW - 90 * SECOND)

        assert [one.event_id for one in claim(3)] == ["e0", "e6", "e1"]
        assert [one.event_id for one in claim()] == ["e2", "e5", "e3", "e4"]

    def test_a_rule_that_comes_last_is_in_no_claim_that_others_fill(self) -> None:
        for number in range(4):
            add(number, rule_id="slow" if number < 2 else "r", batch_id=f"b{number}")
        with write_session() as session:
            assert [one.event_id for one in outbox.claim(session, 3, last={"slow"})] == ["e2", "e3", "e0"]

    def test_what_is_put_off_waits_as_long_as_the_message_that_failed_and_says_why(self) -> None:
        add(1, attempts=2)
        add(2, batch_id="b2")
        add(3, batch_id="b3", due_at=NOW + timedelta(hours=1))
        add(4, rule_id="other")
        with write_session() as session:
            before = datetime.now(UTC)
            failed = outbox.begin(session, outbox.claim(session, 1, last={"other"}))
            outbox.mark_failed(session, failed, "no answer within 60 s")
            outbox.put_off(session, failed)
        first, second, third, other = alerts()

        assert [one.reason for one in (first, second, third, other)] == ["no answer within 60 s", outbox.PUT_OFF, None, None]
        assert (first.due_at, third.due_at, other.due_at) == (second.due_at, NOW + timedelta(hours=1), NOW - SECOND)
        assert (second.due_at - before).total_seconds() == pytest.approx(60, rel=0.15)
        with read_session() as session:
            assert outbox.unsent(session, NOW + SECOND) == (0, 3)

    def test_after_two_days_or_where_the_rule_is_wrong_it_is_given_up_until_somebody_asks(self) -> None:
        add(1, happened_at=NOW - timedelta(days=3))
        add(2, batch_id="b2")
        for one in claim():
            with write_session() as session:
                outbox.mark_failed(session, [one], "no server", for_good=one.event_id == "e2")
        assert {one.state for one in alerts()} == {"failed"}
        assert claim() == []

        with write_session() as session:
            assert outbox.retry_failed(session) == 2
        assert len(claim()) == 2

    def test_lists_are_bounded_and_newest_first(self) -> None:
        for number in range(5):
            add(number, workflow_id="w" if number % 2 else "other")

        with read_session() as session:
            found = outbox.newest(session, state="waiting", workflow_id="other", limit=2)
        assert [row["event_id"] for row in found] == ["e4", "e2"]


def test_two_senders_never_have_the_same_alert(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", postgres_url)
    for number in range(20):
        add(number, batch_id=f"b{number}")
    with write_session() as first, _other_session() as second:
        mine, theirs = outbox.claim(first, 10), outbox.claim(second, 10)

    assert len(mine) == 10
    assert not {one.id for one in mine} & {one.id for one in theirs}


@contextmanager
def _other_session() -> Iterator[Session]:
    other = engine.create_engine(settings.get("sql_alchemy_conn"))
    with Session(other) as session, session.begin():
        yield session
    other.dispose()
