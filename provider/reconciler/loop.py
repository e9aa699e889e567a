"""Passes of a reconciler, one after another: beside a scheduler, in a triggerer, or in a command."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from provider.exceptions import AcceleratorError
from provider.pacing import backoff
from provider.reconciler.hints import read_hint
from provider.texts import first_line

log = logging.getLogger(__name__)

#: Hooks of the scheduler fire just before the commit; a pass that they wake waits so long for it.
_COMMIT_SECONDS = 0.3
#: How many times the CPU time of a pass the process rests before the next: with thousands of open batches, a sixth of a core.
_REST = 5.0
#: Longest pause while a database is away, in seconds: after an outage the record is soon current.
_BACKOFF_SECONDS = 8.0
#: How often to look whether the scheduler is still there, in seconds.
PARENT_CHECK_SECONDS = 2.0


class ReconcilerLoop:
    """
    Passes of a reconciler until nobody wants more, and one last.

    :param reconciler: see :class:`provider.reconciler.passes.Reconciler`.
    :param interval: seconds between two passes.
    :param idle: seconds between two passes while no batch is open; None for as many.
    :param parent: process id of the scheduler that this belongs to; None where it belongs to nobody.
    :param parent_check: seconds between two looks whether the scheduler is still there.
    :param alive: called every few seconds, as long as the loop goes on.
    """

    def __init__(
        self,
        reconciler: Any,
        interval: float,
        *,
        idle: float | None = None,
        parent: int | None = None,
        parent_check: float = PARENT_CHECK_SECONDS,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._alive = alive
        self._reconciler = reconciler
        self._interval = interval
        self._idle = max(interval, idle or 0.0)
        self._parent = parent
        self._parent_check = parent_check
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0

    def run(self) -> None:
        """Make passes until told to stop."""
        while not self._stopping.is_set():
            begun = time.thread_time()
            self.make_pass()
            self._rest(_REST * (time.thread_time() - begun))
            if self._wait():
                self._stopping.wait(min(_COMMIT_SECONDS, self._interval))
        self.make_pass()
        self._reconciler.release()

    def stop(self) -> None:
        """Ask for the last pass."""
        self._stopping.set()
        self._wake.set()

    def listen(self, lines: Iterable[bytes | str]) -> None:
        """Take hints until their end, which tells to stop."""
        for line in lines:
            self.hear(line)
        self.stop()

    def hear(self, line: bytes | str) -> None:
        """Take one hint: ``{}``, or what the scheduler says of a failed try. A line that is none only wakes."""
        try:
            hint = read_hint(line)
        except ValueError:
            log.debug("Skipped a line that is no hint: %r", line[:100])
            hint = {}
        if hint:
            run, attempt = (hint["dag_id"], hint["run_id"]), (hint["task_id"], hint["map_index"], hint["try_number"])
            self._reconciler.note(run, attempt, hint["error"])
        if not self._failures:  # while a database is away the pause stays as long as it is
            self._wake.set()

    def make_pass(self) -> None:
        """Make one pass; an outage is logged once and outlived."""
        try:
            self._reconciler.tick()
        except Exception as error:
            if not self._failures:
                log.warning(
                    "Task logs are not up to date: %s: %s. Trying again, up to %.0f s apart.",
                    type(error).__name__,
                    first_line(error),
                    _BACKOFF_SECONDS,
                    exc_info=not isinstance(error, AcceleratorError),
                )
            self._failures += 1
        else:
            if self._failures:
                log.info("Task logs are reconciled again.")
            self._failures = 0

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, self._parent_check)):
            self._alive()

    def _wait(self) -> bool:
        """Wait for the next pass; tell whether it was asked for."""
        left = self._idle if self._reconciler.idle else self._interval
        if self._failures:
            left = backoff(self._failures, first=2 * self._interval, longest=_BACKOFF_SECONDS)
        while left > 0 and not self._wake.wait(min(left, self._parent_check)):
            left -= self._parent_check
            self._alive()
            if self._parent is not None and os.getppid() != self._parent:
                # A worker that was forked at a bad moment may hold the input open after its scheduler was killed.
                self._stopping.set()
                break
        woken = self._wake.is_set()
        self._wake.clear()
        return woken
