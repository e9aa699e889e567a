"""Waiting for something that another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY = 0.005
LONGEST_PAUSE = 2.0

Result = TypeVar("Result")


def wait_for(ready: Callable[[], Result], seconds: float, look_every: float = LOOK_EVERY) -> Result:
    """
    Look again and again until there is something, at most for that long in seconds; return the last look.

    The pause follows the time of a look, so that those who wait leave a busy machine to what they wait for.
    """
    deadline = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        if (result := ready()) or begun >= deadline:
            return result
        time.sleep(max(look_every, min(LONGEST_PAUSE, 5 * (time.monotonic() - begun))))
