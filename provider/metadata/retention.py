"""What is deleted of old batches and alerts, and never of those that have not ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, func, select, tuple_

from provider.exceptions import AcceleratorError
from provider.metadata.engine import read_session, write_session
from provider.metadata.record_tables import TaskBatch, TaskLog
from provider.metadata.states import ALERT_WAITING, UNFINISHED
from provider.metadata.tables import Alert

#: Batches deleted in one transaction, so that nobody waits long for the database.
AT_ONCE = 200

#: The reconciler looks back so far, and would write younger ones anew.
YOUNGEST = timedelta(days=8)


@dataclass(frozen=True)
class Cleaned:
    """How many rows were deleted, or would be."""

    batches: int = 0
    tries: int = 0
    alerts: int = 0


def clean(before: datetime, *, dry_run: bool = False) -> Cleaned:
    """
    Delete batches that ended before a time, with their tries, and alerts that were raised before it.

    :param before: with a zone.
    :param dry_run: only count.
    :raises AcceleratorError: it is not long enough ago.
    """
    newest = datetime.now(UTC) - YOUNGEST
    if before > newest:
        raise AcceleratorError(
            f"batches are deleted from {YOUNGEST.days} days after their end on, since the reconciler would write younger ones "
            f"anew; give a time before {newest:%Y-%m-%d}."
        )
    if dry_run:
        return _count(before)
    batches = tries = 0
    while True:
        with write_session() as session:
            keys = [tuple(key) for key in session.execute(_ended(before).limit(AT_ONCE))]
            key = (TaskBatch.workflow_id, TaskBatch.batch_id)
            # Meanwhile somebody may have cleared a task of one.
            gone = delete(TaskBatch).where(tuple_(*key).in_(keys), *_ended_before(before)).returning(*key)
            deleted = [tuple(key) for key in session.execute(gone)]
            of_batches = tuple_(TaskLog.workflow_id, TaskLog.batch_id).in_(deleted)
            tries += session.scalar(select(func.count()).select_from(TaskLog).where(of_batches)) or 0
            session.execute(delete(TaskLog).where(of_batches))
        batches += len(deleted)
        if len(keys) < AT_ONCE:
            return Cleaned(batches, tries, _clean_alerts(before))


def _clean_alerts(before: datetime) -> int:
    """Delete alerts that do not wait."""
    deleted = 0
    while True:
        with write_session() as session:
            ids = session.scalars(select(Alert.id).where(*_old_alerts(before)).order_by(Alert.id).limit(AT_ONCE)).all()
            # Meanwhile somebody may have let one be sent once more.
            gone = session.scalars(delete(Alert).where(Alert.id.in_(ids), *_old_alerts(before)).returning(Alert.id)).all()
        deleted += len(gone)
        if len(ids) < AT_ONCE:
            return deleted


def _old_alerts(before: datetime) -> tuple[ColumnElement[bool], ...]:
    return Alert.created_at < before, Alert.state != ALERT_WAITING


def _ended(before: datetime) -> Select[str, str]:
    return select(TaskBatch.workflow_id, TaskBatch.batch_id).where(*_ended_before(before)).order_by(TaskBatch.ended_at)


def _ended_before(before: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return TaskBatch.ended_at < before, TaskBatch.status.not_in(UNFINISHED)


def _count(before: datetime) -> Cleaned:
    with read_session() as session:
        keys = _ended(before).order_by(None).subquery()
        batches = session.scalar(select(func.count()).select_from(keys)) or 0
        same = (TaskLog.workflow_id == keys.c.workflow_id) & (TaskLog.batch_id == keys.c.batch_id)
        tries = session.scalar(select(func.count()).select_from(TaskLog).join(keys, same)) or 0
        alerts = session.scalar(select(func.count()).select_from(Alert).where(*_old_alerts(before))) or 0
    return Cleaned(batches, tries, alerts)
