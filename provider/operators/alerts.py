"""The task of the DAG ``accelerator_alerts``."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from provider.exceptions import ConfigurationError
from provider.pacing import AFTER_DEFERRAL
from provider.triggers.alerts import AlertsDueTrigger
from provider.triggers.pubsub import start_trigger_args

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.alerts.outbox import ClaimedAlert
    from provider.alerts.rules import ReadRules

__all__ = ["SendAlertsOperator"]

#: How long one task sends, in seconds. What is left then is the next one's. With the last message, which may take a minute, it is
#: shorter than a claim lasts: else another sender would send the same.
SENDING_SECONDS = 200.0
#: A rule with a message that takes longer, in seconds, comes after all others from then on.
SLOW_SECONDS = 10.0


class SendAlertsOperator(BaseOperator):
    """
    Waits for alerts in the triggerer, and sends those that are due.

    An alert that cannot be sent is tried again later, for two days, and keeps no other back; the table ``alerts`` says why. Nor
    does a server that takes long to answer, or never does: its rule comes after all others. An alert is sent at least once: a
    task that dies after sending and before it writes that down leaves it to the next one.

    :param notifiers: what rules may use, patterns; see ``[accelerator] notifiers``.
    :param gcp_conn_id: connection whose account publishes to topics.
    :param poll_interval: seconds between two looks for alerts that are due.
    """

    start_from_trigger = True

    def __init__(
        self, *, notifiers: Sequence[str], gcp_conn_id: str = "google_cloud_default", poll_interval: float = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.notifiers = list(notifiers)
        self.gcp_conn_id = gcp_conn_id
        self.poll_interval = poll_interval
        self.start_trigger_args = start_trigger_args(self._trigger(0.0))

    def execute(self, context: Context) -> NoReturn:  # noqa: ARG002 - Airflow calls it so
        """Wait where Airflow did not start the task in the triggerer, as in ``airflow dags test``."""
        self.defer(trigger=self._trigger(AFTER_DEFERRAL), method_name="execute_complete")

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, int]:  # noqa: ARG002 - Airflow calls it so
        """
        Send what is due. The event is a hint.

        :return: how many alerts were ``sent``, and how many were ``failed`` to send.
        """
        from provider.alerts import outbox, rule_rows
        from provider.metadata.engine import read_session, write_session

        counts: Counter[str] = Counter()
        slow: set[str] = set()
        until = time.monotonic() + SENDING_SECONDS
        while time.monotonic() < until:
            with write_session() as session:
                alerts = outbox.claim(session, last=slow)
            if not alerts:
                break
            with read_session() as session:
                rules = rule_rows.stored_rules(session, self.notifiers)
            counts.update(self._send_some(alerts, rules, until, slow))
        self.log.info("Alerts: %s", dict(counts))
        return dict(counts)

    def _send_some(self, alerts: Sequence[ClaimedAlert], rules: ReadRules, until: float, slow: set[str]) -> Counter[str]:
        """Send what was claimed until a message takes long, and give back the rest: what has become due since may go first."""
        from provider.alerts import outbox
        from provider.alerts.delivery import messages_of
        from provider.metadata.engine import write_session

        by_id = {rule.rule_id: rule for rule in rules.rules}
        counts: Counter[str] = Counter()
        messages = deque(messages_of(alerts, by_id))
        while messages and (began := time.monotonic()) < until:
            message = messages.popleft()
            outcome = self._send(message, by_id, rules.problems)
            counts[outcome] += len(message)
            if time.monotonic() - began < SLOW_SECONDS:
                continue
            slow.add(message[0].rule_id)
            if outcome == "failed":
                with write_session() as session:
                    outbox.put_off(session, message)
            break
        if messages:
            with write_session() as session:
                outbox.release(session, [alert.id for message in messages for alert in message])
        return counts

    def _send(self, alerts: Sequence[ClaimedAlert], rules: Mapping[str, Any], problems: Mapping[str, str]) -> str:
        """Send one message, and write down what came of it."""
        from provider.alerts import outbox
        from provider.alerts.delivery import reason_of, send
        from provider.metadata.engine import write_session

        rule_id = alerts[0].rule_id
        try:
            if rule_id not in rules:
                raise ConfigurationError(problems.get(rule_id, "its rule is gone."))
            # All of a message have as many.
            if (deaths := alerts[0].deaths) >= outbox.MOST_DEATHS:
                raise ConfigurationError(f"the process that was to send it has died {deaths} times; see its log, and the rule.")
            with write_session() as session:
                alerts = outbox.begin(session, alerts)
            send(rules[rule_id], alerts, _base_url(), self.gcp_conn_id)
        except Exception as error:  # noqa: BLE001 - whatever a notifier raises
            reason = reason_of(error)
            self.log.warning("%d alerts of the rule %s were not sent: %s", len(alerts), rule_id, reason)
            with write_session() as session:
                outbox.mark_failed(session, alerts, reason, for_good=isinstance(error, ConfigurationError))
            return "failed"
        with write_session() as session:
            outbox.mark_sent(session, [alert.id for alert in alerts])
        return "sent"

    def _trigger(self, first_event_after: float) -> AlertsDueTrigger:
        return AlertsDueTrigger(poll_interval=self.poll_interval, first_event_after=first_event_after)


def _base_url() -> str:
    from airflow.sdk import conf

    return str(conf.get("api", "base_url", fallback="") or "")
