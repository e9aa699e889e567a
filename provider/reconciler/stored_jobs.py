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


def runs_of_rows(keys: Collection[RunKey], remembered: Mapping[RunKey, RunState]) -> Iterator[RunState]:
    """
    Yield runs that Airflow has forgotten, one for each remote job that the rows of their tries have.

    :param remembered: as they were when they were last seen; what they say of a job is left to them.
    """
    if not keys:
        return
    with read_session() as session:
        logs, _batches = batches.stored_runs(session, sorted(keys))
    for key, tries in logs.items():
        seen = remembered[key].jobs if key in remembered else {}
        known = {name: [jobs] for name, jobs in seen.items()}
        # A try that went on with the job of an earlier one has the same in its row.
        for (task_id, map_index, _try_number), log in sorted(tries.items(), reverse=True):
            if log.remote_job is None:
                continue
            jobs = read_ledger({**log.remote_job, "outcome": "running"})
            others = known.setdefault((task_id, map_index), [])
            if not any(_is_same(jobs, other) for other in others):
                others.append(jobs)
                yield _run(key, log, jobs)


def _is_same(one: RemoteJobState, other: RemoteJobState) -> bool:
    """Tell whether both mean the same job, or the same start of one that was never recorded."""
    if one.job is None or other.job is None:
        return one.job is other.job and one.intent == other.intent
    return one.job.get("id") == other.job.get("id")


def _run(key: RunKey, log: TaskLog, jobs: RemoteJobState) -> RunState:
    attempt = TryState(
        task_id=log.task_id,
        map_index=log.map_index,
        try_number=log.try_number,
        state=log.airflow_state,
        started_at=log.started_at,
        ended_at=log.ended_at,
        updated_at=log.updated_at,
        live=True,
    )
    return RunState(
        *key,
        state=None,
        run_type="",
        triggered_by=None,
        conf={},
        run_after=log.updated_at,
        created_at=None,
        started_at=None,
        ended_at=None,
        tries=(attempt,),
        jobs={(log.task_id, log.map_index): jobs},
    )
