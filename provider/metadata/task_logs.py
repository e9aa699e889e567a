"""TaskLog rows: begun by ``start_batch``, filled in by the task's own process, set right by the reconciler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, not_, or_
from sqlalchemy.orm import Session

from provider.metadata.record_tables import TaskLog
from provider.metadata.rows import BatchKey, TaskLogRow, TryKey
from provider.metadata.states import (
    BLOCKED,
    ENDS,
    ERROR,
    NEW,
    PROCESSING,
    RANK_OF_END,
    RANKS,
    SCOPE,
    SKIPPED,
    SUCCESS,
    UNFINISHED,
)
from provider.metadata.upsert import upsert


def add_first_tries(
    session: Session, workflow_id: str, batch_id: str, task_ids: Sequence[str], skipped: Mapping[str, str]
) -> None:
    """
    Add a row for the first try of each task, unless it is there.

    Whoever calls this has locked the batch, see :func:`~provider.metadata.batches.lock_batches`.

    :param skipped: task id → reason, of those that will not run.
    """
    now = datetime.now(UTC)
    rows = [
        {
            "workflow_id": workflow_id,
            "batch_id": batch_id,
            "task_id": task_id,
            "map_index": -1,
            "try_number": 1,
            "status": SKIPPED if task_id in skipped else NEW,
            "error_message": skipped.get(task_id),
            "end_cause": SCOPE if task_id in skipped else None,
            "row_source": "start_batch",
            "updated_at": now,
        }
        for task_id in task_ids
    ]
    upsert(session, TaskLog, [row for row in rows if row["status"] == NEW], update=())
    # The reconciler may have been faster; why a task will be skipped is known only here.
    upsert(
        session,
        TaskLog,
        [row for row in rows if row["status"] == SKIPPED],
        update=("status", "error_message", "end_cause", "updated_at"),
        where=lambda _excluded: TaskLog.status == NEW,
    )


def record_tries(session: Session, rows: Sequence[TaskLogRow], *, authoritative: bool) -> None:
    """
    Write TaskLog rows; for several at once lock their batches first, see :func:`~provider.metadata.batches.lock_batches`.

    :param rows: all with the same keys.
    :param authoritative: True for the reconciler, which has read Airflow's committed state and may overwrite anything but a
        known error message and remote job. False for a task process: its row only moves NEW → PROCESSING → an end.
    """
    if not rows:
        return
    key = {column.name for column in TaskLog.__table__.primary_key}
    upsert(
        session,
        TaskLog,
        [{**row, "updated_at": datetime.now(UTC)} for row in rows],
        update=[column for column in (*rows[0], "updated_at") if column not in key],
        rules={
            "error_type": _of_failure,
            "error_message": _of_failure,
            "end_cause": _of_end,
            "ended_by": _of_end,
            "remote_job_id": _new_or_stored,
            "remote_job_url": _new_or_stored,
            "remote_job": _while_it_runs,
            "config": _new_or_stored,
            "row_source": _of_row,
        },
        where=None if authoritative else _moves_forward,
    )


def delete_tries(session: Session, run: BatchKey, tries: Sequence[TryKey], *, unchanged_since: datetime) -> None:
    """
    Delete TaskLog rows of one run.

    :param tries: (task_id, map_index, try_number) of each.
    :param unchanged_since: a row that was written later stays.
    """
    for task_id, map_index, try_number in tries:
        session.execute(
            delete(TaskLog).where(
                TaskLog.workflow_id == run[0],
                TaskLog.batch_id == run[1],
                TaskLog.task_id == task_id,
                TaskLog.map_index == map_index,
                TaskLog.try_number == try_number,
                TaskLog.updated_at <= unchanged_since,
            )
        )


# What becomes of a row that is there already. *excluded* is the proposed row: see provider.metadata.upsert.


def _rank(status: Any) -> ColumnElement[int]:
    return case(dict(RANKS), value=status, else_=RANK_OF_END)


def _moves_forward(excluded: Any) -> ColumnElement[bool]:
    new, old = excluded["status"], TaskLog.status
    # What there is to say of a success, the reconciler knows: whoever ended it, its process may go on for a while.
    unexplained = and_(new == old, TaskLog.error_message.is_(None), _rank(new) == RANK_OF_END, new != SUCCESS)
    # Blocked or skipped before it ever began, and cleared since: Airflow begins it under the same number.
    began = and_(old.in_((BLOCKED, SKIPPED)), TaskLog.started_at.is_(None), excluded["started_at"].is_not(None))
    return or_(began, _rank(new) > _rank(old), and_(new == PROCESSING, old == PROCESSING), unexplained)


def _new_or_stored(column: str, excluded: Any) -> ColumnElement[Any]:
    return func.coalesce(excluded[column], getattr(TaskLog, column))


def _while_it_runs(column: str, excluded: Any) -> ColumnElement[Any]:
    """Keep the job that the process has told of: a reconciler may have looked before it was started, and write afterwards."""
    return case((excluded["status"].in_(UNFINISHED), _new_or_stored(column, excluded)), else_=excluded[column])


def _says_of_this_life() -> ColumnElement[bool]:
    """Whether a row has not ended, or its own process wrote it last: it says nothing of an end before the task was cleared."""
    return or_(TaskLog.status.in_(UNFINISHED), TaskLog.row_source == "task")


def _of_end(column: str, excluded: Any) -> ColumnElement[Any]:
    """
    Keep who and what ended a try where the proposed row does not know; a try that lives has not been ended.

    What its own process says of its end comes before Airflow stops calling the try queued or running, and stays until then.
    """
    known = excluded["end_cause"].is_not(None)
    stored = getattr(TaskLog, column)
    kept = case((TaskLog.status == excluded["status"], stored), else_=None)
    lives = case((_says_of_this_life(), stored), else_=None)
    return case((excluded["status"].in_(UNFINISHED), lives), (known, excluded[column]), else_=kept)


def _of_failure(column: str, excluded: Any) -> ColumnElement[Any]:
    """
    Keep what the task process has said of its failure.

    It knows the exception, and tells it seconds before Airflow stops calling the try running; whoever comes later has only a
    general remark. A try that succeeds or begins anew has none; but a reconciler that takes its time may have looked before the
    try began, and write after it ended.
    """
    stored, new, status = getattr(TaskLog, column), excluded[column], excluded["status"]
    other_end = or_(
        and_(TaskLog.status.in_(ENDS), status.in_(ENDS), TaskLog.status != status),
        and_(status == SKIPPED, TaskLog.error_type.is_not(None)),  # said of a failure before Airflow stopped calling it running
    )
    before_a_clear = and_(status == PROCESSING, not_(_says_of_this_life()))
    return case(
        (or_(other_end, before_a_clear), new),
        (status == BLOCKED, func.coalesce(new, stored)),  # only the reconciler knows by what, and it may change
        (or_(status.in_((PROCESSING, ERROR, SKIPPED)), _looked_before(excluded)), func.coalesce(stored, new)),
        else_=None,
    )


def _of_row(column: str, excluded: Any) -> ColumnElement[Any]:
    """Let a row stay the task process's, whatever a reconciler writes of it that looked before, and however often it does."""
    return case((_looked_before(excluded), getattr(TaskLog, column)), else_=excluded[column])


def _looked_before(excluded: Any) -> ColumnElement[bool]:
    """Tell whether a try that has told of itself is said not to have begun yet."""
    return and_(excluded["status"] == NEW, TaskLog.row_source == "task")
