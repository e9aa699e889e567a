"""
What Airflow's own database says of the runs of workflows: committed states, read with a session of its own.

Only processes that have that database may use this (the reconciler's, ``airflow dags test``), and only with
``create_session(scoped=False)``: the scheduler's own session forbids commits while hooks run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from provider.operators.job_ledger import LEDGER_KEY

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

RunKey = tuple[str, str]
"""(dag_id, run_id), which are (workflow_id, batch_id)."""

_IN_LIST = 500
_REPORTED = ("success", "failed", "skipped", "upstream_failed", "fail task", "skip task")
"""Events of the audit log by which processes of Airflow end a task instance. The scheduler also writes "failed" for a try that is
followed by another."""


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
    :param watcher: ``{"classpath", "kwargs"}`` of the trigger that can cancel it.
    """

    tries: Mapping[str, Any]
    job: Mapping[str, Any] | None = None
    intent: Mapping[str, Any] | None = None
    running: bool = False
    chain: int | None = None
    watcher: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RunState:
    """
    One DAG run with all its tries.

    :param marked_at: when a person last set the state of the whole run, by Airflow's audit log; only read for failed runs.
    :param jobs: (task_id, map_index) → its remote jobs.
    """

    dag_id: str
    run_id: str
    state: str | None
    run_type: str
    triggered_by: str | None
    conf: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    marked_at: datetime | None
    tries: tuple[TryState, ...]
    jobs: Mapping[tuple[str, int], RemoteJobState] = field(default_factory=dict)

    @property
    def key(self) -> RunKey:
        return (self.dag_id, self.run_id)

    @property
    def ended(self) -> bool:
        return self.state in ("success", "failed")


def workflow_ids(session: Session) -> list[str]:
    """Return the DAGs that have ever had a ``start_batch`` of StartBatchOperator: one index look-up for each DAG."""
    from airflow.models.dag import DagModel
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    started = (
        select(TaskInstance.id)
        .where(
            TaskInstance.dag_id == DagModel.dag_id,
            TaskInstance.task_id == "start_batch",
            TaskInstance.operator == "StartBatchOperator",
        )
        .exists()
    )
    return list(session.scalars(select(DagModel.dag_id).where(started)))


def changed_runs(session: Session, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
    """Return the runs whose own row changed since then."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    statement = select(DagRun.dag_id, DagRun.run_id).where(DagRun.updated_at >= since)
    return {
        (dag_id, run_id)
        for ids in _chunks(dag_ids)
        for dag_id, run_id in session.execute(statement.where(DagRun.dag_id.in_(ids)))
    }


def runs_with_changed_tasks(session: Session, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
    """Return the runs with a task instance that changed since then; reads every task instance of these DAGs."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    statement = select(TaskInstance.dag_id, TaskInstance.run_id).where(TaskInstance.updated_at >= since).distinct()
    found: set[RunKey] = set()
    for ids in _chunks(dag_ids):
        found.update((dag_id, run_id) for dag_id, run_id in session.execute(statement.where(TaskInstance.dag_id.in_(ids))))
    return found


def load_runs(session: Session, keys: Iterable[RunKey]) -> dict[RunKey, RunState]:
    """Read runs whole, in four SELECTs for each DAG; a run that does not exist is not in the answer."""
    by_dag: dict[str, list[str]] = defaultdict(list)
    for dag_id, run_id in keys:
        by_dag[dag_id].append(run_id)
    loaded: dict[RunKey, RunState] = {}
    for dag_id, run_ids in by_dag.items():
        for chunk in _chunks(run_ids):
            loaded.update({run.key: run for run in _load(session, dag_id, chunk)})
    return loaded


def _load(session: Session, dag_id: str, run_ids: list[str]) -> Iterator[RunState]:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    runs = session.execute(
        select(
            DagRun.run_id,
            DagRun.state,
            DagRun.run_type,
            DagRun.triggered_by,
            DagRun.conf,
            DagRun.created_at,
            DagRun.run_after,
            DagRun.start_date,
            DagRun.end_date,
        ).where(DagRun.dag_id == dag_id, DagRun.run_id.in_(run_ids))
    ).all()
    tries = _tries(session, dag_id, run_ids)
    jobs = _jobs(session, dag_id, run_ids)
    marked = _marked(session, dag_id, [run.run_id for run in runs if run.state == "failed"])
    for run in runs:
        yield RunState(
            dag_id=dag_id,
            run_id=run.run_id,
            state=_text(run.state),
            run_type=str(_text(run.run_type)),
            triggered_by=_text(run.triggered_by),
            conf=run.conf if isinstance(run.conf, Mapping) else {},
            created_at=run.created_at or run.run_after,
            started_at=run.start_date,
            ended_at=run.end_date,
            marked_at=marked.get(run.run_id),
            tries=tuple(tries[run.run_id]),
            jobs=jobs[run.run_id],
        )


def _tries(session: Session, dag_id: str, run_ids: list[str]) -> dict[str, list[TryState]]:
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from sqlalchemy import select

    found: dict[str, list[TryState]] = defaultdict(list)
    for model in (TaskInstanceHistory, TaskInstance):
        rows = session.execute(
            select(
                model.run_id,
                model.task_id,
                model.map_index,
                model.try_number,
                model.state,
                model.start_date,
                model.end_date,
                model.updated_at,
                model.max_tries,
            )
            .where(model.dag_id == dag_id, model.run_id.in_(run_ids))
            .order_by(model.task_id, model.map_index, model.try_number)
        )
        for run_id, task_id, map_index, try_number, state, started_at, ended_at, updated_at, max_tries in rows:
            values = (task_id, map_index, try_number, _text(state), started_at, ended_at, updated_at)
            found[run_id].append(TryState(*values, live=model is TaskInstance, max_tries=max_tries or 0))
    return found


def _jobs(session: Session, dag_id: str, run_ids: list[str]) -> dict[str, dict[tuple[str, int], RemoteJobState]]:
    """Read the operators' ledgers; a store kept elsewhere just has none here."""
    from airflow.models.task_state_store import TaskStateStoreModel as Store
    from sqlalchemy import select

    found: dict[str, dict[tuple[str, int], RemoteJobState]] = defaultdict(dict)
    rows = session.execute(
        select(Store.run_id, Store.task_id, Store.map_index, Store.value).where(
            Store.dag_id == dag_id, Store.run_id.in_(run_ids), Store.key == LEDGER_KEY
        )
    )
    for run_id, task_id, map_index, value in rows:
        try:
            ledger = json.loads(value)
        except ValueError:
            continue
        if isinstance(ledger, dict):
            found[run_id][(task_id, map_index)] = RemoteJobState(
                tries=_mapping(ledger, "tries") or {},
                job=_mapping(ledger, "job"),
                intent=_mapping(ledger, "intent"),
                running=ledger.get("outcome") == "running",
                chain=ledger.get("chain") if isinstance(ledger.get("chain"), int) else None,
                watcher=_mapping(ledger, "watcher"),
            )
    return found


def _mapping(entry: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    value = entry.get(key)
    return value if isinstance(value, Mapping) else None


def _marked(session: Session, dag_id: str, run_ids: list[str]) -> dict[str, datetime]:
    """Return when a person last set each run's state. Airflow keeps this in its audit log and nowhere else."""
    from airflow.models.log import Log
    from sqlalchemy import func, select

    if not run_ids:
        return {}
    statement = (
        select(Log.run_id, func.max(Log.dttm))
        .where(Log.dag_id == dag_id, Log.run_id.in_(run_ids), Log.event == "patch_dag_run")
        .group_by(Log.run_id)
    )
    return {str(run_id): at for run_id, at in session.execute(statement) if at is not None}


def ended_by_a_person(session: Session, key: RunKey, attempt: TryState) -> bool:
    """
    Tell whether a person, and neither the task nor the scheduler, gave an ended task instance its state.

    Airflow writes the states that processes report to its audit log, together with the state, and what people do, as well.
    A person's mark on one task can reach others, of which the log then says nothing.
    """
    from airflow.models.log import Log
    from sqlalchemy import func, or_, select

    of_run = (Log.dag_id == key[0], Log.run_id == key[1])
    reported = session.execute(
        select(Log.dttm, Log.event)
        .where(
            *of_run,
            Log.task_id == attempt.task_id,
            or_(Log.map_index == attempt.map_index, Log.map_index.is_(None)),
            Log.try_number == attempt.try_number,
            Log.event.in_(_REPORTED),
        )
        .order_by(Log.dttm.desc())
        .limit(1)
    ).one_or_none()
    if reported is None or reported.event != attempt.state:
        return True
    acted = session.scalar(
        select(func.max(Log.dttm)).where(
            *of_run, Log.event.like("patch_%"), or_(Log.task_id == attempt.task_id, Log.task_id.is_(None))
        )
    )
    return acted is not None and acted > reported.dttm


def parents_of_run(session: Session, key: RunKey) -> Mapping[str, Collection[str]]:
    """Return task id → ids of its direct parents, by the DAG version of that run; empty where it is gone."""
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    run = session.scalar(select(DagRun).where(DagRun.dag_id == key[0], DagRun.run_id == key[1]))
    dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session) if run is not None else None
    return {} if dag is None else {task.task_id: task.upstream_task_ids for task in dag.tasks}


def _text(value: Any) -> str | None:
    return None if value is None else str(getattr(value, "value", value))


def _chunks(values: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _IN_LIST):
        yield ordered[start : start + _IN_LIST]
