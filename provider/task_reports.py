"""What a task tells the listener in its own process, beside what Airflow itself says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

#: What the reason of a task that the guard skips for its parents' sake begins with.
PARENT_SKIPPED = "parent skipped: "

#: The same of one whose condition does not hold; the condition follows.
RUN_IF_FALSE = "run_if does not hold: "

#: Key of Airflow's task state store for the text of an error or a skip that the application database had no connection for:
#: ``{"try": number, "type", "message", "cause", "status"}``. The reconciler reads it.
ERROR_KEY = "accelerator_error"


@runtime_checkable
class TellsRemoteJob(Protocol):
    """
    An operator with a remote job.

    :param remote_job: ``{"id": …, "url": …}`` from the moment the job is known; None before.
    """

    remote_job: Mapping[str, str] | None


@runtime_checkable
class TellsHowToEndIt(Protocol):
    """
    An operator whose remote job another process can end.

    :param tell_remote_job: called with what the job's ledger says as soon as the job is known, where a listener has set it.
    """

    tell_remote_job: Callable[[Mapping[str, Any]], None] | None


@runtime_checkable
class TellsSkipReason(Protocol):
    """
    A task that has skipped itself.

    :param skip_reason: why, for people.
    """

    skip_reason: str
