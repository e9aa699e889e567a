"""A call that may take only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T], thread_name: str) -> T:
    """
    Call in a thread and wait so long at most: no timeout of a driver covers name resolution or a silent network.

    A call that hangs is left to its thread. It is no executor's: Python would wait for that at exit, hang or not.

    :param seconds: longest wait.
    :raises TimeoutError: there was no answer in time.
    :return: what *call* returns; it raises what *call* raises.
    """
    results: list[T] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            problems.append(error)

    thread = threading.Thread(target=work, name=thread_name, daemon=True)
    thread.start()
    thread.join(seconds)
    if problems:
        raise problems[0]
    if not results:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return results[0]
