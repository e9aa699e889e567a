"""Completion messages, files that start several workflows, claims that count against max_active_batches"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_STARTS = sa.text("state IN ('received', 'dispatched')")
_STARTS_BEFORE = sa.text("kind IN ('start', 'file') AND state IN ('received', 'dispatched')")
_COLUMNS = ("part", "start_task_ids", "status", "error", "claimed_until")


def upgrade() -> None:
    with op.batch_alter_table("batch_requests") as batch_op:
        batch_op.add_column(sa.Column("part", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("start_task_ids", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("status", sa.String(length=20), nullable=True))
        batch_op.add_column(sa.Column("error", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_index("uq_batch_requests_start")
        batch_op.drop_constraint("uq_batch_requests_message", type_="unique")
        batch_op.create_unique_constraint("uq_batch_requests_message", ["subscription", "message_id", "part"])
    _tell_waiting_requests_where_they_start()
    op.create_index(
        "uq_batch_requests_start",
        "batch_requests",
        ["workflow_id", "batch_id"],
        unique=True,
        sqlite_where=_STARTS,
        postgresql_where=_STARTS,
    )
    op.create_index("ix_batch_requests_dispatched_at", "batch_requests", ["dispatched_at"])
    op.create_index("ix_batch_requests_completion", "batch_requests", ["workflow_id", "batch_id", "task_id", "kind"])


def _tell_waiting_requests_where_they_start() -> None:
    requests = sa.table(
        "batch_requests",
        sa.column("id", sa.Integer),
        sa.column("state", sa.String),
        sa.column("task_id", sa.String),
        sa.column("start_task_ids", sa.JSON),
    )
    connection = op.get_bind()
    waiting = connection.execute(sa.select(requests.c.id, requests.c.task_id).where(requests.c.state == "received"))
    for request_id, task_id in waiting.all():
        connection.execute(requests.update().where(requests.c.id == request_id).values(start_task_ids=[task_id]))


def hindrances(connection: sa.Connection) -> list[str]:
    waiting = connection.scalar(sa.text("SELECT count(*) FROM batch_requests WHERE state = 'received' AND kind <> 'start'"))
    return [f"{waiting} waiting rows of batch_requests are of files and completions"] if waiting else []


def losses(connection: sa.Connection) -> list[str]:
    parts = connection.scalar(sa.text("SELECT count(*) FROM batch_requests WHERE part > 0"))
    ends = connection.scalar(sa.text("SELECT count(*) FROM batch_requests WHERE status IS NOT NULL OR error IS NOT NULL"))
    return [
        f"{parts} rows of batch_requests: the second and further workflows that a file started",
        f"status and error of {ends} rows of batch_requests: how tasks elsewhere ended",
        "of batch_requests the columns part, start_task_ids and claimed_until: where requests start, and who is at work on them",
    ]


def downgrade() -> None:
    op.execute("DELETE FROM batch_requests WHERE part > 0")
    for index in ("uq_batch_requests_start", "ix_batch_requests_dispatched_at", "ix_batch_requests_completion"):
        op.drop_index(index, table_name="batch_requests")
    with op.batch_alter_table("batch_requests") as batch_op:
        batch_op.drop_constraint("uq_batch_requests_message", type_="unique")
        for column in _COLUMNS:
            batch_op.drop_column(column)
        batch_op.create_unique_constraint("uq_batch_requests_message", ["subscription", "message_id"])
    op.create_index(
        "uq_batch_requests_start",
        "batch_requests",
        ["workflow_id", "batch_id"],
        unique=True,
        sqlite_where=_STARTS_BEFORE,
        postgresql_where=_STARTS_BEFORE,
    )
