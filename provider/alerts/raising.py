"""The reconciler's part: which alerts a look at Airflow's state calls for."""

from __future__ import annotations

import logging
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
from provider.exceptions import LostLeadError
from provider.metadata.engine import read_session, write_session

log = logging.getLogger(__name__)

#: Seconds between two looks at what a time decides.
CLOCK_SECONDS = 20.0
#: Seconds between two complaints that alerts cannot be written.
COMPLAINT_SECONDS = 60.0


@dataclass
class Alerting:
    """
    Stores alerts.

    :param allowed: patterns of the notifiers that rules may use, see ``[accelerator] notifiers``.
    """

    allowed: Collection[str]
    _next_look: float = 0.0
    _next_complaint: float = 0.0

    @classmethod
    def configured(cls) -> Alerting | None:
        """Return one; None where rules may use no notifier."""
        allowed = settings.get_list("notifiers")
        return cls(allowed) if allowed else None

    def unstored(self, happenings: Collection[Happening]) -> list[dict[str, Any]]:
        """Return the alerts that these call for and that are not there yet, for :func:`provider.alerts.outbox.store`."""
        now = datetime.now(UTC)
        recent = [happening for happening in happenings if not outbox.is_too_old(happening, now)]
        if not recent:
            return []
        with read_session() as session:
            return outbox.unstored(session, outbox.calls(rule_rows.rules_in_force(session, self.allowed), recent))

    def look_at_clock(self, confirm: Callable[[Session], None], as_of: datetime) -> None:
        """
        Store what has come true by now, and since when changed rules are in force; nothing where that was just done.

        Where that fails it is told in the log and tried again at the next look: the record goes on without.

        :param confirm: makes sure, in the transaction that writes, that this process may.
        :param as_of: when Airflow was looked at; what has happened since is not known yet.
        :raises LostLeadError: it may not.
        """
        if time.monotonic() < self._next_look:
            return
        try:
            self._look_at_clock(confirm, as_of)
        except LostLeadError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the record's
            self.tell_broken(error)
        self._next_look = time.monotonic() + CLOCK_SECONDS

    def _look_at_clock(self, confirm: Callable[[Session], None], as_of: datetime) -> None:
        with read_session() as session:
            rules = rule_rows.rules_in_force(session, self.allowed)
            look = happenings_by_clock(session, rules, as_of)
            rows = outbox.unstored(session, look.calls)
        if rows or look.decided or not all(one.is_noted for one in rules):
            with write_session() as session:
                confirm(session)
                rule_rows.note_changed_rules(session, rules)
                if look.decided:
                    rule_rows.note_decided(session, look.decided, look.until)
                outbox.store(session, rows)

    def tell_broken(self, error: BaseException) -> None:
        """Log why alerts could not be written, once a minute at most."""
        if time.monotonic() >= self._next_complaint:
            log.error("Alerts cannot be written; the record is kept, and they are tried again.", exc_info=error)
            self._next_complaint = time.monotonic() + COMPLAINT_SECONDS
