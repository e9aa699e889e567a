"""Alerts that wait: when they are due, who sends them, what becomes of those that cannot be sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from provider import settings
from provider.alerts import outbox, rule_rows
from provider.alerts.rules import AlertRule
from provider.metadata import engine
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import Alert
from provider.metadata.tables import AlertRule as RuleRow
from tests.provider.alerts.alert_world import NOW, SECOND, add_alert, add_rule, alert_row, alerts


def rule(**values: Any) -> AlertRule:
    return AlertRule.model_validate({"rule_id": "r", "events": "failure", "notifier": "mail", "group_seconds": 0, **values})


def add(number: int, **values: Any) -> None:
    add_alert(f"e{number}", **values)


def claim(*rules: AlertRule, **spent: float) -> list[outbox.ClaimedAlert]:
    with write_session() as session:
        return outbox.claim(session, {one.rule_id: one for one in rules}, spent)


def claimed_ids(*rules: AlertRule, **spent: float) -> list[str]:
    return [one.event_id for one in claim(*rules, **spent)]


def fail(alerts: list[outbox.ClaimedAlert], reason: str = "no server", *rules: AlertRule, for_good: bool = False) -> None:
    with write_session() as session:
        outbox.mark_failed(session, alerts, reason, *rules, for_good=for_good)


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

    def test_a_message_is_what_is_due_of_a_batch_and_what_will_be_soon(self) -> None:
        grouping, soon = rule(group_seconds=900), datetime.now(UTC) + 600 * SECOND
        add(1)
        add(2, due_at=soon)
        add(3, due_at=NOW + timedelta(hours=1))
        add(4, batch_id="b2", due_at=soon)
        add(5, rule_id="other", due_at=soon)
        add(6, batch_id=None)

        assert [claimed_ids(grouping) for _ in range(3)] == [["e1", "e2"], ["e6"], []]

    def test_what_waits_for_the_end_of_quiet_hours_goes_with_nothing_that_was_due_before(self) -> None:
        add(1)
        add(2, due_at=NOW + timedelta(hours=8))

        assert claimed_ids(rule(group_seconds=30)) == ["e1"]

    def test_to_a_topic_each_goes_alone(self) -> None:
        add(1)
        add(2)

        assert [claimed_ids(rule(notifier="topic")) for _ in range(3)] == [["e1"], ["e2"], []]

    def test_what_fails_at_once_in_a_batch_goes_together(self) -> None:
        with write_session() as session:
            outbox.store(session, [alert_row(f"e{number}") for number in range(1200)])

        assert [len(claim()), len(claim()), len(claim())] == [1000, 200, 0]

    def test_what_is_told_happened_in_this_order(self) -> None:
        for number in range(3):
            add(number, happened_at=NOW - number * SECOND)

        assert claimed_ids() == ["e2", "e1", "e0"]

    def test_a_death_is_a_sending_that_has_begun_and_had_no_outcome(self) -> None:
        """What has failed since, or is sent once more by a person, starts anew."""
        add(1)
        deaths = []
        for _ in range(3):
            deaths.append([one.deaths for one in claim()])
            self.free()
        assert deaths == [[0], [1], [2]]

        fail(claim())
        self.free()
        assert [(one.event_id, one.deaths, one.attempts) for one in claim()] == [("e1", 0, 5)]

    def test_what_somebody_wants_sent_once_more_has_as_many_tries_as_at_first(self) -> None:
        add(1)
        fail(claim(), for_good=True)
        with write_session() as session:
            outbox.retry_failed(session)

        (alert,) = alerts()
        assert (alert.attempts, alert.reason) == (0, None)

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
            outbox.mark_sent(session, outbox.claim(session, {}, {}))
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
            fail(claim(), "no\nserver\x00")
            (alert,) = alerts()
            pauses.append((alert.due_at - before).total_seconds())
            assert (alert.state, alert.reason) == ("waiting", "no server")
            with write_session() as session:
                session.execute(update(Alert).values(due_at=NOW - SECOND))

        assert [round(pause / 15) for pause in pauses] == pytest.approx([1, 2, 4, 8], rel=0.15)

    def test_rules_take_turns_by_the_time_that_they_took(self) -> None:
        for number in range(3):
            add(number, rule_id="a", batch_id=f"b{number}", due_at=NOW - (60 - number) * SECOND)
        add(3, rule_id="z")
        add(4, rule_id="z", batch_id="b2", attempts=1, due_at=NOW - 90 * SECOND)

        assert claimed_ids() == ["e3"]
        assert claimed_ids(z=0.1) == ["e0"]
        assert claimed_ids(z=0.1, a=30.0) == ["e4"]
        assert claimed_ids(z=60.0, a=30.0) == ["e1"]

    def test_nothing_of_a_rule_that_rests_is_sent_and_it_rests_longer_each_time(self) -> None:
        add_rule("r")
        add(1)
        pauses = []
        for _ in range(3):
            with write_session() as session:
                rule_rows.let_rest(session, "r")
                until = session.scalar(select(RuleRow.rests_until))
            assert until is not None
            pauses.append((until - datetime.now(UTC)).total_seconds())
        add(2, batch_id="b2")

        assert [round(pause / 15) for pause in pauses] == pytest.approx([1, 2, 4], rel=0.15)
        assert claim() == []
        with read_session() as session:
            assert not outbox.any_due(session)
            assert [row["reason"] for row in outbox.newest(session, state=None, workflow_id=None, limit=5)] == [outbox.RESTS] * 2
            assert outbox.unsent(session, datetime.now(UTC) + SECOND) == (0, 2)
        with write_session() as session:
            rule_rows.wake(session, "r")
        assert [len(claim()), len(claim())] == [1, 1]
        with read_session() as session:
            assert session.execute(select(RuleRow.slow_failures, RuleRow.rests_until)).one() == (0, None)

    def test_what_somebody_wants_sent_once_more_does_not_rest(self) -> None:
        add_rule("r")
        add(1)
        fail(claim(), for_good=True)
        with write_session() as session:
            rule_rows.let_rest(session, "r")
            outbox.retry_failed(session)

        assert claimed_ids() == ["e1"]

    def test_quiet_hours_are_those_of_another_try_too(self) -> None:
        clock = (datetime.now(UTC) - 60 * SECOND, datetime.now(UTC) + timedelta(hours=2))
        quiet = rule(quiet_hours="-".join(f"{one:%H:%M}" for one in clock))
        add(1)
        fail(claim(), "no server", quiet)

        (alert,) = alerts()
        assert alert.due_at > NOW + timedelta(hours=1)

    def test_who_has_lost_a_claim_writes_nothing_of_it(self) -> None:
        """As after minutes in which its machine stood still: another has sent it meanwhile."""
        add(1)
        add(2, batch_id="b2")
        lost, lost_too = claim(), claim()
        self.free()
        with write_session() as session:
            outbox.mark_sent(session, outbox.claim(session, {}, {}))
        theirs = claim()
        fail(lost, for_good=True)
        with write_session() as session:
            outbox.mark_sent(session, lost_too)

        assert [(one.state, one.claimed_until) for one in alerts()] == [("sent", None), ("waiting", theirs[0].claimed_until)]

    def test_after_two_days_or_where_the_rule_is_wrong_it_is_given_up_until_somebody_asks(self) -> None:
        add(1, happened_at=NOW - timedelta(days=3))
        add(2, batch_id="b2")
        for _ in range(2):
            found = claim()
            fail(found, for_good=found[0].event_id == "e2")
        assert {one.state for one in alerts()} == {"failed"}
        assert claim() == []

        with write_session() as session:
            assert outbox.retry_failed(session) == 2
        assert [len(claim()), len(claim())] == [1, 1]

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
        mine = [one.id for _ in range(10) for one in outbox.claim(first, {}, {})]
        theirs = outbox.claim(second, {}, {})

    assert len(mine) == 10
    assert not {one.id for one in theirs} & set(mine)


@contextmanager
def _other_session() -> Iterator[Session]:
    other = engine.create_engine(settings.get("sql_alchemy_conn"))
    with Session(other) as session, session.begin():
        yield session
    other.dispose()
