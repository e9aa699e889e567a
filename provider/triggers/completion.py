"""The waiting half of a task whose work is done elsewhere: one query for all that wait in this triggerer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from functools import partial
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from provider.metadata.rows import TaskKey
from provider.pacing import backoff
from provider.threads import in_own_thread
from provider.triggers.pubsub import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

__all__ = ["TaskCompletionTrigger"]

log = logging.getLogger(__name__)


class TaskCompletionTrigger(BaseTrigger):
    """
    Fires when the inbox has news of a task. The event is a hint: the worker reads the inbox itself.

    An application database that does not answer is waited for.

    :param workflow_id: the task's DAG, ``batch_id`` its run.
    :param after: id of the request up to which the news is known.
    :param poll_interval: seconds between two looks; of the triggers in one triggerer the shortest holds for all. The first look
        is at once.
    :param first_event_after: seconds before which no event is fired.
    """

    def __init__(
        self,
        *,
        workflow_id: str,
        batch_id: str,
        task_id: str,
        after: int = 0,
        poll_interval: float = 2.0,
        first_event_after: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.key: TaskKey = (workflow_id, batch_id, task_id)
        self.after = after
        self.poll_interval = poll_interval
        self.first_event_after = first_event_after

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        workflow_id, batch_id, task_id = self.key
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "workflow_id": workflow_id,
                "batch_id": batch_id,
                "task_id": task_id,
                "after": self.after,
                "poll_interval": self.poll_interval,
                "first_event_after": self.first_event_after,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for news."""
        await asyncio.sleep(self.first_event_after)
        await _watch_of_loop().wait(self.key, self.after, self.poll_interval)
        yield TriggerEvent({"status": "reported"})  # type: ignore[no-untyped-call]


class CompletionWatch:
    """What the triggers of one event loop wait for, and the task that looks for all of them."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[None], tuple[TaskKey, int, float]] = {}
        self._task: asyncio.Task[None] | None = None
        #: Somebody waits that no look was for.
        self._came = asyncio.Event()

    async def wait(self, key: TaskKey, after: int, interval: float) -> None:
        """
        Return once there is news of a task.

        :param after: id of the request up to which it is known.
        :param interval: seconds between two looks.
        """
        news = self.loop.create_future()
        self._waiting[news] = (key, after, interval)
        self._came.set()
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._look_while_anybody_waits())
        try:
            await news
        finally:
            del self._waiting[news]

    async def _look_while_anybody_waits(self) -> None:
        failures = 0
        while self._waiting:
            self._came.clear()
            keys = {key for key, _after, _interval in self._waiting.values()}
            try:
                latest = await in_own_thread(partial(_latest_ids, keys), "accelerator-completions")
            except Exception:
                failures += 1
                delay = backoff(failures, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
                log.exception("The application database does not answer, trying again in %.0f s.", delay)
                await asyncio.sleep(delay)  # also for whoever comes meanwhile
            else:
                failures = 0
                for news, (key, after, _interval) in self._waiting.items():
                    if latest.get(key, 0) > after and not news.done():
                        news.set_result(None)
                delay = min((interval for _key, _after, interval in self._waiting.values()), default=0.0)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), delay)


_current: CompletionWatch | None = None


def _watch_of_loop() -> CompletionWatch:
    """Return the watch of the running event loop."""
    global _current
    if _current is None or _current.loop is not asyncio.get_running_loop():
        _current = CompletionWatch()
    return _current


def _latest_ids(keys: Collection[TaskKey]) -> dict[TaskKey, int]:
    from provider.metadata import completions, engine

    with engine.read_session() as session:
        return completions.latest_ids(session, keys)
