"""What every remote service says about a job: its handle, its status, and how a call failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from provider.exceptions import RemoteJobError

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

#: A handle of a job as plain JSON: ``id`` and ``url``, and whatever its service needs to find it again. ``adopted`` is true for
#: a job that somebody else started and a task waits for.
RemoteJob: TypeAlias = dict[str, Any]
#: What finds a job again whose start was never answered, as plain JSON.
Intent: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """
    One look at a remote job.

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
