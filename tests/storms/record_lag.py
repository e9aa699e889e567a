"""How long after Airflow the record says how a try has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import psycopg

LOOK_SECONDS = 0.1
_AFTERWARDS = 10.0
"""Seconds after an outage in which what has waited is made up for."""

Key = tuple[Any, ...]

_AIRFLOW = """
SELECT dag_id, run_id, task_id, map_index, greatest(1, try_number), CASE
    WHEN state = 'success' THEN 'SUCCESS' WHEN state IN ('failed', 'up_for_retry') THEN 'ERROR'
    WHEN state = 'upstream_failed' THEN 'BLOCKED' ELSE 'SKIPPED' END
FROM task_instance
WHERE dag_id LIKE 'record%' AND state IN ('success', 'failed', 'up_for_retry', 'upstream_failed', 'skipped', 'removed')
"""
_OURS = """
SELECT workflow_id, batch_id, task_id, map_index, try_number, status FROM task_logs
WHERE workflow_id LIKE 'record%' AND status IN ('SUCCESS', 'ERROR', 'BLOCKED', 'SKIPPED')
"""


@dataclass(frozen=True)
class Lag:
    """Seconds, of so many ends."""

    ends: int
    p50: float
    p95: float

    def __str__(self) -> str:
        return f"{self.p50:.1f} s / {self.p95:.1f} s of {self.ends} ends"


class LagPoller(threading.Thread):
    """
    Looks into both databases again and again, and notes when it first sees each end there.

    :param airflow: libpq's address of Airflow's database, ``application`` of the application database.
    """

    def __init__(self, airflow: str, application: str) -> None:
        super().__init__(name="lag", daemon=True)
        self._addresses = (airflow, application)
        self._seen: tuple[dict[Key, float], dict[Key, float]] = ({}, {})
        self._enough = threading.Event()

    def run(self) -> None:
        """Look until told to stop."""
        connections: dict[int, psycopg.Connection[Any]] = {}
        while not self._enough.wait(LOOK_SECONDS):
            for side, statement in enumerate((_AIRFLOW, _OURS)):
                try:
                    if side not in connections:
                        connections[side] = psycopg.connect(self._addresses[side], autocommit=True)
                    rows = connections[side].execute(statement).fetchall()
                except psycopg.OperationalError:  # it is away
                    connections.pop(side, None)
                    continue
                now = time.monotonic()
                for row in rows:
                    self._seen[side].setdefault(tuple(row), now)
        for connection in connections.values():
            connection.close()

    def stop(self) -> None:
        """Make an end of it."""
        self._enough.set()
        self.join()

    def lags(self, struck: Sequence[tuple[float, float]]) -> tuple[Lag, Lag]:
        """
        Return the lag of the ends that came while nothing was struck, and of all.

        :param struck: when something was struck, and when it was mended.
        """
        airflow, ours = self._seen
        every = {key: max(0.0, ours[key] - at) for key, at in airflow.items() if key in ours}
        calm = [
            lag
            for key, lag in every.items()
            if not any(began <= airflow[key] + lag and airflow[key] <= mended + _AFTERWARDS for began, mended in struck)
        ]
        return lag_of(calm), lag_of(list(every.values()))


def lag_of(lags: Sequence[float]) -> Lag:
    """Return median and 95th percentile."""
    if len(lags) < 2:
        return Lag(len(lags), *([lags[0]] * 2 if lags else (0.0, 0.0)))
    percentiles = quantiles(lags, n=100, method="inclusive")
    return Lag(len(lags), percentiles[49], percentiles[94])
