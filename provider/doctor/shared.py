"""What several checks need and one of them gets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from provider.threads import in_thread, within

T = TypeVar("T")

#: How long getting it may take, in seconds: less than half of a check's time, so that a check can wait for two of them.
SHARED_SECONDS = 9.0
_THREAD = "accelerator-doctor-airflow"


class Shared(Generic[T]):
    """
    What several checks need and one of them gets; the others wait for it.

    :param make: gets it. What it raises all of them raise.
    :param seconds: longest wait; then all of them raise TimeoutError.
    """

    def __init__(self, make: Callable[[], T], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._lock = threading.Lock()
        self._made: Future[T] | None = None

    def get(self) -> T:
        """Return it."""
        with self._lock:
            if self._made is None:
                self._made = in_thread(partial(within, self._seconds, self._make, _THREAD), _THREAD)
        return self._made.result()
