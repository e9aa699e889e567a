# ruff: noqa: TID253 - queries; the one function that opens this reader imports it when it is called
"""
The reader of Airflow's own database, with a session of its own.

Only processes that have that database may use this (the reconciler's, ``airflow dags test``). What of Airflow it reads
stands in :mod:`provider.airflow_internals.database`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self, TypeVar

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from provider.airflow_internals import audit_log, database
from provider.airflow_internals.audit_log import Entry, PersonAct
from provider.airflow_internals.database import DagModel, DagRun, Log, TaskInstance, TaskInstanceHistory
from provider.airflow_internals.database import TaskStateStoreModel as Store
from provider.reconciler import task_store
from provider.reconciler.airflow_state import LeftText, RemoteJobState, RunKey, RunState, TryReport, TryState
from provider.texts import chunks, plain

T = TypeVar("T", RemoteJobState, LeftText)

#: Longest list in a statement.
_IN_LIST = 500


class DatabaseReader:
    """:class:`provider.reconciler.airflow_state.AirflowState`, read by SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[Self]:
        """Read with a session of one's own, which ends with the block."""
        with database.airflow_session() as session:
            yield cls(session)

    def workflow_ids(self) -> list[str]:
        """Return the DAGs that have ever had a ``start_batch`` of StartBatchOperator: one index look-up for each DAG."""
        started = (
            select(TaskInstance.id)
            .where(
                TaskInstance.dag_id == DagModel.dag_id,
                TaskInstance.task_id == "start_batch",
                TaskInstance.operator == "StartBatchOperator",
            )
            .exists()
        )
        return list(self._session.scalars(select(DagModel.dag_id).where(started)))

    def changed_runs(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Return the runs whose own row changed since then."""
        statement = select(DagRun.dag_id, DagRun.run_id).where(DagRun.updated_at >= since)
        return {
            (dag_id, run_id)
            for ids in chunks(dag_ids, _IN_LIST)
            for dag_id, run_id in self._session.execute(statement.where(DagRun.dag_id.in_(ids)))
        }

    def runs_with_changed_tasks(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Return the runs with a task instance that changed since then; reads every task instance of these DAGs."""
        statement = select(TaskInstance.dag_id, TaskInstance.run_id).where(TaskInstance.updated_at >= since).distinct()
        found: set[RunKey] = set()
        for ids in chunks(dag_ids, _IN_LIST):
            found.update(
                (dag_id, run_id) for dag_id, run_id in self._session.execute(statement.where(TaskInstance.dag_id.in_(ids)))
            )
        return found

    def load_runs(self, keys: Iterable[RunKey]) -> dict[RunKey, RunState]:
        """Read runs whole, in five SELECTs for each DAG; a run that does not exist is not in the answer."""
        by_dag: dict[str, list[str]] = defaultdict(list)
        for dag_id, run_id in keys:
            by_dag[dag_id].append(run_id)
        loaded: dict[RunKey, RunState] = {}
        for dag_id, run_ids in by_dag.items():
            for chunk in chunks(run_ids, _IN_LIST):
                loaded.update({run.key: run for run in self._load(dag_id, chunk)})
        return loaded

    def last_report(self, key: RunKey, attempt: TryState) -> TryReport | None:
        """
        Return the last end that a task's process or the scheduler reported of a try; None where neither did.

        Airflow writes the states that processes report to its audit log, together with the state.
        """
        of_index = Log.map_index == attempt.map_index
        reported = self._session.execute(
            select(Log.dttm, Log.event)
            .where(
                Log.dag_id == key[0],
                Log.run_id == key[1],
                Log.task_id == attempt.task_id,
                # Entries of a task that is not mapped may have no map index.
                or_(of_index, Log.map_index.is_(None)) if attempt.map_index < 0 else of_index,
                Log.try_number == attempt.try_number,
                Log.event.in_(audit_log.ENDED_BY_AIRFLOW),
            )
            .order_by(Log.dttm.desc())
            .limit(1)
        ).one_or_none()
        return None if reported is None else TryReport(reported.dttm, reported.event)

    def has_run(self, key: RunKey, run_after: datetime) -> bool:
        """Ask anew whether the run with this id is the one that was to start then; another one may have its id meanwhile."""
        of_run = select(DagRun.run_after).where(DagRun.dag_id == key[0], DagRun.run_id == key[1])
        return self._session.scalar(of_run) == run_after

    def acts_on_runs(self, dag_id: str, run_ids: Collection[str], since: datetime) -> Mapping[str, tuple[PersonAct, ...]]:
        """Return run id → what people did to the run and its tasks since then, oldest first; also of deleted runs."""
        return audit_log.acts_of_runs(self._audit_log(dag_id, run_ids, since, audit_log.PERSON_EVENTS), dag_id, run_ids)

    def parents_of_run(self, key: RunKey) -> Mapping[str, Collection[str]]:
        """Return task id → ids of its direct parents, by the DAG version of that run; empty where it is gone."""
        return database.parents_of_run(self._session, *key)

    def operator_of_task(self, key: RunKey, task_id: str) -> Mapping[str, Any] | None:
        """Return the templated parameters of a task's operator as its DAG has them; None where that is gone."""
        return database.operator_of_task(self._session, *key, task_id)

    def _load(self, dag_id: str, run_ids: list[str]) -> Iterator[RunState]:
        runs = self._session.execute(
            select(
                DagRun.run_id,
                DagRun.state,
                DagRun.run_type,
                DagRun.triggered_by,
                DagRun.conf,
                DagRun.run_after,
                DagRun.created_at,
                DagRun.start_date,
                DagRun.end_date,
            ).where(DagRun.dag_id == dag_id, DagRun.run_id.in_(run_ids))
        ).all()
        if not runs:
            return
        tries = _tries(self._session, dag_id, run_ids)
        kept = _task_store(self._session, dag_id, run_ids)
        # Read after the states: whatever a person did was logged before it was done.
        since = min(run.created_at or run.run_after for run in runs)
        entries = self._audit_log(dag_id, run_ids, since, (*audit_log.PERSON_EVENTS, *audit_log.ENDED_BY_SCHEDULER))
        acts = audit_log.acts_of_runs(entries, dag_id, run_ids)
        ends = audit_log.ends_by_scheduler(entries)
        for run in runs:
            yield RunState(
                dag_id=dag_id,
                run_id=run.run_id,
                state=_plain(run.state),
                run_type=plain(run.run_type),
                triggered_by=_plain(run.triggered_by),
                conf=run.conf if isinstance(run.conf, Mapping) else {},
                run_after=run.run_after,
                created_at=run.created_at or run.run_after,
                started_at=run.start_date,
                ended_at=run.end_date,
                tries=tuple(tries[run.run_id]),
                acts=acts.get(run.run_id, ()),
                scheduler_ends=ends.get(run.run_id, {}),
                jobs=_of_kind(kept[run.run_id], RemoteJobState),
                texts=_of_kind(kept[run.run_id], LeftText),
            )

    def _audit_log(self, dag_id: str, run_ids: Collection[str], since: datetime, events: Collection[str]) -> list[Entry]:
        of_runs = and_(Log.dag_id == dag_id, Log.run_id.in_(list(run_ids)), Log.event.in_(list(events)))
        of_many = and_(Log.dag_id.in_((dag_id, audit_log.ALL_DAGS)), Log.event.in_(list(audit_log.WITHOUT_RUN)))
        entry = select(*(getattr(Log, column) for column in ("dttm", *Entry.__annotations__) if column != "at"))
        statement = entry.where(or_(of_runs, of_many), Log.dttm >= since).order_by(Log.dttm, Log.id)
        return [Entry(*values) for values in self._session.execute(statement)]


def _tries(session: Session, dag_id: str, run_ids: list[str]) -> dict[str, list[TryState]]:
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
            values = (task_id, map_index, try_number, _plain(state), started_at, ended_at, updated_at)
            found[run_id].append(TryState(*values, live=model is TaskInstance, max_tries=max_tries or 0))
    return found


def _task_store(session: Session, dag_id: str, run_ids: list[str]) -> dict[str, dict[tuple[str, int], list[Any]]]:
    """Read what tasks keep for the reconciler; a store kept elsewhere just has nothing here."""
    found: dict[str, dict[tuple[str, int], list[Any]]] = defaultdict(lambda: defaultdict(list))
    rows = session.execute(
        select(Store.run_id, Store.task_id, Store.map_index, Store.key, Store.value).where(
            Store.dag_id == dag_id, Store.run_id.in_(run_ids), Store.key.in_(task_store.KEYS)
        )
    )
    for run_id, task_id, map_index, key, value in rows:
        found[run_id][(task_id, map_index)].append(task_store.read_entry(key, value))
    return found


def _of_kind(entries: Mapping[tuple[str, int], list[Any]], kind: type[T]) -> dict[tuple[str, int], T]:
    return {task: entry for task, found in entries.items() for entry in found if isinstance(entry, kind)}


def _plain(value: Any) -> str | None:
    return None if value is None else plain(value)
