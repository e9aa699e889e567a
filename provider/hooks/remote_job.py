"""What every remote service says about a job: its handle, its status, and how a call failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from provider.exceptions import LONGEST_MESSAGE, RemoteJobError
from provider.plain_data import unstorable
from provider.texts import one_line

__all__ = [
    "AcceptedWithoutIdError",
    "CannotCancelError",
    "Intent",
    "JobBusyError",
    "JobNotFoundError",
    "JobStatus",
    "RemoteCallError",
    "RemoteJob",
]

#: Longest word for a state, in characters.
DETAIL_LENGTH = 200
#: How deep a result may be nested.
DEEPEST_RESULT = 12

#: States of a task instance that will not run again by itself: nobody waits for its remote job any more. A cleared task is not
#: among them: its next try finds the job in the ledger, and cancels it before it starts another one.
ENDED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

#: A handle of a job as plain JSON: ``id`` and ``url``, and whatever its service needs to find it again. ``adopted`` is true for
#: a job that somebody else started and a task waits for.
RemoteJob: TypeAlias = dict[str, Any]
#: What finds a job again whose start was never answered, as plain JSON.
Intent: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """
    One look at a remote job. Its texts become one line each, and a result that Airflow could not store is left out, and says so.

    :param state: ``running`` also for every state this package does not know: a new word of the service must never end
        a wait early.
    :param detail: the service's own word for the state.
    :param error: one line for a job that failed: status, error code, first reasons, what to do.
    :param retryable: False where running the same job again cannot help.
    :param result: plain JSON for XCom, of a job that has ended.
    :param incomplete: why the details of a job that has ended are missing. Its end is known all the same.
    """

    state: Literal["running", "done", "failed"]
    detail: str = ""
    error: str = ""
    retryable: bool = True
    result: dict[str, Any] = field(default_factory=dict)
    incomplete: RemoteCallError | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", one_line(self.detail, DETAIL_LENGTH))
        object.__setattr__(self, "error", one_line(self.error, LONGEST_MESSAGE))
        if flaw := next(unstorable(self.result, max_depth=DEEPEST_RESULT), None):
            why = f"the service's result has something at {one_line(flaw.path, DETAIL_LENGTH)!r} that cannot be stored"
            object.__setattr__(self, "result", {"omitted": f"{why} ({flaw.flaw.name})"})

    @property
    def ended(self) -> bool:
        """Whether the service has finished with the job, well or badly."""
        return self.state != "running"


class RemoteCallError(RemoteJobError):
    """
    One call to a service failed; it says nothing about the job the call asked for.

    :param message: one line: what was asked, the service's answer, what to do.
    :param retryable: False where the same call cannot succeed without a change.
    :param maybe_done: True where the service may have carried out the request although its answer is an error or was
        lost (5xx, dropped connection, timeout). Such a request is looked up, never sent blindly again.
    :param retry_after: seconds the service asked to wait for.
    :param status_code: HTTP status, or the HTTP equivalent of a gRPC status; None without an answer.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        maybe_done: bool = False,
        retry_after: float | None = None,
        status_code: int | None = None,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.maybe_done = maybe_done
        self.retry_after = retry_after
        self.status_code = status_code


class AcceptedWithoutIdError(RemoteCallError):
    """The service took the start and named no job; the job must be looked up, and nothing must be started again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, maybe_done=True)


class JobNotFoundError(RemoteCallError):
    """The service does not know the job (any more)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False, status_code=404)


class CannotCancelError(RemoteCallError):
    """The service has no way to cancel this job; it ends by itself."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class JobBusyError(RemoteJobError):
    """
    The service did not start the job because another one holds its place.

    :param other: handle of the job that runs; None where the service does not tell.
    """

    def __init__(self, message: str, *, other: RemoteJob | None) -> None:
        super().__init__(message)
        self.other = other
