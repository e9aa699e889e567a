"""The waiting half of the DAG ``accelerator_alerts``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from provider.pacing import backoff
from provider.threads import in_own_thread
from provider.triggers.pubsub import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

__all__ = ["AlertsDueTrigger"]

log = logging.getLogger(__name__)


class AlertsDueTrigger(BaseTrigger):
    """
    Fires when an alert is to be sent. The event is a hint: what is to be sent is in the table ``alerts``.

    An application database that does not answer is waited for.

    :param poll_interval: seconds between two looks.
    :param first_event_after: seconds before which no event is fired.
    """

    def __init__(self, *, poll_interval: float = 5.0, first_event_after: float = 0.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.poll_interval = poll_interval
        self.first_event_after = first_event_after

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"poll_interval": self.poll_interval, "first_event_after": self.first_event_after},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for an alert that is due."""
        await asyncio.sleep(self.first_event_after)
        failures = 0
        while True:
            try:
                due = await in_own_thread(_any_due, "accelerator-alerts")
            except Exception:
                failures += 1
                pause = backoff(failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
                log.exception("The application database does not answer, trying again in %.0f s.", pause)
            else:
                failures, pause = 0, self.poll_interval
                if due:
                    break
            await asyncio.sleep(pause)
        yield TriggerEvent({"status": "due"})  # type: ignore[no-untyped-call]


def _any_due() -> bool:
    from provider.alerts.outbox import any_due
    from provider.metadata.engine import read_session

    with read_session() as session:
        return any_due(session)
