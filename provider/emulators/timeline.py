"""
Jobs whose state is a function of the clock.

An emulated job needs no thread: when it started, how long it takes and when it was cancelled say all about it. One
timer thread writes the transitions to the ledger at the moment they happen; a reader flushes what is due first, so that
nobody sees a state that the ledger does not have yet.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum


class Phase(Enum):
    """Where a job is."""

    RUNNING = "running"
    CANCELING = "canceling"
    CANCELLED = "cancelled"
    DONE = "done"


@dataclass
class Timeline:
    """
    When a job started, how long it runs, and when it was cancelled.

    :param duration: from start to the natural end.
    :param cancel_duration: from the cancellation to its effect.
    """

    started_at: datetime
    duration: timedelta
    cancel_duration: timedelta = timedelta()
    cancelled_at: datetime | None = None

    @property
    def ends_at(self) -> datetime:
        """When it ends, or would end."""
        natural = self.started_at + self.duration
        if self.cancelled_at is None:
            return natural
        return self.cancelled_at + self.cancel_duration

    def phase(self, now: datetime) -> Phase:
        """Return where the job is at a moment."""
        if self.cancelled_at is not None and now >= self.cancelled_at:
            return Phase.CANCELLED if now >= self.ends_at else Phase.CANCELING
        return Phase.DONE if now >= self.started_at + self.duration else Phase.RUNNING

    def cancel(self, now: datetime) -> bool:
        """Cancel a running job; return False where it has ended or is being cancelled."""
        if self.phase(now) is not Phase.RUNNING:
            return False
        self.cancelled_at = now
        return True


class Timers:
    """
    Runs callbacks at their moment, in order, on one thread.

    ``lock`` is the one re-entrant lock of all emulated state: callbacks run while it is held, and so should whatever
    reads or changes a job. One lock cannot be taken in the wrong order.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._condition = threading.Condition(self.lock)
        self._heap: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="emulator-timers", daemon=True)
        self._thread.start()

    def at(self, moment: datetime, callback: Callable[[datetime], None]) -> None:
        """Call back at a moment, with that moment."""
        with self._condition:
            heapq.heappush(self._heap, (moment, next(self._order), callback))
            self._condition.notify()

    def now(self) -> datetime:
        """Return the time, after everything due until then has run."""
        with self._condition:
            moment = datetime.now(UTC)
            self._run_due(moment)
            return moment

    def stop(self) -> None:
        """End the thread; what is not yet due never runs."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join()

    def _run_due(self, moment: datetime) -> None:
        while self._heap and self._heap[0][0] <= moment:
            due, _, callback = heapq.heappop(self._heap)
            callback(due)

    def _run(self) -> None:
        with self._condition:
            while not self._stopped:
                self._run_due(datetime.now(UTC))
                if self._heap:
                    self._condition.wait(max(0.0, (self._heap[0][0] - datetime.now(UTC)).total_seconds()))
                else:
                    self._condition.wait()
