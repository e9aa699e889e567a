"""Waiting for something that another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY = 0.005

Result = TypeVar("Result")


def wait_for(ready: Callable[[], Result], seconds: float, look_every: float = LOOK_EVERY) -> Result:
    """Look again and again until there is something, at most for that long in seconds; return the last look."""
    deadline = time.monotonic() + seconds
    while not (result := ready()) and time.monotonic() < deadline:
        time.sleep(look_every)
    return result
