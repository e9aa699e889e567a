"""TaskBatch rows: opened by ``start_batch``, set right by the reconciler. What its tasks did is in ``task_logs``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from provider.metadata.record_tables import TaskBatch, TaskLog
from provider.metadata.rows import BatchKey, TaskBatchRow, TryKey
from provider.metadata.states import DELETED, DISABLED_REASON, DONE_ELSEWHERE_REASON, ERROR, PROCESSING, UNFINISHED
from provider.metadata.task_logs import add_first_tries
from provider.metadata.upsert import upsert
from provider.run_conf import Scope
from provider.texts import chunks

_BATCHES_AT_ONCE = 500


def stored_scope(session: Session, workflow_id: str, batch_id: str, run_after: datetime) -> Scope | None:
    """
    Return the scope that ``start_batch`` has stored; None where there is no such batch, or not yet a scope of it.

    :param run_after: of the run; what a deleted one with the same id had is none of its own.
    """
    batch = session.get(TaskBatch, (workflow_id, batch_id))
    if batch is None or batch.scope is None or is_of_other_run(batch.run_after, run_after):
        return None
    return Scope(batch.start_task_ids, batch.scope, batch.scope_task_ids)


def is_of_other_run(stored: datetime | None, run_after: datetime | None) -> bool:
    """
    Tell whether what is stored is of another run that has, or had, the same id.

    :param stored: ``run_after`` of the batch; None where there is none, or where nobody has told yet.
    :param run_after: of the run; None where it is not known.
    """
    return None not in (stored, run_after) and stored != run_after


def forget_run(session: Session, run: BatchKey) -> None:
    """Delete the batch and the tries of a deleted run, whose id another run has now."""
    for model in (TaskBatch, TaskLog):  # the batch first, see lock_batches()
        session.execute(delete(model).where(model.workflow_id == run[0], model.batch_id == run[1]))


def open_batch(
    session: Session,
    workflow_id: str,
    batch_id: str,
    *,
    run_after: datetime,
    requested: Scope,
    source: str,
    params: Mapping[str, Any],
    message_id: str | None,
    all_task_ids: Sequence[str],
    disabled: Collection[str] = (),
    done_elsewhere: Collection[str] = (),
) -> Scope:
    """
    Create the TaskBatch row and a NEW TaskLog row for each task in scope; what is already there stays.

    :param run_after: of the run. What is there of a deleted run with the same id goes.
    :param requested: the scope that this run asks for; a batch that has one keeps its own.
    :param all_task_ids: every task of the workflow, ``start_batch`` left out.
    :param disabled: tasks that are switched off; those in scope get a SKIPPED row that says so.
    :param done_elsewhere: tasks that a message reported as done; they are out of scope, and get a SKIPPED row that says why.
    :return: the scope that holds.
    """
    now = datetime.now(UTC)
    stored = session.get(TaskBatch, (workflow_id, batch_id))
    if stored is not None and is_of_other_run(stored.run_after, run_after):
        forget_run(session, (workflow_id, batch_id))
    scope = stored_scope(session, workflow_id, batch_id, run_after) or requested
    upsert(
        session,
        TaskBatch,
        [
            {
                "workflow_id": workflow_id,
                "batch_id": batch_id,
                "status": PROCESSING,
                "airflow_state": "running",
                "source": source,
                "start_task_ids": scope.start_task_ids,
                "scope": scope.scope,
                "scope_task_ids": scope.task_ids,
                "params": dict(params),
                "message_id": message_id,
                "run_after": run_after,
                "created_at": now,
                "started_at": now,
                "updated_at": now,
            }
        ],
        update=("source", "start_task_ids", "scope", "scope_task_ids", "params", "message_id", "run_after", "updated_at"),
        rules={"source": _stored_or_new},
    )
    in_scope = all_task_ids if scope.task_ids is None else scope.task_ids
    reasons = dict.fromkeys(disabled, DISABLED_REASON) | dict.fromkeys(done_elsewhere, DONE_ELSEWHERE_REASON)
    add_first_tries(session, workflow_id, batch_id, sorted({*in_scope, *done_elsewhere}), reasons)
    return scope


def lock_batches(session: Session, runs: Collection[BatchKey], *, shared: bool = False) -> dict[BatchKey, datetime | None]:
    """
    Keep others from writing several rows of these runs until the transaction ends.

    Whoever writes more than one row of a run takes its batch first, as :func:`open_batch` and :func:`record_batches` do;
    otherwise ``start_batch`` and the reconciler could each wait for a row of the other, and PostgreSQL would end one of them.

    :param runs: (workflow_id, batch_id) of each.
    :param shared: only keep the batches from being deleted, which costs those who write other rows of them no wait.
    :return: ``run_after`` of each that is there.
    """
    # Not by the mapped class: with its first SELECT Airflow imports all of its own, which each task process would pay.
    column = TaskBatch.__table__.c
    key = (column.workflow_id, column.batch_id)
    found: dict[BatchKey, datetime | None] = {}
    # A row that was deleted and made anew, while this transaction waited for it, is seen by the next statement only.
    for _look in range(2):
        if missing := sorted(set(runs) - found.keys()):
            rows = select(*key, column.run_after).where(tuple_(*key).in_(missing)).order_by(*key)
            locked = session.execute(rows.with_for_update(read=shared, key_share=True))
            found |= {(row.workflow_id, row.batch_id): row.run_after for row in locked}
    return found


def record_batches(session: Session, rows: Sequence[TaskBatchRow]) -> None:
    """
    Write what Airflow says of DAG runs. The scope stays as ``start_batch`` stored it, so do params and message.

    A batch that has become another run's stays as it is; see :func:`forget_run` for one that is to be replaced.
    """
    key = {column.name for column in TaskBatch.__table__.primary_key}
    upsert(
        session,
        TaskBatch,
        [{**row, "updated_at": datetime.now(UTC)} for row in rows],
        update=[column for column in (*TaskBatchRow.__annotations__, "updated_at") if column not in key],
        rules={"params": _stored_or_new, "message_id": _stored_or_new},
        where=_is_of_same_run,
    )


def stored_runs(
    session: Session, keys: Sequence[BatchKey]
) -> tuple[dict[BatchKey, dict[TryKey, TaskLog]], dict[BatchKey, TaskBatch]]:
    """
    Read what is stored of some runs.

    :param keys: (workflow_id, batch_id) of each.
    :return: run → (task_id, map_index, try_number) → TaskLog, and run → TaskBatch.
    """
    logs: dict[BatchKey, dict[TryKey, TaskLog]] = {}
    found: dict[BatchKey, TaskBatch] = {}
    for workflow_id in sorted({workflow_id for workflow_id, _batch_id in keys}):
        for batch_ids in chunks([batch_id for workflow, batch_id in keys if workflow == workflow_id], _BATCHES_AT_ONCE):
            batches = select(TaskBatch).where(TaskBatch.workflow_id == workflow_id, TaskBatch.batch_id.in_(batch_ids))
            found.update({(batch.workflow_id, batch.batch_id): batch for batch in session.scalars(batches)})
            tries = select(TaskLog).where(TaskLog.workflow_id == workflow_id, TaskLog.batch_id.in_(batch_ids))
            for log in session.scalars(tries):
                logs.setdefault((workflow_id, log.batch_id), {})[(log.task_id, log.map_index, log.try_number)] = log
    return logs, found


def open_batches(session: Session) -> dict[BatchKey, datetime | None]:
    """Return (workflow_id, batch_id) of every batch that has not ended, and the ``run_after`` of each."""
    columns = (TaskBatch.workflow_id, TaskBatch.batch_id, TaskBatch.run_after)
    unfinished = select(*columns).where(TaskBatch.status.in_(UNFINISHED))
    return {(row.workflow_id, row.batch_id): row.run_after for row in session.execute(unfinished)}


def runs_with_jobs(session: Session, since: datetime) -> set[BatchKey]:
    """
    Return (workflow_id, batch_id) of the runs with a remote job that may still run.

    :param since: when such a row was last written, at the earliest.
    """
    statement = select(TaskLog.workflow_id, TaskLog.batch_id).where(TaskLog.remote_job.is_not(None), TaskLog.updated_at >= since)
    return {(workflow_id, batch_id) for workflow_id, batch_id in session.execute(statement.distinct())}


def workflow_ids(session: Session) -> set[str]:
    """Return all workflows that have a batch."""
    return set(session.scalars(select(TaskBatch.workflow_id).distinct()))


def last_written(session: Session) -> datetime | None:
    """Return when any batch was last written."""
    return session.scalar(select(func.max(TaskBatch.updated_at)))


def is_of_deleted_run(session: Session, run: BatchKey) -> bool:
    """Tell whether a batch has ended since its run was deleted: nobody will look at it again."""
    column = TaskBatch.__table__.c
    deleted = select(column.batch_id).where(column.workflow_id == run[0], column.batch_id == run[1])
    return session.scalar(deleted.where(column.end_cause == DELETED)) is not None


def end_deleted_batch(session: Session, run: BatchKey, run_after: datetime | None, reason: str, person: str | None) -> None:
    """
    End a batch whose run is gone, and every try of it that has not ended, as ERROR with this reason.

    :param run_after: of the batch when its run was looked for; where another run has begun since, nothing is ended.
    :param person: who deleted it; None where nobody knows.
    """
    if lock_batches(session, [run]).get(run) != run_after:
        return
    now = datetime.now(UTC)
    ended: dict[str, Any] = {"status": ERROR, "airflow_state": None, "ended_at": now, "updated_at": now}
    ended |= {"end_cause": DELETED, "ended_by": person}
    for model, error in ((TaskBatch, "error"), (TaskLog, "error_message")):
        session.execute(
            update(model)
            .where(model.workflow_id == run[0], model.batch_id == run[1], model.status.in_(UNFINISHED))
            .values({**ended, error: reason})
        )


def _is_of_same_run(excluded: Any) -> ColumnElement[bool]:
    return or_(TaskBatch.run_after.is_(None), TaskBatch.run_after == excluded["run_after"])


def _stored_or_new(column: str, excluded: Any) -> ColumnElement[Any]:
    """Keep what is stored; see :func:`~provider.metadata.upsert.upsert`."""
    return func.coalesce(getattr(TaskBatch, column), excluded[column])
