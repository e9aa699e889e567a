"""The reconciler's part: which alerts a look at Airflow's state calls for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from provider import settings
from provider.alerts import outbox, rule_rows
from provider.alerts.clock import happenings_by_clock
from provider.alerts.happenings import Happening
from provider.metadata.engine import read_session, write_session

#: Seconds between two looks at what a time decides.
CLOCK_SECONDS = 20.0


@dataclass
class Alerting:
    """
    Stores alerts.

    :param allowed: patterns of the notifiers that rules may use, see ``[accelerator] notifiers``.
    """

    allowed: Collection[str]
    _next_look: float = 0.0

    @classmethod
    def configured(cls) -> Alerting | None:
        """Return one; None where rules may use no notifier."""
        allowed = settings.get_list("notifiers")
        return cls(allowed) if allowed else None

    def unstored(self, happenings: Collection[Happening]) -> list[dict[str, Any]]:
        """Return the alerts that these call for and that are not there yet, for :func:`provider.alerts.outbox.store`."""
        if not happenings:
            return []
        with read_session() as session:
            return outbox.unstored(session, rule_rows.rules_in_force(session, self.allowed), happenings)

    def look_at_clock(self, confirm: Callable[[Session], None]) -> None:
        """
        Store what has come true by now, and since when changed rules are in force; nothing where that was just done.

        :param confirm: makes sure, in the transaction that writes, that this process may.
        """
        if time.monotonic() < self._next_look:
            return
        with read_session() as session:
            rules = rule_rows.rules_in_force(session, self.allowed)
            rows = outbox.unstored(session, rules, happenings_by_clock(session, rules, datetime.now(UTC)))
            noted = rule_rows.is_noted(session, rules)
        if rows or not noted:
            with write_session() as session:
                confirm(session)
                rule_rows.note_changed_rules(session, rules)
                outbox.store(session, rows)
        self._next_look = time.monotonic() + CLOCK_SECONDS
