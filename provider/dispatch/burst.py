"""Help for a task that has more requests than it can start soon."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from provider.airflow_internals.supervisor import AirflowRefusedError, count_dag_runs, trigger_dag_run

if TYPE_CHECKING:
    from logging import Logger as StandardLogger

    from airflow.sdk.types import Logger


class Burst:
    """
    Calls runs of a DAG to help, for as long as claims come back full. Without them a burst merely takes longer.

    They are called one by one: a worker of Airflow's API server keeps a task's connection for good, and of several tasks that
    come at once one worker may take all.

    :param dag_id: None where there are no helpers.
    :param helpers: how many there may be at a time.
    """

    def __init__(self, log: Logger | StandardLogger, dag_id: str | None, helpers: int) -> None:
        self._log = log
        self._dag_id = dag_id or ""
        self._helpers = helpers
        #: How many may still be called; None while nobody has counted.
        self._missing = None if dag_id else 0

    def claimed(self, request_id: int, *, full: bool) -> None:
        """
        Call a helper, if there are not enough.

        :param request_id: first request of the claim, which makes the id of the helper's run unique.
        :param full: whether there may be more to claim.
        """
        if not full:
            self._missing = 0
        try:
            if self._missing is None:
                self._missing = self._count_missing()
            if self._missing > 0:
                trigger_dag_run(self._dag_id, f"burst_{datetime.now(UTC):%Y%m%dT%H%M%S}_{request_id}", {})
                self._missing -= 1
                self._log.info("A burst: called %s to help.", self._dag_id)
        except AirflowRefusedError as refusal:
            self._missing = 0
            self._log.warning("No further help with this burst, %s could not be started: %s", self._dag_id, refusal)

    def _count_missing(self) -> int:
        there = count_dag_runs(self._dag_id, ["queued", "running"])
        if there:
            self._log.info("A burst: %d runs of %s are there already, or wait because that DAG is paused.", there, self._dag_id)
        return max(0, self._helpers - there)
