"""How many batches of a workflow may begin now: ``workflows.max_active_batches`` less those that run or are about to."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import CTE, ColumnElement, Subquery, and_, case, func, or_, select

from provider.metadata.states import DISPATCHED, RECEIVED, UNFINISHED
from provider.metadata.tables import BatchRequest, TaskBatch, Workflow

#: How long a started batch counts as running before Airflow's state of it has been seen, in seconds: its run may be gone again.
UNSEEN_SECONDS = 600.0


def free_places(now: datetime) -> CTE:
    """
    Return workflow_id → ``free``: how many batches it may begin now; none where it is disabled.

    Batches that run are those of ``task_batches``, which the reconciler keeps, those just started, of which it does not know
    yet, and those that a dispatcher is about to start.
    """
    running = (
        select(TaskBatch.workflow_id, func.count().label("batches"))
        .where(TaskBatch.status.in_(UNFINISHED))
        .group_by(TaskBatch.workflow_id)
        .subquery()
    )
    unseen = _unseen(now)
    begun = func.coalesce(running.c.batches, 0) + func.coalesce(unseen.c.batches, 0)
    return (
        select(
            Workflow.workflow_id,
            case((Workflow.enabled.is_(False), 0), else_=Workflow.max_active_batches - begun).label("free"),
        )
        .outerjoin(running, running.c.workflow_id == Workflow.workflow_id)
        .outerjoin(unseen, unseen.c.workflow_id == Workflow.workflow_id)
        .cte("free_places")
        # Without this PostgreSQL would count anew for each request that waits.
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _unseen(now: datetime) -> Subquery:
    """Count the requests of each workflow whose batches the reconciler has not seen: just started, or about to be."""
    just_started: ColumnElement[bool] = and_(
        BatchRequest.state == DISPATCHED, BatchRequest.dispatched_at > now - timedelta(seconds=UNSEEN_SECONDS)
    )
    about_to_start = and_(BatchRequest.state == RECEIVED, BatchRequest.claimed_until > now)
    return (
        select(BatchRequest.workflow_id, func.count().label("batches"))
        .outerjoin(
            TaskBatch,
            and_(TaskBatch.workflow_id == BatchRequest.workflow_id, TaskBatch.batch_id == BatchRequest.batch_id),
        )
        .where(or_(just_started, about_to_start), TaskBatch.batch_id.is_(None))
        .group_by(BatchRequest.workflow_id)
        .subquery()
    )
