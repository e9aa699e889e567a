"""The task of accelerator_alerts, from the table to the server."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from provider.alerts import delivery, outbox
from provider.alerts.outbox import MOST_DEATHS
from provider.alerts.rules import AlertRule
from provider.metadata.engine import read_session, write_session
from provider.metadata.tables import Alert
from provider.operators import alerts as operators
from provider.operators.alerts import SendAlertsOperator
from tests.provider.alerts.alert_world import NOW, add_alert, add_rule, alert_row, alerts
from tests.provider.alerts.mail_server import Kept, mail_server


def _refuse(*_arguments: Any) -> None:
    raise ConnectionError("refused")


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    with mail_server() as (kept, connection):
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection)
        yield kept


@pytest.mark.usefixtures("application_database")
class TestTask:
    """The task of accelerator_alerts, from the table to the server."""

    def send(self) -> dict[str, int]:
        return SendAlertsOperator(task_id="send", notifiers=["mail"]).execute_complete({})

    def add(self, number: int, rule_id: str = "r", batch_id: str = "B1") -> None:
        values = {"task_id": f"t{number}", "details": {"error": f"error {number}"}}
        add_alert(f"e{number}", rule_id=rule_id, workflow_id="sales", batch_id=batch_id, **values)

    def test_a_batch_is_one_mail_and_each_alert_is_marked(self, mails: Kept) -> None:
        add_rule("r", config={"to": "a@example.org"})
        for number in range(3):
            self.add(number)
        self.add(3, batch_id="B2")

        assert self.send() == {"sent": 4}
        assert sorted(str(mail["Subject"]) for mail in mails.messages) == [
            "[sales] t0 of B1 failed, and 2 more",
            "[sales] t3 of B2 failed",
        ]
        assert {one.state for one in alerts()} == {"sent"}
        assert self.send() == {}

    def test_what_there_is_no_time_for_is_left_to_the_next_one(self, mails: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
        add_rule("r", config={"to": "a@example.org"})
        for number in range(3):
            self.add(number, batch_id=f"B{number}")
        clock = iter([0.0] * 4)
        with monkeypatch.context() as patch:
            patch.setattr(operators, "time", SimpleNamespace(monotonic=lambda: next(clock, 1000.0)))
            assert self.send() == {"sent": 1}
        assert [one.claimed_until for one in alerts()] == [None] * 3

        assert self.send() == {"sent": 2}
        assert len(mails.messages) == 3

    def dies_of(self, monkeypatch: pytest.MonkeyPatch, *deadly: str) -> list[list[str]]:
        """Let the process die of sending some alerts; return the event ids of each message that was sent, as it grows."""
        sent: list[list[str]] = []

        def send(_rule: AlertRule, some: list[outbox.ClaimedAlert], *_arguments: str) -> None:
            ids = [one.event_id for one in some]
            if set(ids) & set(deadly):
                raise SystemExit(137)
            sent.append(ids)

        monkeypatch.setattr(delivery, "send", send)
        return sent

    def die(self, times: int) -> None:
        """Send until the process dies, so many times; each time its claims have run out."""
        for _ in range(times):
            with pytest.raises(SystemExit):
                self.send()
            self.free()

    def free(self) -> None:
        with write_session() as session:
            session.execute(update(Alert).values(claimed_until=None, due_at=NOW - timedelta(seconds=1)))

    def states(self) -> dict[str, str]:
        return {one.event_id: one.state for one in alerts()}

    def test_an_alert_of_which_its_sender_dies_keeps_no_other_back_and_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        add_rule("r", config={"to": "a@example.org"})
        self.add(0, batch_id="A poison")
        sent = self.dies_of(monkeypatch, "e0")
        for number in range(1, MOST_DEATHS + 1):
            self.die(1)
            self.add(number)
        assert self.send() == {"sent": 1, "failed": 1}

        poison, *others = alerts()
        assert (poison.state, "has died 5 times" in (poison.reason or "")) == ("failed", True)
        assert (poison.attempts, [(one.state, one.attempts) for one in others]) == (MOST_DEATHS, [("sent", 1)] * MOST_DEATHS)
        assert sent == [[f"e{number}"] for number in range(1, MOST_DEATHS + 1)]

    def test_an_alert_that_was_only_in_the_same_claim_has_not_died_and_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a rule tells may be deadly: no other rule waits until all of it was tried."""
        add_rule("a-poison", config={"to": "a@example.org"})
        add_rule("r", config={"to": "a@example.org"})
        self.add(0, "a-poison", "B1")
        self.add(1, "a-poison", "B2")
        self.add(2, "r", "B3")
        sent = self.dies_of(monkeypatch, "e0", "e1")

        self.die(2)
        assert sent == [["e2"]]
        self.die(2 * MOST_DEATHS - 2)
        assert self.send() == {"failed": 2}
        assert self.states() == {"e0": "failed", "e1": "failed", "e2": "sent"}

    def test_what_comes_of_the_same_batch_later_is_sent_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        add_rule("r", config={"to": "a@example.org"})
        self.add(0)
        sent = self.dies_of(monkeypatch, "e0")
        self.die(MOST_DEATHS)
        self.add(1)

        assert self.send() == {"failed": 1, "sent": 1}
        assert (self.states(), sent) == ({"e0": "failed", "e1": "sent"}, [["e1"]])

    def test_what_was_in_one_message_with_a_deadly_alert_is_sent_alone_in_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        add_rule("r", config={"to": "a@example.org"})
        for number in range(3):
            self.add(number)
        sent = self.dies_of(monkeypatch, "e0")

        self.die(MOST_DEATHS)
        assert sent == []
        assert self.send() == {"sent": 2, "failed": 1}
        assert (self.states()["e0"], sent) == ("failed", [["e1"], ["e2"]])

    @pytest.mark.parametrize("first", ["fails", "is sent once more"])
    def test_deaths_end_however_an_alert_fared_before(self, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
        add_rule("r", config={"to": "a@example.org"})
        self.add(0)
        if first == "fails":
            with monkeypatch.context() as patch:
                patch.setattr(delivery, "send", _refuse)
                assert self.send() == {"failed": 1}
            self.free()
        self.dies_of(monkeypatch, "e0")
        self.die(MOST_DEATHS)
        assert self.send() == {"failed": 1}
        if first == "is sent once more":
            with write_session() as session:
                outbox.retry_failed(session)
            self.die(MOST_DEATHS)
            assert self.send() == {"failed": 1}
        assert self.states() == {"e0": "failed"}

    def test_a_server_that_refuses_is_tried_again_and_keeps_no_other_back(self, mails: Kept) -> None:
        add_rule("r", config={"to": "a@example.org"})
        self.add(1, batch_id="B1")
        self.add(2, batch_id="B2")
        mails.refused = b"t1 of B1"

        assert self.send() == {"failed": 1, "sent": 1}
        first, second = alerts()
        assert (first.state, first.attempts, second.state) == ("waiting", 1, "sent")
        assert "451" in (first.reason or "")
        assert first.due_at > datetime.now(UTC)

    def test_a_server_that_never_answers_takes_the_time_of_one_message(
        self, mails: Kept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And not of forty, one after the other, before another rule tells what has failed since."""
        monkeypatch.setattr(delivery, "SEND_SECONDS", 3.0)
        monkeypatch.setattr(operators, "SLOW_SECONDS", 2.0)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": silent.getsockname()[1]}
            smtp["extra"] = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org", "timeout": 60}
            monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps(smtp))
            add_rule("a-silent", config={"to": "a@example.org", "smtp_conn_id": "silent"})
            add_rule("r", config={"to": "a@example.org"})
            for number in range(40):
                self.add(number, "a-silent", f"B{number}")
            for number in range(40, 43):
                self.add(number, "r", f"B{number}")

            assert self.send() == {"failed": 1, "sent": 3}
        silent_ones = [one for one in alerts() if one.rule_id == "a-silent"]
        assert sum(one.attempts for one in silent_ones) == 1
        with read_session() as session:
            reasons = Counter(row["reason"] for row in outbox.newest(session, state="waiting", workflow_id=None, limit=50))
        assert reasons.pop(outbox.RESTS) == 39
        assert sum(reasons.values()) == 1
        self.add(43, "a-silent", "B43")
        assert self.send() == {}
        assert not any(one.claimed_until for one in alerts())

    def test_a_server_that_takes_long_comes_after_what_has_become_due_since(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for rule_id in ("a-slow", "r"):
            add_rule(rule_id, config={"to": "a@example.org"})
        for number in range(3):
            self.add(number, "a-slow", f"B{number}")
        now, sent = 0.0, []

        def send(rule: AlertRule, some: list[outbox.ClaimedAlert], *_arguments: str) -> None:
            nonlocal now
            sent.append(some[0].event_id)
            if rule.rule_id == "a-slow":
                now += 50.0
                self.add(len(alerts()), "r", f"B{now}")

        monkeypatch.setattr(delivery, "send", send)
        monkeypatch.setattr(operators, "time", SimpleNamespace(monotonic=lambda: now))

        assert self.send() == {"sent": 6}
        assert sent == ["e0", "e3", "e1", "e4", "e2", "e5"]

    def test_a_slow_server_never_keeps_an_alert_waiting_that_failed_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor does a topic with much to say of one batch, nor a batch of more alerts than go together."""
        for rule_id in ("a-slow", "b-much", "r"):
            add_rule(rule_id, config={"to": "a@example.org"})
        for number in range(30):
            self.add(number, "a-slow", f"B{number}")
        with write_session() as session:
            outbox.store(session, [alert_row(f"m{number}", rule_id="b-much") for number in range(1200)])
        add_alert("mine", rule_id="r", batch_id="B1", attempts=3)
        now, sent = 0.0, []

        def send(rule: AlertRule, some: list[outbox.ClaimedAlert], *_arguments: str) -> None:
            nonlocal now
            sent.append(some[0].rule_id)
            now += 15.0 if rule.rule_id == "a-slow" else 1.0

        monkeypatch.setattr(delivery, "send", send)
        monkeypatch.setattr(operators, "time", SimpleNamespace(monotonic=lambda: now))
        self.send()

        assert sent[:3] == ["a-slow", "b-much", "r"]

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (None, "its rule is gone."),
            ({"notifier": "slack"}, "the notifier 'slack' is not in "),
            ({"config": {"to": "a", "files": ["/etc/passwd"]}}, "mail does not take 'files'"),
            ({"events": "nonsense"}, "column events"),
        ],
    )
    def test_an_alert_whose_rule_cannot_be_carried_out_is_given_up_and_says_why(
        self, values: dict[str, Any] | None, said: str
    ) -> None:
        if values is not None:
            add_rule("r", **values)
        self.add(1)

        assert self.send() == {"failed": 1}
        (one,) = alerts()
        assert one.state == "failed"
        assert said in (one.reason or "")
