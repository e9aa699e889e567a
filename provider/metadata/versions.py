"""
Versions of definitions: what every import leaves, so that there is a way back, and a trace of what people meant.

Whatever is lost from the tables without a version may be an accident; the DAG factory treats it as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypedDict

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from provider.metadata.advisory_locks import AdvisoryLock, hold
from provider.metadata.tables import WorkflowVersion
from provider.metadata.workflow_rows import CONFIRMED, FOUND, Entry, digest

#: So many versions of a workflow are kept.
KEPT = 50


class Version(TypedDict):
    """A version; ``rows`` is None for one that deleted the workflow."""

    version: int
    workflow_id: str
    created_at: datetime
    created_by: str
    action: str
    rows: Entry | None


def one_at_a_time(session: Session) -> None:
    """Let no other import write until this transaction ends, so that a later version also is a later commit."""
    hold(session, AdvisoryLock.DEFINITIONS)


def record(session: Session, action: str, entries: Mapping[str, Entry | None], *, by: str) -> None:
    """
    Leave a version of each workflow, and sweep those that are too old, in the caller's transaction.

    :param entries: workflow id → its rows; None where it was deleted.
    :param by: who did it.
    """
    if not entries:
        return
    now = datetime.now(UTC)
    rows = [
        {
            "workflow_id": workflow_id,
            "created_at": now,
            "created_by": by,
            "action": action,
            "rows": entry,
            "digest": None if entry is None else digest(entry),
        }
        for workflow_id, entry in sorted(entries.items())
    ]
    session.execute(insert(WorkflowVersion), rows)
    sweep(session)


def record_found(session: Session, entries: Mapping[str, Entry], *, by: str) -> None:
    """Leave a version of what an import finds, where that came by SQL: it is the only way back to it."""
    newest = _newest_digests(session)
    found = {workflow_id: entry for workflow_id, entry in entries.items() if newest.get(workflow_id) != digest(entry)}
    record(session, FOUND, found, by=by)


def confirm(session: Session, *, by: str) -> None:
    """Record that what is lost from the tables was meant to go."""
    session.execute(delete(WorkflowVersion).where(WorkflowVersion.action == CONFIRMED))
    row = {"workflow_id": "", "created_at": datetime.now(UTC), "created_by": by, "action": CONFIRMED}
    session.execute(insert(WorkflowVersion), [row])


def history(session: Session, workflow_id: str) -> list[Version]:
    """Return the versions of a workflow, newest first."""
    statement = (
        select(WorkflowVersion)
        .where(WorkflowVersion.workflow_id == workflow_id, WorkflowVersion.action != CONFIRMED)
        .order_by(WorkflowVersion.version.desc())
    )
    return [
        {
            "version": found.version,
            "workflow_id": found.workflow_id,
            "created_at": found.created_at,
            "created_by": found.created_by,
            "action": found.action,
            "rows": found.rows,  # type: ignore[typeddict-item]  # what record() wrote
        }
        for found in session.scalars(statement)
    ]


def sweep(session: Session) -> None:
    """
    Delete the versions of each workflow beyond its newest :data:`KEPT`.

    Each import does it, and the triggerer on its clock.
    """
    crowded = select(WorkflowVersion.workflow_id).group_by(WorkflowVersion.workflow_id).having(func.count() > KEPT)
    rank = func.row_number().over(partition_by=WorkflowVersion.workflow_id, order_by=WorkflowVersion.version.desc())
    # Only of workflows that have too many: there may be thousands of others.
    ranked = select(WorkflowVersion.version, rank.label("rank")).where(WorkflowVersion.workflow_id.in_(crowded)).subquery()
    session.execute(
        delete(WorkflowVersion).where(WorkflowVersion.version.in_(select(ranked.c.version).where(ranked.c.rank > KEPT)))
    )


def _newest_digests(session: Session) -> dict[str, str | None]:
    newest = select(func.max(WorkflowVersion.version)).group_by(WorkflowVersion.workflow_id)
    statement = select(WorkflowVersion.workflow_id, WorkflowVersion.digest).where(WorkflowVersion.version.in_(newest))
    return {workflow_id: found for workflow_id, found in session.execute(statement)}  # noqa: C416 - rows are no pairs
