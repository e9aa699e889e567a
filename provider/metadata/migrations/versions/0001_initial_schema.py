"""Initial schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _boolean(constraint: str) -> sa.Boolean:
    return sa.Boolean(create_constraint=True, name=op.f(constraint))


def upgrade() -> None:
    op.create_table(
        "batch_requests",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("subscription", sa.String(length=500), nullable=False),
        sa.Column("message_id", sa.String(length=250), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("payload_bytes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("payload_sha256", sa.String(length=64), nullable=True),
        sa.Column("attributes", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("workflow_id", sa.String(length=250), nullable=True),
        sa.Column("batch_id", sa.String(length=250), nullable=True),
        sa.Column("task_id", sa.String(length=250), nullable=True),
        sa.Column("scope", sa.String(length=20), nullable=True),
        sa.Column("params", sa.JSON(), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch_requests")),
        sa.UniqueConstraint("subscription", "message_id", name="uq_batch_requests_message"),
    )
    with op.batch_alter_table("batch_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_batch_requests_state"), ["state"], unique=False)
        batch_op.create_index(
            "uq_batch_requests_start",
            ["workflow_id", "batch_id"],
            unique=True,
            sqlite_where=sa.text("kind IN ('start', 'file') AND state IN ('received', 'dispatched')"),
            postgresql_where=sa.text("kind IN ('start', 'file') AND state IN ('received', 'dispatched')"),
        )

    op.create_table(
        "task_batches",
        sa.Column("workflow_id", sa.String(length=250), nullable=False),
        sa.Column("batch_id", sa.String(length=250), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="NEW", nullable=False),
        sa.Column("airflow_state", sa.String(length=30), nullable=True),
        sa.Column("source", sa.String(length=30), nullable=True),
        sa.Column("start_task_ids", sa.JSON(), nullable=True),
        sa.Column("scope", sa.String(length=20), nullable=True),
        sa.Column("scope_task_ids", sa.JSON(), nullable=True),
        sa.Column("params", sa.JSON(), nullable=True),
        sa.Column("message_id", sa.String(length=250), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("end_cause", sa.String(length=30), nullable=True),
        sa.Column("ended_by", sa.String(length=250), nullable=True),
        sa.Column("run_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", name=op.f("pk_task_batches")),
    )
    with op.batch_alter_table("task_batches", schema=None) as batch_op:
        batch_op.create_index("ix_task_batches_created_at", ["created_at"], unique=False)
        batch_op.create_index("ix_task_batches_status", ["status"], unique=False)

    op.create_table(
        "task_logs",
        sa.Column("workflow_id", sa.String(length=250), nullable=False),
        sa.Column("batch_id", sa.String(length=250), nullable=False),
        sa.Column("task_id", sa.String(length=250), nullable=False),
        sa.Column("map_index", sa.Integer(), server_default="-1", autoincrement=False, nullable=False),
        sa.Column("try_number", sa.Integer(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("status", sa.String(length=20), server_default="NEW", nullable=False),
        sa.Column("airflow_state", sa.String(length=30), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_type", sa.String(length=250), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("end_cause", sa.String(length=30), nullable=True),
        sa.Column("ended_by", sa.String(length=250), nullable=True),
        sa.Column("remote_job_id", sa.String(length=1000), nullable=True),
        sa.Column("remote_job_url", sa.Text(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=True),
        sa.Column("row_source", sa.String(length=20), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "batch_id", "task_id", "map_index", "try_number", name=op.f("pk_task_logs")),
    )
    with op.batch_alter_table("task_logs", schema=None) as batch_op:
        batch_op.create_index("ix_task_logs_status", ["status"], unique=False)

    op.create_table(
        "leader_leases",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("holder", sa.String(length=250), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("current_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leader_leases")),
    )
    op.create_table(
        "workflows",
        sa.Column("workflow_id", sa.String(length=250), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("schedule", sa.String(length=200), nullable=True),
        sa.Column("timezone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column("start_date", sa.String(length=40), nullable=True),
        sa.Column(
            "catchup",
            _boolean("ck_workflows_catchup"),
            server_default=sa.text("(false)"),
            nullable=False,
        ),
        sa.Column(
            "enabled",
            _boolean("ck_workflows_enabled"),
            server_default=sa.text("(true)"),
            nullable=False,
        ),
        sa.Column("max_active_batches", sa.Integer(), server_default="16", nullable=False),
        sa.Column("default_args", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("params", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("tags", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=True),
        sa.Column("file_pattern", sa.String(length=1000), nullable=True),
        sa.Column("file_min_size", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("workflow_id", name=op.f("pk_workflows")),
    )
    op.create_table(
        "tasks",
        sa.Column("task_id", sa.String(length=250), nullable=False),
        sa.Column("workflow_id", sa.String(length=250), nullable=False),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("config", sa.JSON(), server_default="{}", nullable=False),
        sa.Column(
            "enabled",
            _boolean("ck_tasks_enabled"),
            server_default=sa.text("(true)"),
            nullable=False,
        ),
        sa.Column("on_parent_skip", sa.String(length=10), server_default="skip", nullable=False),
        sa.Column("retries", sa.Integer(), nullable=True),
        sa.Column("retry_delay_seconds", sa.Integer(), nullable=True),
        sa.Column("timeout_seconds", sa.Integer(), nullable=True),
        sa.Column("pool", sa.String(length=256), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("doc", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflows.workflow_id"], name=op.f("fk_tasks_workflow_id_workflows"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_tasks")),
    )
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tasks_workflow_id"), ["workflow_id"], unique=False)

    op.create_table(
        "task_dependencies",
        sa.Column("parent_id", sa.String(length=250), nullable=False),
        sa.Column("child_id", sa.String(length=250), nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"], ["tasks.task_id"], name=op.f("fk_task_dependencies_child_id_tasks"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["tasks.task_id"], name=op.f("fk_task_dependencies_parent_id_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("parent_id", "child_id", name=op.f("pk_task_dependencies")),
    )
    with op.batch_alter_table("task_dependencies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_task_dependencies_child_id"), ["child_id"], unique=False)

    op.create_table(
        "workflow_versions",
        sa.Column("version", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("workflow_id", sa.String(length=250), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=250), nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_workflow_versions")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("workflow_versions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_workflow_versions_workflow_id"), ["workflow_id"], unique=False)
