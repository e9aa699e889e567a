"""What the emulators were asked and what became of it: append-only, in the order in which it happened."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """
    One thing that happened.

    :param seq: position, from 1, without gaps.
    :param at: when it happened, ISO 8601 in UTC.
    :param operation: the RPC or route in snake case, or a transition such as ``workflow_invocation_succeeded``.
    :param resource: the full name or id of what it was about.
    :param detail: the vendor's own fields; never a secret or a token.
    :param outcome: ``ok``, or the error's code.
    """

    seq: int
    at: str
    service: str
    operation: str
    resource: str
    detail: Mapping[str, Any]
    outcome: str


class Ledger:
    """
    Append-only list of entries. Thread-safe.

    :param path: JSON lines file that gets each entry too.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._changed = threading.Condition()
        self._entries: list[Entry] = []
        self._path = path

    def append(
        self,
        service: str,
        operation: str,
        resource: str,
        *,
        detail: Mapping[str, Any] | None = None,
        outcome: str = "ok",
        at: datetime | None = None,
    ) -> Entry:
        """Record one thing; ``at`` is now unless given."""
        with self._changed:
            moment = at or datetime.now(UTC)
            entry = Entry(len(self._entries) + 1, moment.isoformat(), service, operation, resource, detail or {}, outcome)
            self._entries.append(entry)
            if self._path:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(entry)) + "\n")
            self._changed.notify_all()
            return entry

    def entries(
        self, service: str | None = None, operation: str | None = None, resource: str | None = None, after: int = 0
    ) -> list[Entry]:
        """Return the entries that fit, oldest first; ``after`` leaves out those up to that ``seq``."""
        with self._changed:
            return [
                entry
                for entry in self._entries[after:]
                if (service is None or entry.service == service)
                and (operation is None or entry.operation == operation)
                and (resource is None or entry.resource == resource)
            ]

    def wait_for(self, operation: str, resource: str | None = None, *, count: int = 1, timeout: float = 30.0) -> list[Entry]:
        """
        Wait until ``count`` entries of an operation are there and return them.

        :param timeout: seconds.
        :raises TimeoutError: they did not come in time.
        """
        with self._changed:  # the condition's lock is re-entrant, so entries() may take it again
            arrived = self._changed.wait_for(lambda: len(self.entries(operation=operation, resource=resource)) >= count, timeout)
            found = self.entries(operation=operation, resource=resource)
        if not arrived:
            raise TimeoutError(f"{len(found)} of {count} {operation!r} entries within {timeout} s")
        return found
