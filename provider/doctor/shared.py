"""What several checks need and one of them gets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from provider.threads import in_thread

T = TypeVar("T")


class Shared(Generic[T]):
    """
    What several checks need and one of them gets; the others wait for it.

    :param make: gets it. What it raises all of them raise.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Future[T] | None = None

    def get(self) -> T:
        """Return it."""
        with self._lock:
            if self._made is None:
                self._made = in_thread(self._make, "accelerator-doctor-airflow")
        return self._made.result()
