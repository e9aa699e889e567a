"""What requests wait for, where it is their workflow: written into the requests, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, case, exists, or_, select, update
from sqlalchemy.orm import Session

from provider.metadata.free_places import free_places
from provider.metadata.states import RECEIVED, WORKFLOW_DISABLED, WORKFLOW_FULL
from provider.metadata.tables import BatchRequest, Workflow


def has_wrong_reasons(session: Session) -> bool:
    """Tell whether :func:`explain_waiting` has something to write."""
    wrong, _right_reason = _wrong_reasons()
    return bool(session.scalar(select(exists().where(wrong))))


def explain_waiting(session: Session) -> None:
    """Give requests that wait for their workflow the reason, and take it from those that do not wait for it any more."""
    wrong, right_reason = _wrong_reasons()
    statement = update(BatchRequest).where(wrong).values(reason=right_reason)
    session.execute(statement.execution_options(synchronize_session=False))


def is_unclaimed() -> ColumnElement[bool]:
    """Select requests that nobody is at: the claim of one that died runs out."""
    return or_(BatchRequest.claimed_until.is_(None), BatchRequest.claimed_until <= datetime.now(UTC))


def _wrong_reasons() -> tuple[ColumnElement[bool], ColumnElement[str | None]]:
    """Return which waiting requests have a wrong reason, and what is the right one."""
    places = free_places(datetime.now(UTC))
    disabled = BatchRequest.workflow_id.in_(select(Workflow.workflow_id).where(Workflow.enabled.is_(False)))
    full = BatchRequest.workflow_id.in_(select(places.c.workflow_id).where(places.c.free <= 0))
    right_reason: ColumnElement[str | None] = case((disabled, WORKFLOW_DISABLED), (full, WORKFLOW_FULL), else_=None)
    ours = BatchRequest.reason.in_((WORKFLOW_DISABLED, WORKFLOW_FULL))
    waits_for_workflow = and_(or_(disabled, full), BatchRequest.reason.is_(None))
    # What is claimed is its claimer's, which is about to write the same rows.
    wrong = and_(
        *(BatchRequest.state == RECEIVED, is_unclaimed(), or_(ours, waits_for_workflow)),
        BatchRequest.reason.is_distinct_from(right_reason),
    )
    return wrong, right_reason
