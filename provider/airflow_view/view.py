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
    *("pool", "pool_slots", "queue", "executor", "start_date", "end_date", "queued_when"),
)


def occupying(deferred: bool) -> list[str]:
    """Return the states in which a task instance has a slot of its pool."""
    return ["queued", "running", *(["deferred"] if deferred else [])]


@dataclass(frozen=True)
class DagState:
    """
    What Airflow knows of a DAG.

    :param stale: no file defines it any more.
    :param running: how many of its runs run.
    :param max_active_runs: how many may; None where that is not told.
    """

    paused: bool
    stale: bool
    running: int
    max_active_runs: int | None = None


@dataclass(frozen=True)
class NextTry:
    """
    When a task that has failed is due again.

    :param exact: False where Airflow does not tell by how much its pauses grow: it is due then at the earliest.
    """

    at: datetime
    exact: bool


@dataclass(frozen=True)
class Waiting:
    """
    A task that has put itself off, again and again.

    :param since: when its try looked first.
    :param again_at: when it looks next.
    """

    since: datetime
    again_at: datetime


@dataclass(frozen=True)
class TaskBefore:
    """
    The same task in the run before, by logical date.

    :param run_id: that run.
    :param states: of its task instances there; empty where there are none, though an earlier run has some.
    """

    run_id: str
    states: Sequence[str | None]


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

    #: Whether whoever asks may see all workflows, and so what a problem says of others.
    sees_all: bool

    def run(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """Return ``state`` of a DAG run, by the name that the API has for it; None where there is no such run."""

    def task_instances(self, dag_id: str, run_id: str) -> Sequence[Mapping[str, Any]]:
        """Return the task instances of a run, as the API shows them: the keys of :data:`TASK_INSTANCE`."""

    def active_runs(self, dag_id: str) -> Sequence[str]:
        """Return the ids of the DAG's runs that run, :data:`MOST` at most."""

    def pool(self, name: str) -> Mapping[str, Any] | None:
        """Return ``slots``, ``occupied_slots`` and ``include_deferred`` of a pool; None where there is no such pool."""

    def occupants(
        self,
        pool: str | None,
        *,
        deferred: bool,
        dag_id: str | None = None,
        run_id: str | None = None,
        task_id: str | None = None,
        most: int = MOST,
    ) -> Sequence[Mapping[str, Any]]:
        """
        Return the task instances that have a slot of a pool, as the API shows them.

        :param pool: None for all pools.
        :param deferred: the pool counts deferred ones, too.
        :param dag_id: only those of this DAG; as they are bounded, others would take their places.
        :param run_id: only those of this run of it.
        :param task_id: only those of this task of it.
        :param most: how many at most.
        """

    def task_before(self, dag_id: str, run_id: str, task_id: str, *, scheduled: bool) -> TaskBefore | None:
        """
        Return what a task is in the run before, for which ``depends_on_past`` lets it wait; None where it waits for none.

        None as well for a run of a backfill, of which the first one waits for nothing, and the API does not tell which that is.

        :param scheduled: the workflow catches up, so runs that somebody started do not count.
        """

    def reasons(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Sequence[str]:
        """Return what Airflow itself says keeps a task from being queued; empty where it is not told."""

    def import_errors(self, dag_id: str) -> Sequence[Mapping[str, Any]]:
        """
        Return ``filename`` and ``stack_trace`` of DAG files that cannot be imported, :data:`MOST` at most.

        Of the file that has defined a DAG; where Airflow has never seen that DAG, of all files.
        """

    def next_try(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> NextTry | None:
        """Return when a task instance that waits for its retry is due; None where it is not told."""

    def waiting(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Waiting | None:
        """Return since when a task instance that is up for reschedule waits; None where it is not told."""
