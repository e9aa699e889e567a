"""An operator's calls to a remote service: what a service must offer, and how calls are repeated."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow.sdk import BaseOperator

from provider.exceptions import RemoteJobError
from provider.hooks.remote_job import JobNotFoundError, JobStatus, RemoteCallError, RemoteJob
from provider.triggers.external_job import jittered

if TYPE_CHECKING:
    from provider.triggers.external_job import ExternalJobTrigger

#: What to do when the service already runs another job in the place of ours.
IfRunning = Literal["wait", "adopt", "skip", "fail", "cancel"]

#: Longest wait, in seconds, that a service may ask for (Retry-After) before the try gives its slot back.
LONGEST_RETRY_AFTER = 600.0
#: Seconds for which a look-up is repeated that is not answered, at least.
PATIENCE_SECONDS = 30.0
#: Seconds between two polls of the first, short wait in the worker, at most.
SHORT_POLL = 5.0

T = TypeVar("T")


class RemoteServiceOperator(BaseOperator):
    """
    Base of the external job operators: their shared parameters, the service's part, patient calls.

    :param deferrable: wait in the triggerer, without a worker slot. True whatever ``[operators] default_deferrable`` says:
        Airflow ships that option as False, and these jobs take minutes to hours.
    :param poll_interval: seconds between two polls.
    :param wait_timeout: seconds this try waits; None for as long as the job runs. ``execution_timeout`` holds too, also
        while the task is deferred.
    :param http_timeout: seconds for one call to the service.
    :param initial_wait: seconds that are polled in the worker before the task defers.
    :param cancel_on_kill: cancel the job when a person ends the task (mark failed, mark success, clear).
    :param cancel_on_timeout: cancel the job when this try has waited for too long.
    """

    #: What messages call the job.
    job_noun: ClassVar[str] = "job"
    #: Policy for a place that another job holds; operators of services with such places make it a parameter.
    if_running: IfRunning = "wait"

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float = 15.0,
        wait_timeout: float | None = None,
        http_timeout: float = 30.0,
        initial_wait: float = 20.0,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout
        self.http_timeout = http_timeout
        self.initial_wait = initial_wait
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.external_job: dict[str, str] | None = None
        self._job: RemoteJob | None = None
        self._task_key: dict[str, Any] = {}

    # The service's part.

    @abstractmethod
    def prepare_job(self) -> dict[str, Any]:
        """
        Return the intent: plain JSON that finds the job again even where its start is never answered.

        Runs before every new job and may change nothing at the service that runs work or costs money.
        """

    @abstractmethod
    def start_job(self, intent: dict[str, Any]) -> RemoteJob:
        """
        Start the job that *intent* was prepared for.

        :raises JobBusyError: another job holds the place.
        :raises RemoteCallError: with ``maybe_done`` where the job may have started nevertheless.
        """

    @abstractmethod
    def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Return the job that was started for *intent*; None where the service knows none."""

    @abstractmethod
    def poll_job(self, job: RemoteJob) -> JobStatus:
        """
        Ask for the status of *job*.

        :raises JobNotFoundError: the service does not know it.
        """

    @abstractmethod
    def cancel_job(self, job: RemoteJob) -> None:
        """
        Ask the service to cancel *job*; a job that has ended is no error.

        :raises CannotCancelError: the service cannot cancel jobs of this kind.
        """

    @abstractmethod
    def make_trigger(self, **waiting: Any) -> ExternalJobTrigger:
        """
        Return the trigger that waits for a job.

        :param waiting: the arguments of :class:`~provider.triggers.external_job.ExternalJobTrigger`, to be passed on.
        """

    # Calls that are repeated until they are answered. None of them starts, changes or cancels a job.

    def _look_up(self, intent: dict[str, Any], seconds: float) -> RemoteJob | None:
        """Search for the job of *intent* for so long, at least once: services list a new job later than they start it."""
        end = time.time() + seconds
        answered_by = time.time() + max(seconds, PATIENCE_SECONDS)
        while True:
            if (job := self._patiently(lambda: self.find_job(intent), answered_by)) is not None:
                return job
            if time.time() >= end:
                return None
            self._sleep(jittered(min(SHORT_POLL, self.poll_interval)), None)

    def _poll_until_end(self, job: RemoteJob, deadline: float | None) -> JobStatus | None:
        """Poll in the worker.

        :return: the final status; None when it is time to defer.
        :raises TimeoutError: the deadline has passed and the job still runs.
        """
        defer_at = time.time() + self.initial_wait if self.deferrable else None
        pause = min(SHORT_POLL, self.poll_interval) if self.deferrable else self.poll_interval
        while True:
            status = self._poll(job, deadline)
            if status.ended:
                return status
            if deadline is not None and time.time() >= deadline:
                raise TimeoutError(f"{self.job_noun} {job['id']} still runs ({status.detail}) at the end of the wait.")
            if defer_at is not None and time.time() >= defer_at:
                return None
            self._sleep(jittered(pause), deadline)

    def _poll(self, job: RemoteJob, deadline: float | None) -> JobStatus:
        """Poll once. A call that fails for a passing reason is repeated; a job the service has lost has failed."""
        try:
            return self._patiently(lambda: self.poll_job(job), deadline)
        except JobNotFoundError as error:
            return JobStatus("failed", "not found", str(error))
        except RemoteCallError as error:
            raise RemoteJobError(self._cannot_watch(job, str(error))) from error

    def _cannot_watch(self, job: RemoteJob, reason: str) -> str:
        return f"Cannot watch {self.job_noun} {job['id']}: {reason} The job was left running; a retry re-attaches."

    def _patiently(self, call: Callable[[], T], deadline: float | None) -> T:
        """Repeat a call that changes nothing until it is answered, or the deadline has passed."""
        while True:
            try:
                return call()
            except RemoteCallError as error:
                if not error.retryable or (deadline is not None and time.time() >= deadline):
                    raise
                self.log.warning("%s Trying again.", error)
                self._pause(error, deadline)

    def _pause(self, error: RemoteCallError, deadline: float | None) -> None:
        """Sleep before a call is repeated: as long as the service asks for, if it asks for a sensible time."""
        seconds = jittered(min(SHORT_POLL, self.poll_interval))
        if error.retry_after is not None:
            if error.retry_after > LONGEST_RETRY_AFTER:
                raise RemoteJobError(
                    f"{error} The service asks to wait for {error.retry_after:.0f} s: raise retry_delay, or try later."
                ) from error
            seconds = max(seconds, error.retry_after)
        self._sleep(seconds, deadline)

    def _sleep(self, seconds: float, deadline: float | None) -> None:
        if deadline is not None:
            seconds = min(seconds, deadline - time.time())
        time.sleep(max(seconds, 0.0))
