"""
What the application database keeps of remote jobs that may still run.

Airflow forgets what it knows of a task's job together with its run. Where that is deleted while no triggerer and no reconciler
lives that has seen it, ``TaskLog.remote_job`` is all that tells how to end the job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from provider.metadata import batches
from provider.metadata.engine import read_session
from provider.metadata.record_tables import TaskLog
from provider.reconciler.airflow_state import RemoteJobState, RunKey, RunState, TryState
from provider.reconciler.job_handle import job_handle
from provider.reconciler.orphaned_jobs import OLDEST, may_run
from provider.reconciler.task_store import read_ledger


def stored_job(attempt: TryState, jobs: RemoteJobState | None) -> dict[str, Any] | None:
    """
    Return what is kept of a task instance's remote job: ``{"service", "job", "intent"}``, as in the task's ledger.

    :return: None where no job may run that is the reconciler's to end, or where that cannot be kept.
    """
    if jobs is None or not attempt.live or not may_run(jobs):
        return None
    return job_handle({"service": jobs.service, "job": jobs.job, "intent": jobs.intent})


def runs_to_look_at() -> set[RunKey]:
    """Return the runs with a job that may run, for a reconciler that remembers nothing: they may have been deleted."""
    with read_session() as session:
        return batches.runs_with_jobs(session, datetime.now(UTC) - OLDEST)


def runs_of_rows(keys: Collection[RunKey]) -> Iterator[RunState]:
    """Yield runs that Airflow has forgotten, with nothing but their remote jobs."""
    if not keys:
        return
    with read_session() as session:
        logs, _batches = batches.stored_runs(session, sorted(keys))
    for key, tries in logs.items():
        with_job = {name: log for name, log in tries.items() if log.remote_job is not None}
        if with_job:
            yield _run(key, with_job)


def _run(key: RunKey, logs: Mapping[tuple[str, int, int], TaskLog]) -> RunState:
    tries = [
        TryState(
            task_id=log.task_id,
            map_index=log.map_index,
            try_number=log.try_number,
            state=log.airflow_state,
            started_at=log.started_at,
            ended_at=log.ended_at,
            updated_at=log.updated_at,
            live=True,
        )
        for log in logs.values()
    ]
    jobs = {(log.task_id, log.map_index): read_ledger({**(log.remote_job or {}), "outcome": "running"}) for log in logs.values()}
    return RunState(
        *key,
        state=None,
        run_type="",
        triggered_by=None,
        conf={},
        run_after=min(log.updated_at for log in logs.values()),
        created_at=None,
        started_at=None,
        ended_at=None,
        tries=tuple(tries),
        jobs=jobs,
    )
