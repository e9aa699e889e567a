"""Airflow as its own database shows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from provider.airflow_view.view import MOST, TASK_INSTANCE, DagState, NextTry, TaskBefore, Waiting, occupying


class DatabaseView:
    """By Airflow's own database."""

    sees_all = True

    told = "by its database"
    #: Ids of the DAGs of which task instances may be named; None for all. The query knows, so that others take no places.
    named: Collection[str] | None = None

    def health(self) -> Mapping[str, Any]:
        """Read the heartbeats."""
        from provider.airflow_internals.health import airflow_health

        return airflow_health()

    def dag(self, dag_id: str) -> DagState | None:
        """Read the DAG and its running runs."""
        from sqlalchemy import func, select

        from provider.airflow_internals.database import DagModel, DagRun, airflow_session

        with airflow_session() as session:
            columns = (DagModel.is_paused, DagModel.is_stale, DagModel.max_active_runs)
            found = session.execute(select(*columns).where(DagModel.dag_id == dag_id)).one_or_none()
            if found is None:
                return None
            running = select(func.count()).select_from(DagRun).where(DagRun.dag_id == dag_id, DagRun.state == "running")
            return DagState(found.is_paused, found.is_stale, session.scalar(running) or 0, found.max_active_runs)

    def clock(self) -> datetime | None:
        """Nothing tells it."""
        return None

    def run(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """Read the run."""
        from sqlalchemy import select

        from provider.airflow_internals.database import DagRun, airflow_session

        with airflow_session() as session:
            found = session.execute(select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one_or_none()
            return None if found is None else {"state": found[0]}

    def task_instances(self, dag_id: str, run_id: str) -> Sequence[Mapping[str, Any]]:
        """Read the task instances."""
        from provider.airflow_internals.database import TaskInstance

        return _task_instances(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)

    def active_runs(self, dag_id: str) -> Sequence[str]:
        """Read the runs."""
        from sqlalchemy import select

        from provider.airflow_internals.database import DagRun, airflow_session

        with airflow_session() as session:
            statement = select(DagRun.run_id).where(DagRun.dag_id == dag_id, DagRun.state == "running").limit(MOST)
            return list(session.scalars(statement))

    def pool(self, name: str) -> Mapping[str, Any] | None:
        """Read the pool, and what is in it."""
        from provider.airflow_internals.pools import pool_slots

        return pool_slots(name)

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
        """Read the task instances."""
        from provider.airflow_internals.database import TaskInstance

        asked = {"pool": pool, "dag_id": dag_id, "run_id": run_id, "task_id": task_id}
        only = [getattr(TaskInstance, name) == value for name, value in asked.items() if value is not None]
        if self.named is not None:
            only.append(TaskInstance.dag_id.in_(self.named))
        return _task_instances(TaskInstance.state.in_(occupying(deferred)), *only, limit=most)

    def task_before(self, dag_id: str, run_id: str, task_id: str, *, scheduled: bool) -> TaskBefore | None:
        """Read the run before, as the scheduler does, and the task in it."""
        from sqlalchemy import select

        from provider.airflow_internals.database import DagRun, TaskInstance, airflow_session

        with airflow_session() as session:
            this = select(DagRun.logical_date, DagRun.run_type).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
            found = session.execute(this).one_or_none()
            if found is None or found.logical_date is None or found.run_type == "backfill":
                return None
            earlier = (DagRun.dag_id == dag_id, DagRun.logical_date < found.logical_date)
            counted = (DagRun.run_type != "manual",) if scheduled else ()
            runs = select(DagRun.run_id).where(*earlier, *counted).order_by(DagRun.logical_date.desc()).limit(1)
            before = session.scalar(runs)
            if before is None:
                return None
            same = (TaskInstance.dag_id == dag_id, TaskInstance.task_id == task_id)
            states = session.scalars(select(TaskInstance.state).where(*same, TaskInstance.run_id == before)).all()
            ever = select(TaskInstance.run_id).where(*same, TaskInstance.run_id.in_(select(DagRun.run_id).where(*earlier)))
            if not states and session.scalar(ever.limit(1)) is None:
                return None
            return TaskBefore(before, states)

    def reasons(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Sequence[str]:  # noqa: ARG002
        """Nothing tells them."""
        return ()

    def import_errors(self, dag_id: str) -> Sequence[Mapping[str, Any]]:
        """Read the errors of the DAG's file."""
        from sqlalchemy import select

        from provider.airflow_internals.database import DagModel, ParseImportError, airflow_session

        errors = select(ParseImportError.filename, ParseImportError.stacktrace.label("stack_trace"))
        file = select(DagModel.relative_fileloc, DagModel.bundle_name).where(DagModel.dag_id == dag_id)
        with airflow_session() as session:
            known = session.execute(file).one_or_none()
            if known is not None:
                errors = errors.where(ParseImportError.filename == known[0], ParseImportError.bundle_name == known[1])
            statement = errors.order_by(ParseImportError.filename).limit(MOST)
            return [dict(row) for row in session.execute(statement).mappings()]

    def next_try(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> NextTry | None:
        """Let Airflow compute it."""
        from provider.airflow_internals.database import airflow_session, next_retry

        with airflow_session() as session:
            at = next_retry(session, dag_id, run_id, task_id, map_index)
        return None if at is None else NextTry(at, exact=True)

    def waiting(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Waiting | None:
        """Read when it has put itself off."""
        from sqlalchemy import func, select

        from provider.airflow_internals.database import TaskInstance, TaskReschedule, airflow_session

        statement = (
            select(func.min(TaskReschedule.start_date), func.max(TaskReschedule.reschedule_date))
            .join(TaskInstance, TaskInstance.id == TaskReschedule.ti_id)
            .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
            .where(TaskInstance.task_id == task_id, TaskInstance.map_index == map_index)
        )
        with airflow_session() as session:
            since, again_at = session.execute(statement).one()
        return None if since is None else Waiting(since, again_at)


def _task_instances(*conditions: Any, limit: int | None = None) -> list[Mapping[str, Any]]:
    """Return task instances by the names that the API has for their columns."""
    from sqlalchemy import select

    from provider.airflow_internals.database import TaskInstance, airflow_session

    named = {"dag_run_id": "run_id", "queued_when": "queued_dttm"}
    columns = [getattr(TaskInstance, named.get(name, name)).label(name) for name in TASK_INSTANCE]
    with airflow_session() as session:
        return [dict(row) for row in session.execute(select(*columns).where(*conditions).limit(limit)).mappings()]
