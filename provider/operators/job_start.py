"""Starting a remote job once, whatever happens to the worker and to the service's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from airflow.sdk.exceptions import AirflowSkipException

from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import (
    AcceptedWithoutIdError,
    Intent,
    JobBusyError,
    JobStatus,
    RemoteCallError,
    RemoteJob,
)
from provider.hooks.wait_budget import WaitBudget
from provider.operators.job_ledger import JobLedger
from provider.operators.patient_service import PatientService

#: What to do when the service already runs another job in the place of ours.
IfRunning = Literal["wait", "adopt", "skip", "fail", "cancel"]


class Obstacle(Exception):  # noqa: N818 - no error: it says what to wait for
    """
    Another job must end before ours can be started.

    :param other: the job; None where the service does not name it.
    """

    def __init__(self, other: RemoteJob | None) -> None:
        super().__init__()
        self.other = other


class JobStart:
    """
    Finds the job of one task instance, or starts it.

    :param patient: the service.
    :param ledger: what the task remembers.
    :param budget: how long this try may take.
    :param request: makes the request for a new job.
    :param if_running: policy for a place that another job holds.
    """

    def __init__(
        self,
        patient: PatientService,
        ledger: JobLedger,
        budget: WaitBudget,
        request: Callable[[], Mapping[str, Any]],
        if_running: IfRunning,
    ) -> None:
        self._patient = patient
        self._service = patient.service
        self._noun = patient.noun
        self._ledger = ledger
        self._budget = budget
        self._request = request
        self._if_running = if_running
        self._log = patient.log

    def reattach_or_start(self) -> RemoteJob:
        """
        Return this chain's own job: the one that runs or has succeeded, or else a new one.

        :raises Obstacle: another job must end first.
        :raises RemoteJobError: there is none, and none was started.
        """
        if self._ledger.same_chain:
            if job := self._reattach():
                return job
        else:
            self._end_older_job()
            self._ledger.open_chain()
        return self._start()

    def _reattach(self) -> RemoteJob | None:
        """Return this chain's own job; None where there is none, or where it has failed."""
        job = self._ledger.job
        if job is None:
            job = self._look_up_intent()
            if job is not None:
                self._log.info("Found %s %s, started by an earlier try that could not record it.", self._noun, job["id"])
            return job
        status = JobStatus("failed") if self._ledger.failed else self._patient.status(job, self._budget)
        if status.state == "failed":
            self._log.info("%s %s of an earlier try has failed; starting a new one.", self._noun, job["id"])
            self._ledger.record_intent(None)
            return None
        self._log.info("Re-attaching to %s %s (%s).", self._noun, job["id"], status.detail)
        return job

    def _look_up_intent(self) -> RemoteJob | None:
        """Search for a job that an earlier try may have started: for as long as it can take to appear since then."""
        intent = self._ledger.intent
        if intent is None:
            return None
        budget = self._budget
        seconds = budget.accepted_lookup if intent.get("accepted") else budget.call + budget.lookup
        return self._patient.look_up(intent, seconds - self._ledger.intent_age, budget)

    def _end_older_job(self) -> None:
        """End what the tries before a person's clear may have left running, unless it is somebody else's; adopt nothing."""
        job = self._ledger.job
        if job is None:
            job = self._look_up_intent()
        if job is None or job.get("adopted") or self._ledger.failed or self._patient.status(job, self._budget).ended:
            return
        self._log.info("The task was cleared, but its %s %s still runs.", self._noun, job["id"])
        self._patient.cancel(job)
        raise Obstacle(job)

    def _start(self) -> RemoteJob:
        """Start the job, and make sure that it was started once."""
        request = self._request()
        intent = self._ledger.intent
        unanswered = intent is not None
        attempt = 1
        while True:
            try:
                intent = intent or self._patient.ask(lambda: self._service.prepare(request), self._budget)
                self._ledger.record_intent(intent)
                job = self._service.start(request, intent)
                self._log.info("Started %s %s: %s", self._noun, job["id"], job["url"])
                return job
            except JobBusyError as busy:
                # What is in our way may be the start that was never answered, and not listed yet.
                seconds = 0.0 if busy.other else self._budget.accepted_lookup
                if unanswered and intent and (found := self._patient.look_up(intent, seconds, self._budget)):
                    return found
                self._ledger.record_intent(None)
                return self._make_way(busy)
            except RemoteCallError as error:
                if intent is not None and error.maybe_done:
                    unanswered = True
                    if found := self._look_up_unanswered(intent, error):
                        return found
                else:
                    self._ledger.record_intent(None)
                    intent = None
                if not error.retryable or attempt == self._budget.starts or self._budget.expired:
                    raise
                attempt += 1
                self._patient.pause(error, self._budget)

    def _look_up_unanswered(self, intent: Intent, error: RemoteCallError) -> RemoteJob | None:
        """Search for the job of a start that was not answered clearly; None where the service has not carried it out."""
        self._log.warning("No clear answer to the start of a %s, looking it up: %s", self._noun, error)
        accepted = isinstance(error, AcceptedWithoutIdError)
        if accepted:
            self._ledger.record_intent({**intent, "accepted": True})
        seconds = self._budget.accepted_lookup if accepted else self._budget.lookup
        found = self._patient.look_up(intent, seconds, self._budget)
        if found is not None:
            self._log.info("Found %s %s: %s", self._noun, found["id"], found["url"])
        elif accepted:  # it will run, or has run: the next try looks it up again before it starts anything
            raise error
        return found

    def _make_way(self, busy: JobBusyError) -> RemoteJob:
        """
        Follow ``if_running``: return the other job where it is adopted.

        :raises Obstacle: it must end first.
        """
        policy, other = self._if_running, busy.other
        if policy not in get_args(IfRunning):
            raise ConfigurationError(f"if_running is {policy!r}; use one of {', '.join(get_args(IfRunning))}.")
        self._log.info("%s if_running=%s.", busy, policy)
        if policy == "fail":
            raise busy
        if policy == "skip":
            raise AirflowSkipException(str(busy))
        if policy == "adopt" and other is not None:
            return {**other, "adopted": True}
        if policy == "cancel" and other is not None:
            self._patient.ask(lambda: self._service.cancel(other), self._budget)
        raise Obstacle(other)
