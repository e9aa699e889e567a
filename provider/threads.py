"""
Calls that may take only so long, and an event loop for code that has none.

The threads here are daemons and no executor's: Python waits for those of an executor at exit, hang or not.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T], thread_name: str) -> Future[T]:
    """Begin a call in a thread of its own, which is left to itself should the call hang."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # whoever gives up waiting cannot cancel the call itself
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(call)
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name=thread_name, daemon=True).start()
    return future


def within(seconds: float, call: Callable[[], T], thread_name: str) -> T:
    """
    Call in a thread and wait so long at most: no timeout of a driver covers name resolution or a silent network.

    :param seconds: longest wait.
    :raises TimeoutError: there was no answer in time.
    :return: what *call* returns; it raises what *call* raises.
    """
    future = in_thread(call, thread_name)
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():  # the call's own
            raise
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None


async def in_own_thread(call: Callable[[], T], thread_name: str) -> T:
    """
    Call in a thread and wait for the end, from an event loop.

    The threads that an event loop has of its own (``asyncio.to_thread``, the resolution of names) are a few for everything in a
    triggerer, and those of asgiref one: whoever hangs there holds up all others.
    """
    return await asyncio.wrap_future(in_thread(call, thread_name))


async def awithin(seconds: float, call: Callable[[], T], thread_name: str) -> T:
    """Do what :func:`within` does, from an event loop."""
    return await _awaited(in_thread(call, thread_name), seconds, seconds)


async def _awaited(future: Future[T], left: float, told: float) -> T:
    """Wait so long; the error tells the time that was given for the whole."""
    waited = asyncio.wrap_future(future)
    done, _ = await asyncio.wait([waited], timeout=left)
    if not done:
        waited.cancel()
        raise TimeoutError(f"no answer within {told:g} seconds")
    return waited.result()


class LoneThread:
    """
    Calls in a thread, of which there is one at a time: while a call hangs that nobody waits for any more, no other begins.

    :param name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._call: Future[Any] | None = None

    async def within(self, seconds: float, call: Callable[[], T]) -> T:
        """
        Do what :func:`awithin` does, in the same time also where an earlier call has to end first.

        :raises TimeoutError: no answer in time; ``call`` was made only where no earlier one hung.
        """
        until = time.monotonic() + seconds
        if self._call is not None and not self._call.done():
            earlier = asyncio.wrap_future(self._call)
            await asyncio.wait([earlier], timeout=seconds)
            if earlier.done():
                earlier.exception()  # nobody waits for it
            else:
                earlier.cancel()
                raise TimeoutError(f"no answer within {seconds:g} seconds, to an earlier request that still hangs")
        self._call = future = in_thread(call, self._name)
        return await _awaited(future, until - time.monotonic(), seconds)


class LoopThread:
    """
    An event loop in a thread of its own, started when it is first needed, for blocking code that calls asynchronous code.

    A forked child has the object, but not the thread: it starts another one.

    :param name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        os.register_at_fork(after_in_child=self._forget)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin *work*."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the end of *work*; a wait that is broken off (a signal) breaks it off, too."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop = None
