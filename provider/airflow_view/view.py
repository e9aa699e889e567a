"""What is asked of Airflow to tell people of it; how it is asked is another module's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

#: Most runs and task instances that one question is answered with.
MOST = 100

#: What is told of a task instance.
TASK_INSTANCE = (
    *("dag_id", "dag_run_id", "task_id", "map_index", "try_number", "state"),
    *("pool", "queue", "executor", "start_date", "end_date", "queued_when"),
)


def occupying(deferred: bool) -> list[str]:
    """Return the states in which a task instance has a slot of its pool."""
    return ["queued", "running", *(["deferred"] if deferred else [])]


@dataclass(frozen=True)
class DagState:
    """
    What Airflow knows of a DAG.

    :param stale: no file defines it any more.
    """

    paused: bool
    stale: bool
    running: int


class AirflowView(Protocol):
    """What is asked of Airflow."""

    #: For people: how it is asked.
    told: str

    def health(self) -> Mapping[str, Any]:
        """Return what ``GET /api/v2/monitor/health`` says."""

    def dag(self, dag_id: str) -> DagState | None:
        """Return what Airflow knows of a DAG; None where it knows none."""

    def clock(self) -> datetime | None:
        """Return Airflow's time, cut to seconds; None where it is not told."""


class RunsView(AirflowView, Protocol):
    """What is asked of Airflow about runs, too."""

    def run(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """Return ``state`` of a DAG run, by the name that the API has for it; None where there is no such run."""

    def task_instances(self, dag_id: str, run_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the task instances of a run, as the API shows them: the keys of :data:`TASK_INSTANCE`."""

    def active_runs(self, dag_id: str) -> Sequence[str]:
        """Return the ids of the DAG's runs that run, :data:`MOST` at most."""

    def pool(self, name: str) -> Mapping[str, Any] | None:
        """Return ``slots``, ``occupied_slots`` and ``include_deferred`` of a pool; None where there is no such pool."""

    def occupants(self, pool: str, *, deferred: bool) -> Sequence[Mapping[str, Any]]:
        """
        Return the task instances that have a slot of a pool, :data:`MOST` at most, as the API shows them.

        :param deferred: the pool counts deferred ones, too.
        """

    def reasons(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Sequence[str]:
        """Return what Airflow itself says keeps a task from being queued; empty where it is not told."""
