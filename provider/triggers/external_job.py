"""The waiting half of a remote job: polls until the job has ended, in the triggerer."""

from __future__ import annotations

import asyncio
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from provider.exceptions import AcceleratorError
from provider.hooks.remote_job import CannotCancelError, JobStatus, RemoteCallError, RemoteJob

#: No trigger yields sooner than this many seconds after the deferral: the scheduler may still be busy with the worker's
#: exit, and takes a task that is queued again at once for one that its executor lost (apache/airflow#71580).
MIN_FIRST_EVENT = 5.0
#: How often a cancel that a person asked for is tried while the service answers with transient errors.
CANCEL_ATTEMPTS = 4

#: States of a task instance that will not run again by itself: nobody waits for the job any more. A cleared task is not
#: among them: its next try finds the job in the ledger, and cancels it before it starts another one.
ENDED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})

# The event loop holds tasks weakly; without this reference a detached cancel could be collected half-way.
_detached: set[asyncio.Task[None]] = set()


def jittered(seconds: float) -> float:
    """Spread *seconds* by a tenth, so that jobs that were started together are not polled together."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311  # spreads load, protects nothing


class ExternalJobTrigger(BaseTrigger):
    """
    Waits for the end of one remote job. Its event is a hint: the worker asks the service again.

    A poll that fails for a passing reason is repeated until the deadline, and never touches the job.

    :param job: handle of the job.
    :param poll_interval: seconds between two polls, spread by a tenth.
    :param deadline: end of the wait in seconds since the epoch (absolute, as a trigger may move to another triggerer);
        None waits for as long as the job runs.
    :param cancel_on_kill: cancel the job when a person ends the task.
    :param http_timeout: seconds for one call to the service.
    """

    def __init__(
        self,
        *,
        job: RemoteJob,
        poll_interval: float,
        deadline: float | None,
        cancel_on_kill: bool,
        http_timeout: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job = job
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill
        self.http_timeout = http_timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments: plain data, and no secret (credentials stay in the connection)."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job": self.job,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "cancel_on_kill": self.cancel_on_kill,
                "http_timeout": self.http_timeout,
                **self.service_kwargs(),
            },
        )

    @abstractmethod
    def service_kwargs(self) -> dict[str, Any]:
        """Return the arguments that the service adds to the shared ones."""

    @abstractmethod
    async def poll_job(self) -> JobStatus:
        """
        Ask the service for the job's status.

        :raises RemoteCallError: the call failed.
        """

    @abstractmethod
    async def cancel_job(self) -> None:
        """
        Ask the service to cancel the job; a job that has ended is no error.

        :raises RemoteCallError: the call failed.
        """

    @abstractmethod
    async def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """
        Return the job that was started for *intent*, as the operator recorded it; None where the service knows none.

        :raises RemoteCallError: the call failed.
        """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the job has ended, the deadline has passed, or polling makes no sense."""
        delay = max(jittered(self.poll_interval), MIN_FIRST_EVENT)
        while True:
            await asyncio.sleep(delay)
            delay = jittered(self.poll_interval)
            try:
                status = await self.poll_job()
            except AcceleratorError as error:  # a connection can also be wrong on the triggerer's machine alone
                if not isinstance(error, RemoteCallError) or not error.retryable:
                    yield TriggerEvent({"status": "error", "job_id": self.job["id"], "message": str(error)})  # type: ignore[no-untyped-call]
                    return
                delay = max(delay, error.retry_after or 0.0)
                self.log.warning("Polling job %s failed, trying again in %.0f s: %s", self.job["id"], delay, error)
            else:
                if status.ended:
                    yield TriggerEvent({"status": "ended", "job_id": self.job["id"], "detail": status.detail})  # type: ignore[no-untyped-call]
                    return
            if self.deadline is not None:
                left = self.deadline - time.time()
                if left <= 0:
                    yield TriggerEvent({"status": "timeout", "job_id": self.job["id"]})  # type: ignore[no-untyped-call]
                    return
                delay = min(delay, left)

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
        for attempt in range(1, CANCEL_ATTEMPTS + 1):
            try:
                await self.cancel_job()
            except CannotCancelError as error:
                self.log.warning("Job %s keeps running: %s", self.job["id"], error)
                return
            except RemoteCallError as error:
                self.log.warning("Cancelling job %s failed, attempt %d: %s", self.job["id"], attempt, error)
                if not error.retryable or attempt == CANCEL_ATTEMPTS:
                    return
                await asyncio.sleep(max(jittered(2.0**attempt), error.retry_after or 0.0))
            else:
                self.log.info("Cancelled job %s: its task is in state %s.", self.job["id"], state)
                return

    async def _task_state(self) -> str | None:
        """Return the state of this trigger's task instance; None where it cannot be told."""
        from asgiref.sync import sync_to_async

        ti = self.task_instance
        if ti is None:
            return None
        try:
            return await sync_to_async(task_instance_state)(
                dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index
            )
        except Exception:
            # Whatever went wrong between here and the API server: not knowing means not cancelling.
            self.log.warning("Cannot tell the state of the task of job %s.", self.job["id"], exc_info=True)
            return None


def task_instance_state(*, dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str | None:
    """
    Ask Airflow for the committed state of one task instance.

    The answer names a mapped task instance ``<task_id>_<map_index>``.

    :raises AirflowRuntimeError: the API server refused or could not answer.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    index = -1 if map_index is None else map_index
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, map_index=index, task_ids=[task_id], run_ids=[run_id])
    key = task_id if index < 0 else f"{task_id}_{index}"
    state = states.get(run_id, {}).get(key)
    return None if state is None else str(getattr(state, "value", state))
