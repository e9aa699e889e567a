"""The waiting half of a remote job, for every service: polls until the job has ended, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from provider.airflow_internals import supervisor
from provider.exceptions import AcceleratorError
from provider.hooks.remote_job import ENDED_STATES, CannotCancelError, JobStatus, RemoteCallError, RemoteJob
from provider.hooks.remote_service import Connection, RemoteService
from provider.hooks.shared_services import shared_service
from provider.hooks.wait_budget import WaitBudget
from provider.pacing import jittered
from provider.threads import in_own_thread

__all__ = ["RemoteJobTrigger"]

# The event loop holds tasks weakly; without this reference a detached cancel could be collected half-way.
_detached: set[asyncio.Task[None]] = set()


class RemoteJobTrigger(BaseTrigger):
    """
    Waits for the end of one remote job. Its event is a hint: the worker asks the service again.

    A poll that fails for a passing reason is repeated, and never touches the job. All triggers of a triggerer that use the same
    connection share one service.

    :param service: name of the service, see :func:`~provider.hooks.remote_service.service_class`.
    :param connection: values for the service's ``connection_fields``: the connection id, and whom to act as.
    :param job: handle of the job.
    :param poll_interval: seconds between two polls, spread by a tenth.
    :param cancel_on_kill: cancel the job when a person ends the task.
    :param budget: what differs from the defaults of :class:`~provider.hooks.wait_budget.WaitBudget`.
    """

    def __init__(
        self,
        *,
        service: str,
        connection: Connection,
        job: RemoteJob,
        poll_interval: float,
        cancel_on_kill: bool,
        budget: dict[str, Any],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.service = service
        self.connection = connection
        self.job = job
        self.poll_interval = poll_interval
        self.cancel_on_kill = cancel_on_kill
        self.budget = WaitBudget(**budget)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments: plain data, and no secret (credentials stay in the connection)."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "service": self.service,
                "connection": self.connection,
                "job": self.job,
                "poll_interval": self.poll_interval,
                "cancel_on_kill": self.cancel_on_kill,
                "budget": self.budget.to_json(),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the job has ended, the deadline has passed, or polling makes no sense."""
        delay = max(jittered(self.poll_interval), self.budget.first_event)
        answered = time.time()
        while True:
            await asyncio.sleep(delay)
            wished = 0.0
            try:
                status = await self.status()
            except AcceleratorError as error:  # a connection can also be wrong on the triggerer's machine alone
                silent = time.time() - answered
                if not isinstance(error, RemoteCallError) or not error.retryable or silent > self.budget.outage:
                    yield self._event("error", message=str(error))
                    return
                wished = error.retry_after or 0.0
                answered = time.time() if wished else answered
                self.log.warning("Polling job %s failed, trying again: %s%s", self.job["id"], error, self._asked_for(wished))
            else:
                answered = time.time()
                if status.ended:
                    yield self._event("ended", detail=status.detail)
                    return
            if self.budget.expired:
                yield self._event("timeout")
                return
            delay = self.budget.pause(jittered(self.poll_interval), wished)

    async def on_kill(self) -> None:
        """
        Cancel the job if a person has ended the task.

        The triggerer gives this coroutine about a second, and also calls it when it hands the trigger to another
        triggerer. So the work is done by a detached task, which asks for the task's state first.
        """
        if not self.cancel_on_kill:
            return
        task = asyncio.get_running_loop().create_task(self.cancel_if_task_ended())
        _detached.add(task)
        task.add_done_callback(_detached.discard)

    async def cancel_if_task_ended(self) -> None:
        """Cancel the job where the task instance has ended; leave it running where that is not certain."""
        state = await self._task_state()
        if state not in ENDED_STATES:
            self.log.info("Job %s keeps running: its task is in state %s, nobody ended it.", self.job["id"], state)
            return
        budget = self.budget.until(None)
        for attempt in range(1, budget.cancels + 1):
            try:
                await (await self._open()).acancel(self.job)
            except CannotCancelError as error:
                self.log.warning("Job %s keeps running: %s", self.job["id"], error)
                return
            except RemoteCallError as error:
                self.log.warning("Cancelling job %s failed, attempt %d: %s", self.job["id"], attempt, error)
                if not error.retryable or attempt == budget.cancels:
                    return
                await asyncio.sleep(budget.pause(jittered(2.0**attempt), error.retry_after))
            else:
                self.log.info("Cancelled job %s: its task is in state %s.", self.job["id"], state)
                return

    async def _open(self) -> RemoteService[Any]:
        try:
            return await shared_service(self.service, self.connection, self.budget)
        except AcceleratorError:
            raise
        except Exception as error:
            # Also a connection that "isn't defined": the worker has used it, and Airflow says so where a backend does not answer.
            what = f"{type(error).__name__}: {error}".rstrip(".")
            raise RemoteCallError(f"The connection of {self.service} could not be opened: {what}.") from error

    async def status(self) -> JobStatus:
        """Ask the service for the status of the job."""
        return await (await self._open()).astatus(self.job)

    def _event(self, status: str, **details: str) -> TriggerEvent:
        return TriggerEvent({"status": status, "job_id": self.job["id"], **details})  # type: ignore[no-untyped-call]

    def _asked_for(self, seconds: float) -> str:
        """Say what became of the service's wish to be left alone for so long."""
        if seconds <= self.budget.retry_after:
            return ""
        return f" The service asks to wait for {seconds:.0f} s; it is asked again after {self.budget.retry_after:.0f} s."

    async def _task_state(self) -> str | None:
        """Return the state of this trigger's task instance; None where it cannot be told."""
        ti = self.task_instance
        if ti is None:
            return None
        try:
            state = partial(
                supervisor.task_instance_state, dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index
            )
            return await in_own_thread(state, "accelerator-task-state")
        except Exception:
            # Whatever went wrong between here and the API server: not knowing means not cancelling.
            self.log.warning("Cannot tell the state of the task of job %s.", self.job["id"], exc_info=True)
            return None
