"""The handle of a remote job that may still run, for runs that Airflow has forgotten"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_RUNNING = sa.text("remote_job IS NOT NULL")


def upgrade() -> None:
    op.add_column("task_logs", sa.Column("remote_job", sa.JSON(), nullable=True))
    op.create_index("ix_task_logs_remote_job", "task_logs", ["updated_at"], sqlite_where=_RUNNING, postgresql_where=_RUNNING)


def losses(connection: sa.Connection) -> list[str]:
    running = connection.scalar(sa.text("SELECT count(*) FROM task_logs WHERE remote_job IS NOT NULL"))
    return [f"of task_logs the column remote_job: how to end {running} remote jobs whose runs may be deleted"]


def downgrade() -> None:
    op.drop_index("ix_task_logs_remote_job", table_name="task_logs")
    op.drop_column("task_logs", "remote_job")
