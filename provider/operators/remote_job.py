"""The life of a remote job, once for all services: re-attach or start, record, wait, one clear end."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from provider.airflow_internals import supervisor
from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.remote_job import ENDED_STATES, JobStatus, RemoteJob
from provider.hooks.remote_service import Connection, RemoteService, open_service, service_class
from provider.hooks.wait_budget import WaitBudget
from provider.links import RemoteJobLink
from provider.operators.job_ledger import JobLedger
from provider.operators.job_start import IfRunning, JobStart, Obstacle
from provider.operators.patient_service import PatientService
from provider.pacing import jittered
from provider.threads import within
from provider.triggers.remote_job import RemoteJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

__all__ = ["RemoteJobOperator"]

T = TypeVar("T")

#: XCom keys, pushed as soon as the job is known. The console link reads the second one.
XCOM_JOB_ID = "remote_job_id"
XCOM_JOB_URL = "remote_job_url"

#: Seconds that a try waits unless told otherwise. No job of ours is known to run for longer.
WAIT_TIMEOUT = 86_400.0
#: The states in which a worker that is told to stop cancels its job: ended, or cleared while it ran.
CANCEL_STATES = ENDED_STATES | {"restarting"}


class RemoteJobOperator(BaseOperator):
    """
    Starts one job of a remote service and waits for its end: base of the operators that do.

    A subclass names its service and makes the request for it; the rest is here. ``ResumableJobMixin`` of Airflow 3.3 also keeps
    a job's id over the tries of a task, but only for operators that hold their slot; it starts a second job where a worker died
    before the id was stored or the answer to a start was lost, adopts jobs that a person's clear was meant to end, and knows no
    service that is busy.

    **Once per chain of tries.** A retry, a lost worker or a restarted triggerer re-attaches to the job that the ledger
    (Airflow's task state store) names; only a failed job is followed by a new one. A task that a person cleared gets a
    new job; a job of the cleared tries that still runs is cancelled first. A start whose answer was lost is looked up,
    never repeated blindly. Nothing is cancelled because polling failed.

    **Waiting.** The first ``initial_wait`` seconds are polled in the worker: Airflow can lose a task that defers for a
    moment only (apache/airflow#71580). After them a deferrable task waits in the triggerer without a worker slot.

    ``remote_job`` holds ``{"id": …, "url": …}`` from the moment the job is known, for listeners in this process; the
    XComs ``remote_job_id`` and ``remote_job_url`` hold the same for everyone else. ``job_handle`` is the service's whole handle.

    :param deferrable: wait in the triggerer, without a worker slot. True whatever ``[operators] default_deferrable`` says:
        Airflow ships that option as False, and these jobs take minutes to hours.
    :param poll_interval: seconds between two polls.
    :param wait_timeout: seconds this try waits; None for as long as the job runs. ``execution_timeout`` holds too, also
        while the task is deferred.
    :param http_timeout: seconds for one call to the service, the whole of it.
    :param initial_wait: seconds that are polled in the worker before the task defers.
    :param cancel_on_kill: cancel the job when a person ends the task (mark failed, mark success, clear).
    :param cancel_on_timeout: cancel the job when this try has waited for too long.
    :param budget: the other bounds of waits, calls and answers.
    """

    #: Name of the service, see :func:`~provider.hooks.remote_service.service_class`.
    service_name: ClassVar[str]
    #: What messages call the job.
    job_noun: ClassVar[str]
    #: The button to the job in its service's console.
    operator_extra_links: Sequence[BaseOperatorLink] = (RemoteJobLink(),)
    #: Policy for a place that another job holds; operators of services with such places make it a parameter.
    if_running: IfRunning = "wait"

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float = 15.0,
        wait_timeout: float | None = WAIT_TIMEOUT,
        http_timeout: float = 30.0,
        initial_wait: float = 20.0,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = False,
        budget: WaitBudget | None = None,
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
        self.budget = replace(budget or WaitBudget(), call=http_timeout)
        self.remote_job: dict[str, str] | None = None
        self.tell_remote_job: Callable[[Mapping[str, Any]], None] | None = None
        self.job_handle: RemoteJob | None = None
        self._task_key: dict[str, Any] = {}

    @abstractmethod
    def request(self, context: Context, earlier: RemoteJob | None) -> Mapping[str, Any]:
        """
        Return what the job is asked for with, as the service takes it, from rendered parameters.

        Asked for once before a start, and not at all where a job is there already.

        :param earlier: the job that this task recorded last, whatever has become of it.
        :raises ConfigurationError: the parameters make no request.
        """

    def judged(self, job: RemoteJob, status: JobStatus) -> JobStatus:  # noqa: ARG002 - others need it
        """
        Return what the end of our job means for this task; the status as it is, unless a subclass is stricter than its service.

        :param status: of a job that has ended; its details may be missing, see :attr:`JobStatus.incomplete`.
        """
        return status

    def finish(self, context: Context, result: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - others need it
        """Do what is left when the job has succeeded; return what the task returns. Airflow gives post_execute no result."""
        return result

    def ask(self, question: Callable[[], T]) -> T:
        """
        Repeat a question to the service until it is answered, for as long as a worker may.

        :raises RemoteCallError: it was not, or asking again makes no sense.
        """
        return self._patient.ask(question, self.budget.until(None))

    @cached_property
    def service(self) -> RemoteService[Any]:
        """The service, with this task's connection."""
        return open_service(self.service_name, self.connection, self.budget)

    @property
    def connection(self) -> Connection:
        """The parameters that choose connection and identity."""
        return {name: getattr(self, name) for name in service_class(self.service_name).connection_fields}

    def execute(self, context: Context) -> dict[str, Any]:
        """Re-attach to this task's job or start it, and wait for its end; returns the job's result."""
        limits = [self.wait_timeout]
        if self.execution_timeout:
            limits.append(self.execution_timeout.total_seconds())
        seconds = min((limit for limit in limits if limit is not None), default=None)
        return self._begin(context, None if seconds is None else time.time() + seconds)

    def execute_again(
        self,
        context: Context,
        event: Any = None,
        other: RemoteJob | None = None,
        deadline: float | None = None,
        ended: str | None = None,
    ) -> dict[str, Any]:
        """
        Resume after the wait for what was in our way: a job, or one that cannot be waited for.

        :param ended: id of a job that was in our way, and had ended already.
        """
        with self._failing_clearly():
            if other is not None:
                self._check_event(event, other)
        return self._begin(context, deadline, ended)

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
            ledger = self._ledger(context)
            job = job or ledger.job
            if job is None:
                raise RemoteJobError(f"Task {self.task_id} was resumed without its job, and has recorded none.")
            self._remember(context, job)
            self._check_event(event, job)
            return self.finish(context, self._wait(ledger, job, self.budget.until(deadline)))

    def _begin(self, context: Context, deadline: float | None, ended: str | None = None) -> dict[str, Any]:
        self._remember(context, None)
        budget = self.budget.until(deadline)
        with self._failing_clearly():
            ledger = self._ledger(context)
            job = self._own_job(context, ledger, budget, ended)
            ledger.record_job(job)
            self._remember(context, job)
            if self.tell_remote_job is not None:
                self.tell_remote_job(ledger.entry)
            context["ti"].xcom_push(key=XCOM_JOB_ID, value=job["id"])
            context["ti"].xcom_push(key=XCOM_JOB_URL, value=job["url"])
            return self.finish(context, self._wait(ledger, job, budget))

    def _own_job(self, context: Context, ledger: JobLedger, budget: WaitBudget, ended: str | None) -> RemoteJob:
        """Re-attach to this task's job or start it, once nothing is in its way."""
        earlier = ledger.job  # the ledger forgets one that has failed
        start = JobStart(self._patient, ledger, budget, lambda: self.request(context, earlier), self.if_running)
        while True:
            try:
                return start.reattach_or_start()
            except Obstacle as obstacle:
                ended = self._await_obstacle(obstacle.other, budget, ended)

    def _wait(self, ledger: JobLedger, job: RemoteJob, budget: WaitBudget) -> dict[str, Any]:
        """Wait for our job, first here, then in the triggerer; returns its result."""
        try:
            status = self._patient.wait(job, budget, self._slot_seconds)
        except TimeoutError as error:
            self._time_out(ledger, job, error)
        except AirflowTaskTimeout:
            if self.cancel_on_timeout and not job.get("adopted"):
                self._patient.cancel(job)
            raise
        if status is None:
            ours = not job.get("adopted")
            self.defer(
                trigger=self._trigger(job, budget, cancel_on_kill=self.cancel_on_kill and ours),
                method_name="execute_complete",
                kwargs={"job": job, "deadline": budget.deadline},
            )
        status = self.judged(job, status)
        ledger.record_outcome("success" if status.state == "done" else "failed")
        if status.state == "failed":
            raise RemoteJobError(status.error, retryable=status.retryable)
        self.log.info("%s %s has ended: %s", self.job_noun, job["id"], status.detail)
        return status.result

    def _await_obstacle(self, other: RemoteJob | None, budget: WaitBudget, ended: str | None) -> str | None:
        """
        Wait until what is in our way has ended, as far as can be told.

        :param ended: id of the job that was in our way before, and has ended.
        :return: id of the job that has ended; None where the service names none.
        """
        in_the_way = "It is in the way of this task's own job, which was not started."
        if other is not None and other["id"] != ended:
            self.log.info("Waiting until %s %s has ended.", self.job_noun, other["id"])
            try:
                status = self._patient.wait(other, budget, self._slot_seconds)
            except TimeoutError as error:
                raise RemoteJobError(f"{error} {in_the_way}") from error
            if status is None:
                self.defer(
                    trigger=self._trigger(other, budget, cancel_on_kill=False),
                    method_name="execute_again",
                    kwargs={"other": other, "deadline": budget.deadline},
                )
        elif self.deferrable and not budget.expired:
            self._defer_a_while(budget, ended)
        if budget.expired:
            if other is None:
                raise RemoteJobError(f"Another {self.job_noun} runs, and the service does not list it. {in_the_way}")
            wrongly = "has ended, and the service lists it as one that runs"
            raise RemoteJobError(f"{self.job_noun} {other['id']} {wrongly}. {in_the_way}")
        time.sleep(budget.pause(self._patient.short_pause))
        return None if other is None else str(other["id"])

    def _defer_a_while(self, budget: WaitBudget, ended: str | None) -> NoReturn:
        """Give the slot back until it makes sense to try the start again."""
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        pause = max(budget.pause(jittered(self.poll_interval)), budget.first_event)
        self.defer(
            trigger=DateTimeTrigger(datetime.now(UTC) + timedelta(seconds=pause)),
            method_name="execute_again",
            kwargs={"deadline": budget.deadline, "ended": ended},
        )
        raise AssertionError("unreachable: defer raises")

    def _check_event(self, event: Any, job: RemoteJob) -> None:
        """Raise what the trigger could not get past. Every other event means: look at the job."""
        if isinstance(event, dict) and event.get("status") == "error":
            raise self._patient.cannot_watch(job, str(event.get("message", "")))

    # Ends.

    def _time_out(self, ledger: JobLedger, job: RemoteJob, error: TimeoutError) -> NoReturn:
        if not self.cancel_on_timeout or job.get("adopted"):
            raise RemoteJobError(f"{error} It was left running; a retry re-attaches.") from error
        self._patient.cancel(job)
        try:
            # Until the end is seen the ledger says running, so that no second job can overtake the first.
            self._patient.wait(job, self.budget.at_most(self.budget.cancelled), math.inf)
            ledger.record_outcome("failed")
        except TimeoutError:
            self.log.warning("%s %s still runs %d s after its cancel.", self.job_noun, job["id"], self.budget.cancelled)
        raise RemoteJobError(f"{error} It was cancelled, as cancel_on_timeout asks for.") from error

    def on_kill(self) -> None:
        """
        Cancel the job if a person ended the task.

        Airflow also calls this when a pod is stopped, when a heartbeat was lost and after ``execution_timeout``: nobody
        ended the task then, and its next try re-attaches. The question and the cancel run in a thread of their own, as
        the signal may have interrupted this one in the middle of a message to its supervisor.
        """
        job = self.job_handle
        if job is None or not self.cancel_on_kill or job.get("adopted"):
            return
        try:
            within(self.budget.kill, lambda: self._cancel_if_task_ended(job), "accelerator-on-kill")
        except TimeoutError as error:
            self.log.warning("The cancel of %s %s gets %s.", self.job_noun, job["id"], error)

    def _cancel_if_task_ended(self, job: RemoteJob) -> None:
        try:
            state = supervisor.task_instance_state(**self._task_key)
        except Exception:
            self.log.exception("Cannot tell the state of this task, so %s %s keeps running.", self.job_noun, job["id"])
            return
        if state in CANCEL_STATES:
            self._patient.cancel(job)
        else:
            self.log.info("%s %s keeps running: nobody ended this task (%s).", self.job_noun, job["id"], state)

    # Parts.

    @property
    def _slot_seconds(self) -> float | None:
        return self.initial_wait if self.deferrable else None

    @cached_property
    def _patient(self) -> PatientService:
        return PatientService(self.service, self.job_noun, self.poll_interval, self.log)

    def _trigger(self, job: RemoteJob, budget: WaitBudget, *, cancel_on_kill: bool) -> RemoteJobTrigger:
        return RemoteJobTrigger(
            service=self.service_name,
            connection=self.connection,
            job=job,
            poll_interval=self.poll_interval,
            cancel_on_kill=cancel_on_kill,
            budget=budget.to_json(),
        )

    def _ledger(self, context: Context) -> JobLedger:
        """Open the ledger. It names the service where a person who ends the task is to end the job, for the reconciler."""
        if not self.cancel_on_kill:
            return JobLedger.from_context(context, None)
        connection = self.connection
        if hidden := [name for name in connection if name not in self.template_fields]:
            # Airflow stores an operator's templated parameters with its DAG, and no others.
            self.log.warning(
                "%s of %s is no template field: where neither this process nor a triggerer can, nobody cancels the job.",
                *(", ".join(hidden), type(self).__name__),
            )
        conn_id = next(iter(connection.values()))
        return JobLedger.from_context(context, {"name": self.service_name, "conn_id": conn_id})

    def _remember(self, context: Context, job: RemoteJob | None) -> None:
        """Keep what :meth:`on_kill` and listeners in this process need."""
        ti = context["ti"]
        self._task_key = {
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": ti.map_index,
        }
        self.job_handle = job
        self.remote_job = None if job is None else {"id": job["id"], "url": job["url"]}

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
