"""How long building may take, so that Airflow never gives up on a DAG file: all of its DAGs would be gone at once."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow.sdk import conf

#: What of ``[core] dagbag_import_timeout`` is used. The rest is for what a parse does before and after.
_OF_IMPORT = 0.7

#: What of ``[dag_processor] dag_file_processor_timeout`` is used. After it is built, Airflow serializes each DAG in the same
#: process, which was measured to take 1.7 times as long; both and what a parse does besides have to fit.
_OF_PARSE = 0.3

#: Until something was built, this is what a task or an edge takes, in seconds.
_SECONDS_EACH = 0.0003


def seconds_allowed() -> float:
    """Return how long building may take by Airflow's own limits; a limit of 0 is none."""
    limits = (
        conf.getfloat("core", "dagbag_import_timeout") * _OF_IMPORT,
        conf.getfloat("dag_processor", "dag_file_processor_timeout") * _OF_PARSE,
    )
    return min((limit for limit in limits if limit > 0), default=float("inf"))


class Budget:
    """
    The time that is left, asked before each workflow.

    A workflow cannot be broken off, so what it will take is estimated from what others took.

    :param seconds: from now on.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._started = self._asked = clock()
        self._built = 0
        self._took = 0.0

    def allows(self, size: int, share: float = 1.0) -> bool:
        """
        Return whether there is time to build.

        :param size: tasks and edges of the workflow, and what counts as further ones.
        :param share: of the whole time that may be used up then.
        """
        self._asked = self._clock()
        each = max(_SECONDS_EACH, self._took / self._built) if self._built else _SECONDS_EACH
        return self._asked - self._started + size * each <= self.seconds * share

    def spent(self, size: int, *, typical: bool) -> None:
        """
        Note that what was asked for last was built.

        :param typical: whether it tells how long others will take; an operator of another package may have been imported.
        """
        if typical:
            self._built += size
            self._took += self._clock() - self._asked
