"""A remote service as a worker uses it: questions that are repeated until they are answered, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from provider.exceptions import RemoteJobError
from provider.hooks.remote_job import Intent, JobNotFoundError, JobStatus, RemoteCallError, RemoteJob
from provider.pacing import jittered

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from provider.hooks.remote_service import RemoteService
    from provider.hooks.wait_budget import WaitBudget

T = TypeVar("T")


class PatientService:
    """
    Repeats what is safe to repeat. Nothing here starts a job, and only :meth:`cancel` changes one.

    :param service: the service.
    :param noun: what messages call its jobs.
    :param poll_interval: seconds between two polls.
    """

    def __init__(self, service: RemoteService[Any], noun: str, poll_interval: float, log: Logger) -> None:
        self.service = service
        self.noun = noun
        self._poll_interval = poll_interval
        self.log = log

    @property
    def short_pause(self) -> float:
        """Seconds between two questions in the worker."""
        return jittered(min(self.service.budget.short_poll, self._poll_interval))

    def ask(self, question: Callable[[], T], budget: WaitBudget) -> T:
        """
        Repeat a question until it is answered.

        :raises RemoteCallError: it was not, within :attr:`WaitBudget.patience` and before the deadline; or asking again makes
            no sense.
        """
        budget = budget.at_most(budget.patience)
        while True:
            try:
                return question()
            except RemoteCallError as error:
                if not error.retryable or budget.expired:
                    raise
                self.log.warning("%s Trying again.", error)
                self.pause(error, budget)

    def look_up(self, intent: Intent, seconds: float, budget: WaitBudget) -> RemoteJob | None:
        """
        Search for the job of *intent* for so long, at least once: services list a new job later than they start it.

        :raises RemoteCallError: the question was not answered, see :meth:`ask`.
        """
        search = budget.until(None).at_most(seconds)
        while True:
            job = self.ask(lambda: self.service.find(intent), budget.until(None))
            if job is not None or search.expired:
                return job
            time.sleep(search.pause(self.short_pause))

    def status(self, job: RemoteJob, budget: WaitBudget) -> JobStatus:
        """
        Ask for the status of a job; one that the service has lost has failed.

        :raises RemoteJobError: it cannot be told.
        """
        try:
            return self.ask(lambda: self.look(job), budget)
        except RemoteCallError as error:
            raise self.cannot_watch(job, str(error)) from error

    def look(self, job: RemoteJob) -> JobStatus:
        """
        Ask once for the status of a job.

        Details of one that has ended are asked for some more times: they explain, but do not decide.

        :raises RemoteCallError: there was no answer.
        """
        try:
            status = self.service.status(job)
            for _ in range(1, self.service.budget.details):
                if status.incomplete is None or not status.incomplete.retryable:
                    break
                time.sleep(self.service.budget.pause(self.short_pause))
                status = self.service.status(job)
        except JobNotFoundError as error:
            return JobStatus("failed", "not found", str(error))
        if status.incomplete is not None:
            self.log.warning("%s %s has ended (%s), without details: %s", self.noun, job["id"], status.detail, status.incomplete)
        return status

    def wait(self, job: RemoteJob, budget: WaitBudget, slot_seconds: float | None) -> JobStatus | None:
        """
        Poll in the worker until the job has ended.

        :param slot_seconds: after so many seconds it is time to defer, whether the service answers or not; None never to defer.
        :return: the final status; None when it is time to defer.
        :raises TimeoutError: the deadline has passed and the job still runs.
        :raises RemoteJobError: the job cannot be watched.
        """
        began = answered = time.time()
        while True:
            seen, pause = "the service does not answer", self._poll_interval if slot_seconds is None else self.short_pause
            retry_after = None
            try:
                status = self.look(job)
            except RemoteCallError as error:
                if not error.retryable or (slot_seconds is None and time.time() - answered > budget.outage):
                    raise self.cannot_watch(job, str(error)) from error
                self.log.warning("%s Trying again.", error)
                retry_after = error.retry_after
                answered = time.time() if retry_after else answered
            else:
                answered, seen = time.time(), status.detail
                if status.ended:
                    return status
            if budget.expired:
                raise TimeoutError(f"{self.noun} {job['id']} still runs ({seen}) at the end of the wait.")
            pause = budget.pause(jittered(pause), retry_after)
            if slot_seconds is not None and time.time() + (pause if retry_after else 0.0) >= began + slot_seconds:
                return None
            time.sleep(pause)

    def cancel(self, job: RemoteJob) -> None:
        """
        Cancel where that is a means to an end, so that a cancel that fails is not the task's failure.

        It is repeated like a question: a job is cancelled twice without harm, and one that is not runs on to its end.
        """
        try:
            self.ask(lambda: self.service.cancel(job), self.service.budget.until(None))
        except RemoteJobError as error:
            self.log.warning("Cannot cancel %s %s: %s", self.noun, job["id"], error)
        else:
            self.log.info("Asked for the cancel of %s %s.", self.noun, job["id"])

    def pause(self, error: RemoteCallError, budget: WaitBudget) -> None:
        """
        Sleep before a call is repeated: as long as the service asks for.

        :raises RemoteJobError: it asks for longer than the slot of a worker is worth.
        """
        if error.retry_after is not None and error.retry_after > budget.slot:
            raise RemoteJobError(
                f"{error} The service asks to wait for {error.retry_after:.0f} s: raise retry_delay, or try later."
            ) from error
        time.sleep(budget.pause(self.short_pause, error.retry_after))

    def cannot_watch(self, job: RemoteJob, reason: str) -> RemoteJobError:
        """Return the error of a wait that ends without the job's end."""
        return RemoteJobError(f"Cannot watch {self.noun} {job['id']}: {reason} The job was left running; a retry re-attaches.")
