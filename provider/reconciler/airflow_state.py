"""
What Airflow has committed of the runs of workflows: plain data, and the reader that it comes from.

Where it is read is the reader's own affair; the rest of the reconciler only knows :class:`AirflowState`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from provider.airflow_internals.audit_log import PersonAct, SchedulerEnd
from provider.hooks.remote_job import RemoteCallError
from provider.metadata.states import ERROR

#: Statuses of Airflow's API, or none, that say nothing of the run that was asked for.
_UNREACHABLE = frozenset({None, 401, 403, 408, 429, 502, 503, 504})

#: (dag_id, run_id), which are (workflow_id, batch_id).
RunKey = tuple[str, str]


@dataclass(frozen=True)
class TryState:
    """
    One row of ``task_instance`` or ``task_instance_history``.

    :param try_number: as stored; 0 for a task instance that was never scheduled.
    :param live: whether it is the task instance itself and not its history.
    :param max_tries: what a person's clear raises and a retry keeps.
    """

    task_id: str
    map_index: int
    try_number: int
    state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime | None
    live: bool
    max_tries: int = 0


@dataclass(frozen=True)
class RemoteJobState:
    """
    What a task instance's ledger says of its remote job, see :class:`provider.operators.job_ledger.JobLedger`.

    :param tries: try number as text → ``{"id", "url"}``.
    :param job: handle of the latest job.
    :param intent: what finds a job that was started and not recorded.
    :param running: whether the task has not seen its end.
    :param chain: ``max_tries`` of the tries that wrote this.
    :param service: ``{"name", "conn_id"}`` of the service that runs it; None where nobody is to cancel it.
    """

    tries: Mapping[str, Any]
    job: Mapping[str, Any] | None = None
    intent: Mapping[str, Any] | None = None
    running: bool = False
    chain: int | None = None
    service: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class LeftText:
    """
    What a task's process has left of its error or skip in Airflow's task state store; see ``provider.listeners.task_process``.

    :param cause: ``TaskLog.end_cause``.
    :param status: ``TaskLog.status`` of that end.
    """

    try_number: int
    type: str | None
    message: str
    cause: str | None
    status: str = ERROR


@dataclass(frozen=True)
class TryReport:
    """
    The last end of a try that a process of Airflow has reported.

    :param state: what it reported.
    """

    at: datetime
    state: str


@dataclass(frozen=True)
class RunState:
    """
    One DAG run with all its tries.

    :param created_at: None where the reader cannot tell.
    :param run_after: when Airflow was to start it. It never changes, and tells a run from a deleted one with the same id.
    :param acts: what people did to it and its tasks, by Airflow's audit log, oldest first.
    :param scheduler_ends: (task_id, map_index, try_number) → why the scheduler ended a try whose process said nothing.
    :param jobs: (task_id, map_index) → its remote jobs.
    :param texts: (task_id, map_index) → what its process could not write to the application database.
    """

    dag_id: str
    run_id: str
    state: str | None
    run_type: str
    triggered_by: str | None
    conf: Mapping[str, Any]
    run_after: datetime
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    tries: tuple[TryState, ...]
    acts: tuple[PersonAct, ...] = ()
    scheduler_ends: Mapping[tuple[str, int, int], SchedulerEnd] = field(default_factory=dict)
    jobs: Mapping[tuple[str, int], RemoteJobState] = field(default_factory=dict)
    texts: Mapping[tuple[str, int], LeftText] = field(default_factory=dict)

    @property
    def key(self) -> RunKey:
        """What names the run."""
        return (self.dag_id, self.run_id)

    @property
    def ended(self) -> bool:
        """Whether it will not go on by itself."""
        return self.state in ("success", "failed")


class AirflowState(Protocol):
    """A look at Airflow's committed state. Good for a moment: take a new one for each pass."""

    def workflow_ids(self) -> list[str]:
        """Return the DAGs that have ever had a ``start_batch`` of StartBatchOperator."""

    def changed_runs(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Return the runs of these DAGs whose own row changed since then."""

    def runs_with_changed_tasks(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Return the runs of these DAGs with a task instance that changed since then. This may take long."""

    def load_runs(self, keys: Iterable[RunKey]) -> dict[RunKey, RunState]:
        """Read runs whole; a run that does not exist is not in the answer."""

    def has_run(self, key: RunKey, run_after: datetime) -> bool:
        """Ask anew whether the run with this id is the one that was to start then; another one may have its id meanwhile."""

    def last_report(self, key: RunKey, attempt: TryState) -> TryReport | None:
        """Return the last end that a task's process or the scheduler reported of a try; None where neither did."""

    def acts_on_runs(self, dag_id: str, run_ids: Collection[str], since: datetime) -> Mapping[str, tuple[PersonAct, ...]]:
        """Return run id → what people did to the run and its tasks since then, oldest first; also of deleted runs."""

    def parents_of_run(self, key: RunKey) -> Mapping[str, Collection[str]]:
        """Return task id → ids of its direct parents, by the DAG version of that run; empty where it is gone."""

    def operator_of_task(self, key: RunKey, task_id: str) -> Mapping[str, Any] | None:
        """Return the templated parameters of a task's operator as its DAG has them; None where that is gone."""


#: Opens a reader of Airflow's state, for a ``with`` statement.
OpenAirflow = Callable[[], AbstractContextManager[AirflowState]]


@dataclass(frozen=True)
class Source:
    """
    Where Airflow's state is read, and what of it how often.

    :param search_pause: how many times as long as a search for changed tasks took, the next one has to wait.
    :param sweep: seconds between two sweeps over everything recent.
    :param swept: runs of the sweep in one pass.
    :param idle: seconds between two passes while no batch is open; None for no more than usual.
    :param yields: whether a reconciler that reads it leaves the lead to one that reads a better source.
    :param forget: called when it is not known what changed since the last look; what is kept of that is true no more.
    """

    open: OpenAirflow
    search_pause: float
    sweep: float
    swept: int
    idle: float | None = None
    yields: bool = False
    forget: Callable[[], None] = lambda: None


def database_source() -> Source:
    """Return Airflow's own database, for processes that have it."""
    # A person can change a task of a finished run, and no index finds it. So the search may take 2 % of the time.
    return Source(read_airflow, search_pause=50.0, sweep=300.0, swept=200)


@contextmanager
def read_airflow() -> Iterator[AirflowState]:
    """
    Open a reader of Airflow's database, for a ``with`` statement.

    Only for processes that have it: the reconciler's and ``airflow dags test``.
    """
    # Here and nowhere else, because it brings SQLAlchemy and Airflow's models.
    from provider.reconciler.airflow_database import DatabaseReader

    with DatabaseReader.opened() as database:
        yield database


def is_unreachable(error: Exception) -> bool:
    """Tell whether Airflow's API could not be asked at all; other errors can be the fault of one run."""
    return isinstance(error, RemoteCallError) and error.status_code in _UNREACHABLE
