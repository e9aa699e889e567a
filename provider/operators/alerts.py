"""The task of the DAG ``accelerator_alerts``."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator

from provider.exceptions import ConfigurationError
from provider.pacing import AFTER_DEFERRAL
from provider.triggers.alerts import AlertsDueTrigger
from provider.triggers.pubsub import start_trigger_args

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.alerts.outbox import ClaimedAlert
    from provider.alerts.rules import AlertRule

__all__ = ["SendAlertsOperator"]

#: How long one task sends, in seconds. What is left then is the next one's.
SENDING_SECONDS = 200.0
#: A message that takes longer, in seconds, and fails lets its rule rest.
SLOW_SECONDS = 10.0


class SendAlertsOperator(BaseOperator):
    """
    Waits for alerts in the triggerer, and sends those that are due.

    An alert that cannot be sent is tried again later, for two days, and keeps no other back; the table ``alerts`` says why. Nor
    does a server that takes long to answer: rules take turns by the time that they took, and one of which a message took long and
    failed rests. An alert is sent at least once: a task that dies after sending and before it writes that down leaves it to the
    next one.

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
        spent: defaultdict[str, float] = defaultdict(float)
        read_at, until = -math.inf, time.monotonic() + SENDING_SECONDS
        while (began := time.monotonic()) < until:
            if began - read_at >= self.poll_interval:
                with read_session() as session:
                    rules, read_at = rule_rows.stored_rules(session, self.notifiers), began
            by_id = {rule.rule_id: rule for rule in rules.rules}
            with write_session() as session:
                alerts = outbox.claim(session, by_id, spent)
            if not alerts:
                break
            rule_id = alerts[0].rule_id
            counts[self._send(alerts, by_id.get(rule_id), rules.problems.get(rule_id, "its rule is gone."))] += len(alerts)
            spent[rule_id] += time.monotonic() - began
        self.log.info("Alerts: %s", dict(counts))
        return dict(counts)

    def _send(self, alerts: Sequence[ClaimedAlert], rule: AlertRule | None, problem: str) -> str:
        """
        Send one message, and write down what came of it.

        :param problem: why there is no rule that can be used.
        """
        from provider.alerts import outbox, rule_rows
        from provider.alerts.delivery import reason_of, send
        from provider.metadata.engine import write_session

        began = time.monotonic()
        try:
            if rule is None:
                raise ConfigurationError(problem)
            # All of a message have as many.
            if (deaths := alerts[0].deaths) >= outbox.MOST_DEATHS:
                raise ConfigurationError(f"the process that was to send it has died {deaths} times; see its log, and the rule.")
            send(rule, alerts, _base_url(), self.gcp_conn_id)
        except Exception as error:  # noqa: BLE001 - whatever a notifier raises
            reason = reason_of(error)
            self.log.warning("%d alerts of the rule %s were not sent: %s", len(alerts), alerts[0].rule_id, reason)
            with write_session() as session:
                outbox.mark_failed(session, alerts, reason, rule, for_good=isinstance(error, ConfigurationError))
                if time.monotonic() - began >= SLOW_SECONDS:
                    rule_rows.let_rest(session, alerts[0].rule_id)
            return "failed"
        with write_session() as session:
            outbox.mark_sent(session, alerts)
            rule_rows.wake(session, alerts[0].rule_id)
        return "sent"

    def _trigger(self, first_event_after: float) -> AlertsDueTrigger:
        return AlertsDueTrigger(poll_interval=self.poll_interval, first_event_after=first_event_after)


def _base_url() -> str:
    from airflow.sdk import conf

    return str(conf.get("api", "base_url", fallback="") or "")
