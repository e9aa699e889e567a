"""The one object that bounds every wait for a remote service: in the worker, in the triggerer and in the reconciler."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from provider.pacing import AFTER_DEFERRAL

__all__ = ["WaitBudget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitBudget:
    """
    What a wait may take. All times are in seconds.

    :param deadline: end of the wait, since the epoch (absolute, as a trigger may move to another triggerer); None for as long
        as the job runs.
    :param call: one call to the service as a whole, from the connect to the last byte.
    :param patience: how long a worker repeats one question that is not answered, before the try gives its slot back.
    :param outage: how long a wait outlives a service that answers nothing at all.
    :param retry_after: the longest pause that a service may ask for; it counts as an answer.
    :param slot: the longest pause that a worker holds its slot for.
    :param body: the longest answer, in bytes, after decompression. What is read from it can take 25 times as much.
    :param listed: the longest list, in entries, over all its pages.
    :param lookup: how long a start without an answer is looked up before it counts as not carried out.
    :param accepted_lookup: the same for a start that was accepted and named no job.
    :param short_poll: longest pause between two polls in the worker, before the task defers.
    :param cancelled: how long a job that was cancelled at the deadline is watched, so that a retry finds it ended.
    :param kill: a cancel in a worker that is told to stop; Airflow sends SIGKILL five seconds after SIGTERM.
    :param first_event: how long a trigger yields nothing, see :data:`provider.pacing.AFTER_DEFERRAL`.
    :param starts: how often one try sends a start that the service provably did not carry out.
    :param cancels: how often a cancel is tried that is answered with passing errors.
    :param details: how often the details of a job that has ended are asked for.
    """

    deadline: float | None = None
    call: float = 30.0
    patience: float = 60.0
    outage: float = 3600.0
    retry_after: float = 3600.0
    slot: float = 600.0
    body: int = 8 * 2**20
    listed: int = 50_000
    lookup: float = 30.0
    accepted_lookup: float = 300.0
    short_poll: float = 5.0
    cancelled: float = 60.0
    kill: float = 4.0
    first_event: float = AFTER_DEFERRAL
    starts: int = 3
    cancels: int = 4
    details: int = 5

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.time() >= self.deadline

    def until(self, deadline: float | None) -> WaitBudget:
        """Return this budget with a deadline, or without one."""
        return replace(self, deadline=deadline)

    def at_most(self, seconds: float) -> WaitBudget:
        """Return this budget with a deadline so many seconds from now, unless its own comes first."""
        end = time.time() + seconds
        return replace(self, deadline=end if self.deadline is None else min(end, self.deadline))

    def pause(self, seconds: float, retry_after: float | None = None) -> float:
        """
        Return how long to pause before a question is asked again: never past the deadline.

        :param seconds: the pause without a wish of the service.
        :param retry_after: the pause that the service asks for; a longer one than :attr:`retry_after` is cut.
        """
        wished = max(seconds, min(retry_after or 0.0, self.retry_after))
        return wished if self.deadline is None else max(0.0, min(wished, self.deadline - time.time()))

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults, as plain JSON."""
        ordinary = asdict(WaitBudget())
        return {name: value for name, value in asdict(self).items() if value != ordinary[name]}
