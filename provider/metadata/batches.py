"""TaskBatch and TaskLog rows: opened by ``start_batch``, filled in by the listener, set right by the reconciler."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider.metadata.upsert import upsert

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from provider.metadata.tables import TaskBatch, TaskLog

NEW, PROCESSING, SUCCESS, ERROR, SKIPPED, BLOCKED = "NEW", "PROCESSING", "SUCCESS", "ERROR", "SKIPPED", "BLOCKED"

STATUS_OF_TASK_STATE: Mapping[str | None, str] = {
    None: NEW,
    "scheduled": NEW,
    "queued": NEW,
    "awaiting_input": PROCESSING,
    "running": PROCESSING,
    "deferred": PROCESSING,
    "up_for_reschedule": PROCESSING,
    "restarting": PROCESSING,
    "success": SUCCESS,
    "failed": ERROR,
    "up_for_retry": ERROR,
    "skipped": SKIPPED,
    "removed": SKIPPED,
    "upstream_failed": BLOCKED,
}
"""Airflow's task instance state → TaskLog.status; a state that Airflow adds later counts as PROCESSING."""

STATUS_OF_RUN_STATE: Mapping[str | None, str] = {
    None: NEW,
    "queued": NEW,
    "running": PROCESSING,
    "success": SUCCESS,
    "failed": ERROR,
}
"""Airflow's DAG run state → TaskBatch.status."""

_SOURCE_OF_RUN_TYPE = {
    "scheduled": "schedule",
    "operator_triggered": "dag",
    "asset_triggered": "asset",
    "asset_materialization": "asset",
}
_SOURCE_OF_TRIGGER = {"rest_api": "api", "operator": "dag", "timetable": "schedule"}

DISABLED_REASON = "the task is disabled"
DONE_ELSEWHERE_REASON = "done elsewhere before this batch began"
OUT_OF_SCOPE_REASON = "out of scope of this batch"
_ENDS = frozenset({SUCCESS, ERROR, SKIPPED, BLOCKED})


def run_source(run_type: str, triggered_by: str | None, *, by_message: bool) -> str:
    """
    Name what started a run: ``message``, ``test``, ``ui``, ``api``, ``cli``, ``dag``, ``schedule``, ``backfill``, ``asset``.

    :param run_type: Airflow's run type.
    :param triggered_by: Airflow's ``DagRun.triggered_by``; None where it is not known, as in a task process. What a person
        started is then ``manual``, until the reconciler says more.
    :param by_message: whether the run's conf carries the dispatcher's request.
    """
    if by_message:
        return "message"
    if triggered_by == "test":
        return "test"
    if run_type != "manual":
        return _SOURCE_OF_RUN_TYPE.get(run_type, run_type)
    return _SOURCE_OF_TRIGGER.get(triggered_by, triggered_by) if triggered_by else "manual"


def ended_otherwise(stored: str, now: str) -> bool:
    """Tell whether a try that had ended has ended otherwise, so that the reason of its first end is none of the second."""
    return stored != now and {stored, now} <= _ENDS


@dataclass(frozen=True)
class Scope:
    """
    What a batch runs.

    :param start_task_ids: where it starts; None for the whole workflow.
    :param scope: ``workflow``, ``downstream`` or ``task``.
    :param task_ids: the tasks in scope, sorted, without ``start_batch``; None for every task of the workflow.
    """

    start_task_ids: list[str] | None
    scope: str
    task_ids: list[str] | None


def stored_scope(session: Session, workflow_id: str, batch_id: str) -> Scope | None:
    """Return the scope that ``start_batch`` has stored; None where there is no such batch, or not yet a scope of it."""
    from provider.metadata.tables import TaskBatch

    batch = session.get(TaskBatch, (workflow_id, batch_id))
    if batch is None or batch.scope is None:
        return None
    return Scope(batch.start_task_ids, batch.scope, batch.scope_task_ids)


def open_batch(
    session: Session,
    workflow_id: str,
    batch_id: str,
    *,
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

    :param requested: the scope that this run asks for; a batch that has one keeps its own.
    :param all_task_ids: every task of the workflow, ``start_batch`` left out.
    :param disabled: tasks that are switched off; those in scope get a SKIPPED row that says so.
    :param done_elsewhere: tasks that a message reported as done; they are out of scope, and get a SKIPPED row that says why.
    :return: the scope that holds.
    """
    from sqlalchemy import func

    from provider.metadata.tables import TaskBatch

    def kept(column: str, excluded: Any) -> ColumnElement[Any]:
        return func.coalesce(getattr(TaskBatch, column), excluded[column])

    now = datetime.now(UTC)
    scope = stored_scope(session, workflow_id, batch_id) or requested
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
                "created_at": now,
                "started_at": now,
                "updated_at": now,
            }
        ],
        update=("source", "start_task_ids", "scope", "scope_task_ids", "params", "message_id", "updated_at"),
        rules={"source": kept},
    )
    in_scope = all_task_ids if scope.task_ids is None else scope.task_ids
    reasons = dict.fromkeys(disabled, DISABLED_REASON) | dict.fromkeys(done_elsewhere, DONE_ELSEWHERE_REASON)
    _add_first_tries(session, workflow_id, batch_id, sorted({*in_scope, *done_elsewhere}), reasons)
    return scope


def _add_first_tries(
    session: Session, workflow_id: str, batch_id: str, task_ids: Sequence[str], skipped: Mapping[str, str]
) -> None:
    """Add a row for the first try of each task, unless it is there; *skipped* is task id → reason."""
    from provider.metadata.tables import TaskLog

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
        update=("status", "error_message", "updated_at"),
        where=lambda _excluded: TaskLog.status == NEW,
    )


def lock_batches(session: Session, runs: Collection[tuple[str, str]]) -> None:
    """
    Keep others from writing several rows of these runs until the transaction ends.

    Whoever writes more than one row of a run takes its batch first, as :func:`open_batch` and :func:`record_batches` do;
    otherwise ``start_batch`` and the reconciler could each wait for a row of the other, and PostgreSQL would end one of them.

    :param runs: (workflow_id, batch_id) of each.
    """
    from sqlalchemy import select, tuple_

    from provider.metadata.tables import TaskBatch

    key = (TaskBatch.workflow_id, TaskBatch.batch_id)
    session.execute(select(*key).where(tuple_(*key).in_(sorted(runs))).order_by(*key).with_for_update()).all()


def record_tries(session: Session, rows: Sequence[Mapping[str, Any]], *, authoritative: bool) -> None:
    """
    Write TaskLog rows; for several at once lock their batches first, see :func:`lock_batches`.

    :param rows: dicts with the key columns, ``status``, ``airflow_state``, ``started_at``, ``ended_at``, ``error_type``,
        ``error_message``, ``external_id``, ``external_url``, ``row_source``; every dict with the same keys.
    :param authoritative: True for the reconciler, which has read Airflow's committed state and may overwrite anything but a
        known error message and external id. False for a task process: its row only moves NEW → PROCESSING → an end.
    """
    if not rows:
        return
    from sqlalchemy import and_, case, func, or_

    from provider.metadata.tables import TaskLog

    def rank(status: Any) -> ColumnElement[int]:
        return case({NEW: 0, PROCESSING: 1}, value=status, else_=2)

    def forward(excluded: Any) -> ColumnElement[bool]:
        new, old = excluded["status"], TaskLog.status
        unexplained = and_(new == old, TaskLog.error_message.is_(None), rank(new) == 2)
        return or_(rank(new) > rank(old), and_(new == PROCESSING, old == PROCESSING), unexplained)

    def given(column: str, excluded: Any) -> ColumnElement[Any]:
        return func.coalesce(excluded[column], getattr(TaskLog, column))

    def of_failure(column: str, excluded: Any) -> ColumnElement[Any]:
        # The task process knows the exception, and tells it seconds before Airflow stops calling the try running; whoever
        # comes later has only a general remark. A try that succeeds or begins anew has none.
        stored, new, status = getattr(TaskLog, column), excluded[column], excluded["status"]
        other_end = and_(TaskLog.status.in_(_ENDS), status.in_(_ENDS), TaskLog.status != status)
        return case(
            (other_end, new),
            (status == BLOCKED, func.coalesce(new, stored)),  # only the reconciler knows by what, and it may change
            (status.in_((PROCESSING, ERROR, SKIPPED)), func.coalesce(stored, new)),
            else_=None,
        )

    key = {column.name for column in TaskLog.__table__.primary_key}
    upsert(
        session,
        TaskLog,
        [{**row, "updated_at": datetime.now(UTC)} for row in rows],
        update=[column for column in (*rows[0], "updated_at") if column not in key],
        rules={
            "error_type": of_failure,
            "error_message": of_failure,
            "external_id": given,
            "external_url": given,
            "config": given,
        },
        where=None if authoritative else forward,
    )


def record_batches(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Write what Airflow says of DAG runs.

    :param rows: dicts with the key columns, ``status``, ``airflow_state``, ``source``, ``params``, ``created_at``,
        ``started_at``, ``ended_at``, ``error``, ``message_id``; every dict with the same keys. The scope stays as
        ``start_batch`` stored it, so do params and message.
    """
    from sqlalchemy import func

    from provider.metadata.tables import TaskBatch

    def kept(column: str, excluded: Any) -> ColumnElement[Any]:
        return func.coalesce(getattr(TaskBatch, column), excluded[column])

    upsert(
        session,
        TaskBatch,
        [{**row, "updated_at": datetime.now(UTC)} for row in rows],
        update=(
            "status",
            "airflow_state",
            "source",
            "params",
            "message_id",
            "created_at",
            "started_at",
            "ended_at",
            "error",
            "updated_at",
        ),
        rules={"params": kept, "message_id": kept},
    )


def stored_runs(
    session: Session, keys: Sequence[tuple[str, str]]
) -> tuple[dict[tuple[str, str], dict[tuple[str, int, int], TaskLog]], dict[tuple[str, str], TaskBatch]]:
    """
    Read what is stored of some runs.

    :param keys: (workflow_id, batch_id) of each.
    :return: run → (task_id, map_index, try_number) → TaskLog, and run → TaskBatch.
    """
    from sqlalchemy import select

    from provider.metadata.tables import TaskBatch, TaskLog

    logs: dict[tuple[str, str], dict[tuple[str, int, int], TaskLog]] = {}
    found: dict[tuple[str, str], TaskBatch] = {}
    for workflow_id in sorted({workflow_id for workflow_id, _batch_id in keys}):
        batch_ids = [batch_id for workflow, batch_id in keys if workflow == workflow_id]
        for start in range(0, len(batch_ids), 500):
            chunk = batch_ids[start : start + 500]
            where = (TaskBatch.workflow_id == workflow_id, TaskBatch.batch_id.in_(chunk))
            found.update(
                {(batch.workflow_id, batch.batch_id): batch for batch in session.scalars(select(TaskBatch).where(*where))}
            )
            where = (TaskLog.workflow_id == workflow_id, TaskLog.batch_id.in_(chunk))
            for log in session.scalars(select(TaskLog).where(*where)):
                logs.setdefault((workflow_id, log.batch_id), {})[(log.task_id, log.map_index, log.try_number)] = log
    return logs, found


def delete_tries(
    session: Session, run: tuple[str, str], tries: Sequence[tuple[str, int, int]], *, unchanged_since: datetime
) -> None:
    """
    Delete TaskLog rows of one run.

    :param tries: (task_id, map_index, try_number) of each.
    :param unchanged_since: a row that was written later stays.
    """
    from sqlalchemy import delete

    from provider.metadata.tables import TaskLog

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


def open_batches(session: Session) -> set[tuple[str, str]]:
    """Return (workflow_id, batch_id) of every batch that has not ended."""
    from sqlalchemy import select

    from provider.metadata.tables import TaskBatch

    statement = select(TaskBatch.workflow_id, TaskBatch.batch_id).where(TaskBatch.status.in_((NEW, PROCESSING)))
    return {(workflow_id, batch_id) for workflow_id, batch_id in session.execute(statement)}


def last_written(session: Session) -> datetime | None:
    """Return when any batch was last written."""
    from sqlalchemy import func, select

    from provider.metadata.tables import TaskBatch

    return session.scalar(select(func.max(TaskBatch.updated_at)))


def end_deleted_batch(session: Session, run: tuple[str, str], reason: str) -> None:
    """End a batch whose run is gone, and every try of it that has not ended, as ERROR with this reason."""
    from sqlalchemy import update

    from provider.metadata.tables import TaskBatch, TaskLog

    lock_batches(session, [run])
    now = datetime.now(UTC)
    ended = {"status": ERROR, "airflow_state": None, "ended_at": now, "updated_at": now}
    for model, error in ((TaskBatch, "error"), (TaskLog, "error_message")):
        session.execute(
            update(model)
            .where(model.workflow_id == run[0], model.batch_id == run[1], model.status.in_((NEW, PROCESSING)))
            .values({**ended, error: reason})
        )
