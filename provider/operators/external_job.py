"""The life of a remote job, once for all services: re-attach or start, record, wait, one clear end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.remote_job import AcceptedWithoutIdError, JobBusyError, JobStatus, RemoteCallError, RemoteJob
from provider.operators.job_ledger import JobLedger
from provider.operators.remote_service import IfRunning, RemoteServiceOperator
from provider.triggers.external_job import ENDED_STATES, jittered, task_instance_state

if TYPE_CHECKING:
    from airflow.sdk import Context

    from provider.triggers.external_job import ExternalJobTrigger

#: XCom keys, pushed as soon as the job is known. The console link reads the second one.
XCOM_JOB_ID = "external_job_id"
XCOM_JOB_URL = "external_job_url"

#: How often one try sends a start that the service provably did not carry out.
START_ATTEMPTS = 3
#: Seconds for which a start without an answer is looked up before it counts as not carried out.
LOOKUP_SECONDS = 30.0
#: The same, in seconds, for a start that was accepted and named no job.
ACCEPTED_SECONDS = 300.0
#: Seconds for a cancel in the worker; Airflow sends SIGKILL five seconds after SIGTERM.
KILL_SECONDS = 4.0
#: Seconds for which a job that was cancelled on a timeout is watched, so that a retry finds it ended.
CANCEL_SECONDS = 60.0
#: The states in which a worker that is told to stop cancels its job: ended, or cleared while it ran.
CANCEL_STATES = ENDED_STATES | {"restarting"}


class ExternalJobOperator(RemoteServiceOperator):
    """
    Base of the operators that start one job of a remote service and wait for its end.

    **Once per chain of tries.** A retry, a lost worker or a restarted triggerer re-attaches to the job that the ledger
    (Airflow's task state store) names; only a failed job is followed by a new one. A task that a person cleared gets a
    new job; a job of the cleared tries that still runs is cancelled first. A start whose answer was lost is looked up,
    never repeated blindly. Nothing is cancelled because polling failed.

    **Waiting.** The first ``initial_wait`` seconds are polled in the worker: Airflow can lose a task that defers for a
    moment only (apache/airflow#71580). After them a deferrable task waits in the triggerer without a worker slot.

    ``external_job`` holds ``{"id": …, "url": …}`` from the moment the job is known, for listeners in this process; the
    XComs ``external_job_id`` and ``external_job_url`` hold the same for everyone else.

    Parameters: see :class:`~provider.operators.remote_service.RemoteServiceOperator`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Re-attach to this task's job or start it, and wait for its end; returns the job's result."""
        limits = [self.wait_timeout]
        if self.execution_timeout:
            limits.append(self.execution_timeout.total_seconds())
        seconds = min((limit for limit in limits if limit is not None), default=None)
        return self._live(context, None if seconds is None else time.time() + seconds)

    def execute_again(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        other: RemoteJob | None = None,
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """Resume after the wait for a job that was in our way."""
        with self._failing_clearly():
            if other is not None:
                self._check_event(event, other)
        return self._live(context, deadline)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        job: RemoteJob | None = None,
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """
        Resume after the wait for our job. The event is a hint, the service is asked again.

        ``airflow dags test`` hands over the event alone; the ledger names the job then.
        """
        with self._failing_clearly():
            ledger = JobLedger.from_context(context, self._watcher())
            job = job or ledger.job
            if job is None:
                raise RemoteJobError(f"Task {self.task_id} was resumed without its job, and has recorded none.")
            self._remember(context, job)
            self._check_event(event, job)
            return self._wait(ledger, job, deadline)

    def _opened(self, context: Context, ledger: JobLedger) -> None:
        """Take from context and ledger what a service needs before it is asked for anything; nothing, unless overridden."""

    def _live(self, context: Context, deadline: float | None) -> dict[str, Any]:
        self._remember(context, None)
        with self._failing_clearly():
            ledger = JobLedger.from_context(context, self._watcher())
            self._opened(context, ledger)
            job: RemoteJob | None = None
            if ledger.same_chain:
                job = self._reattach(ledger, deadline)
            else:
                self._end_older_job(ledger, deadline)
                ledger.open_chain()
            job = job or self._start(ledger, deadline)
            ledger.record_job(job)
            self._remember(context, job)
            context["ti"].xcom_push(key=XCOM_JOB_ID, value=job["id"])
            context["ti"].xcom_push(key=XCOM_JOB_URL, value=job["url"])
            return self._wait(ledger, job, deadline)

    def _reattach(self, ledger: JobLedger, deadline: float | None) -> RemoteJob | None:
        """Return this chain's own job; None where there is none, or where it has failed."""
        job = ledger.job
        if job is None:
            job = self._look_up_intent(ledger)
            if job is not None:
                self.log.info("Found %s %s, started by an earlier try that could not record it.", self.job_noun, job["id"])
            return job
        status = JobStatus("failed") if ledger.failed else self._poll(job, deadline)
        if status.state == "failed":
            self.log.info("%s %s of an earlier try has failed; starting a new one.", self.job_noun, job["id"])
            ledger.record_intent(None)
            return None
        self.log.info("Re-attaching to %s %s (%s).", self.job_noun, job["id"], status.detail)
        return job

    def _look_up_intent(self, ledger: JobLedger) -> RemoteJob | None:
        """Search for a job that an earlier try may have started: for as long as it can take to appear since then."""
        if ledger.intent is None:
            return None
        seconds = ACCEPTED_SECONDS if ledger.intent.get("accepted") else self.http_timeout + LOOKUP_SECONDS
        return self._look_up(ledger.intent, seconds - ledger.intent_age)

    def _end_older_job(self, ledger: JobLedger, deadline: float | None) -> None:
        """A person cleared the task: end what its earlier tries may have left running. Adopt nothing."""
        job = ledger.job
        if job is None:
            job = self._look_up_intent(ledger)
        if job is None or ledger.failed or self._poll(job, deadline).ended:
            return
        self.log.info("The task was cleared, but its %s %s still runs.", self.job_noun, job["id"])
        self._cancel_quietly(job)
        self._await_end(job, deadline)

    def _start(self, ledger: JobLedger, deadline: float | None) -> RemoteJob:
        """Start the job, and make sure that it was started once."""
        intent = ledger.intent
        unanswered = intent is not None
        attempt = 1
        while True:
            try:
                intent = intent or self._patiently(self.prepare_job, deadline)
                ledger.record_intent(intent)
                job = self.start_job(intent)
                self.log.info("Started %s %s: %s", self.job_noun, job["id"], job["url"])
                return job
            except JobBusyError as busy:
                # What is in our way may be the start that was never answered, and not listed yet.
                if unanswered and intent and (found := self._look_up(intent, 0 if busy.other else ACCEPTED_SECONDS)):
                    return found
                ledger.record_intent(None)
                intent, unanswered = None, False
                if adopted := self._make_way(busy, deadline):
                    return adopted
            except RemoteCallError as error:
                if intent is not None and error.maybe_done:
                    unanswered = True
                    if found := self._look_up_unanswered(ledger, intent, error):
                        return found
                else:
                    ledger.record_intent(None)
                    intent = None
                if not error.retryable or attempt == START_ATTEMPTS:
                    raise
                attempt += 1
                self._pause(error, deadline)

    def _look_up_unanswered(self, ledger: JobLedger, intent: dict[str, Any], error: RemoteCallError) -> RemoteJob | None:
        """Search for the job of a start that was not answered clearly; None where the service has not carried it out."""
        self.log.warning("No clear answer to the start of a %s, looking it up: %s", self.job_noun, error)
        accepted = isinstance(error, AcceptedWithoutIdError)
        if accepted:
            ledger.record_intent({**intent, "accepted": True})
        found = self._look_up(intent, ACCEPTED_SECONDS if accepted else LOOKUP_SECONDS)
        if found is not None:
            self.log.info("Found %s %s: %s", self.job_noun, found["id"], found["url"])
        elif accepted:  # it will run, or has run: the next try looks it up again before it starts anything
            raise error
        return found

    def _make_way(self, busy: JobBusyError, deadline: float | None) -> RemoteJob | None:
        """Follow ``if_running``. Return the other job where it is adopted, None once a start can be tried again."""
        policy, other = self.if_running, busy.other
        if policy not in get_args(IfRunning):
            raise ConfigurationError(f"if_running is {policy!r}; use one of {', '.join(get_args(IfRunning))}.")
        self.log.info("%s if_running=%s.", busy, policy)
        if policy == "fail":
            raise busy
        if policy == "skip":
            raise AirflowSkipException(str(busy))
        if policy == "adopt" and other is not None:
            return {**other, "adopted": True}
        if policy == "cancel" and other is not None:
            self.cancel_job(other)
        if other is None:
            self._sleep(jittered(self.poll_interval), deadline)
        else:
            self._await_end(other, deadline)
        return None

    def _wait(self, ledger: JobLedger, job: RemoteJob, deadline: float | None) -> dict[str, Any]:
        """Wait for our job, first here, then in the triggerer; returns its result."""
        try:
            status = self._poll_until_end(job, deadline)
        except TimeoutError as error:
            self._time_out(ledger, job, error)
        except AirflowTaskTimeout:
            if self.cancel_on_timeout and not job.get("adopted"):
                self._cancel_quietly(job)
            raise
        if status is None:
            ours = not job.get("adopted")
            self.defer(
                trigger=self._waiting_trigger(job, deadline=deadline, cancel_on_kill=self.cancel_on_kill and ours),
                method_name="execute_complete",
                kwargs={"job": job, "deadline": deadline},
            )
        ledger.record_outcome("success" if status.state == "done" else "failed")
        if status.state == "failed":
            raise RemoteJobError(status.error, retryable=status.retryable)
        self.log.info("%s %s has ended: %s", self.job_noun, job["id"], status.detail)
        return status.result

    def _await_end(self, other: RemoteJob, deadline: float | None) -> None:
        """Wait until a job that is in our way has ended; returns only then."""
        self.log.info("Waiting until %s %s has ended.", self.job_noun, other["id"])
        try:
            status = self._poll_until_end(other, deadline)
        except TimeoutError as error:
            raise RemoteJobError(f"{error} It is in the way of this task's own job, which was not started.") from error
        if status is None:
            self.defer(
                trigger=self._waiting_trigger(other, deadline=deadline, cancel_on_kill=False),
                method_name="execute_again",
                kwargs={"other": other, "deadline": deadline},
            )

    def _check_event(self, event: dict[str, Any] | None, job: RemoteJob) -> None:
        """Raise what the trigger could not get past. Every other event means: look at the job."""
        if event is not None and event.get("status") == "error":
            raise RemoteJobError(self._cannot_watch(job, event.get("message", "")))

    # Ends.

    def _time_out(self, ledger: JobLedger, job: RemoteJob, error: TimeoutError) -> NoReturn:
        if not self.cancel_on_timeout or job.get("adopted"):
            raise RemoteJobError(f"{error} It was left running; a retry re-attaches.") from error
        self._cancel_quietly(job)
        try:
            # Until the end is seen the ledger says running, so that no second job can overtake the first.
            while not self._poll_until_end(job, time.time() + CANCEL_SECONDS):
                continue
            ledger.record_outcome("failed")
        except TimeoutError:
            self.log.warning("%s %s still runs %d s after its cancel.", self.job_noun, job["id"], CANCEL_SECONDS)
        raise RemoteJobError(f"{error} It was cancelled, as cancel_on_timeout asks for.") from error

    def _cancel_quietly(self, job: RemoteJob) -> None:
        """Cancel where that is a means to an end, so that a cancel that fails is not the task's failure."""
        try:
            self.cancel_job(job)
        except RemoteCallError as error:
            self.log.warning("Cannot cancel %s %s: %s", self.job_noun, job["id"], error)
        else:
            self.log.info("Asked for the cancel of %s %s.", self.job_noun, job["id"])

    def on_kill(self) -> None:
        """
        Cancel the job if a person ended the task.

        Airflow also calls this when a pod is stopped, when a heartbeat was lost and after ``execution_timeout``: nobody
        ended the task then, and its next try re-attaches. The question and the cancel run in a thread of their own, as
        the signal may have interrupted this one in the middle of a message to its supervisor.
        """
        if self._job is None or not self.cancel_on_kill or self._job.get("adopted"):
            return
        thread = threading.Thread(target=self._cancel_if_task_ended, args=(self._job,), daemon=True)
        thread.start()
        thread.join(KILL_SECONDS)

    def _cancel_if_task_ended(self, job: RemoteJob) -> None:
        try:
            state = task_instance_state(**self._task_key)
        except Exception:
            self.log.exception("Cannot tell the state of this task, so %s %s keeps running.", self.job_noun, job["id"])
            return
        if state in CANCEL_STATES:
            self._cancel_quietly(job)
        else:
            self.log.info("%s %s keeps running: nobody ended this task (%s).", self.job_noun, job["id"], state)

    def _waiting_trigger(self, job: RemoteJob, *, deadline: float | None, cancel_on_kill: bool) -> ExternalJobTrigger:
        return self.make_trigger(
            job=job,
            poll_interval=self.poll_interval,
            deadline=deadline,
            cancel_on_kill=cancel_on_kill,
            http_timeout=self.http_timeout,
        )

    def _watcher(self) -> dict[str, Any] | None:
        """Return what the reconciler needs to cancel the job where neither this process nor a triggerer can."""
        if not self.cancel_on_kill:
            return None
        classpath, kwargs = self._waiting_trigger({}, deadline=None, cancel_on_kill=True).serialize()
        return {"classpath": classpath, "kwargs": kwargs}

    def _remember(self, context: Context, job: RemoteJob | None) -> None:
        """Keep what :meth:`on_kill` and listeners in this process need."""
        ti = context["ti"]
        self._task_key = {
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": ti.map_index,
        }
        self._job = job
        self.external_job = None if job is None else {"id": job["id"], "url": job["url"]}

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        """Tell Airflow which failures a retry cannot help with."""
        try:
            yield
        except ConfigurationError as error:
            raise AirflowFailException(str(error)) from error
        except RemoteJobError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error
