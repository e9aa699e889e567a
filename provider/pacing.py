"""How long to pause: between polls, before a repetition, after a deferral. All of it in seconds. No Airflow."""

from __future__ import annotations

import random

#: A trigger yields nothing for so many seconds after a task has deferred: the scheduler may still be busy with the worker's
#: exit, and takes a task that is queued again at once for one that its executor lost (apache/airflow#71580). A task that
#: starts in the triggerer has no worker whose exit could be in the way.
AFTER_DEFERRAL = 5.0


def jittered(seconds: float) -> float:
    """Spread *seconds* by a tenth, so that what was started together does not go on together."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, protects nothing


def backoff(failures: int, *, first: float, longest: float) -> float:
    """
    Return the pause after a failure: twice as long after each, spread by a tenth.

    :param failures: failures in a row, this one included.
    :param first: pause after the first one.
    :param longest: no pause is longer.
    """
    return jittered(min(longest, first * 2.0 ** min(max(failures, 1) - 1, 20)))
