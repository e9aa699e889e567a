"""Alerts: who is told of what, and what was told"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "alert_rules",
        sa.Column("rule_id", sa.String(length=250), nullable=False),
        sa.Column("workflow_id", sa.String(length=250), nullable=True),
        sa.Column("task_id", sa.String(length=250), nullable=True),
        sa.Column("events", sa.String(length=100), nullable=False),
        sa.Column("notifier", sa.String(length=250), nullable=False),
        sa.Column("config", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("from_time", sa.String(length=5), nullable=True),
        sa.Column("at_time", sa.String(length=5), nullable=True),
        sa.Column("days", sa.String(length=30), nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=True),
        sa.Column("factor", sa.Float(), nullable=True),
        sa.Column("quiet_hours", sa.String(length=11), nullable=True),
        sa.Column("group_seconds", sa.Integer(), server_default="30", nullable=False),
        sa.Column(
            "enabled",
            sa.Boolean(create_constraint=True, name=op.f("ck_alert_rules_enabled")),
            server_default=sa.text("true"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.current_timestamp(), nullable=False),
        sa.Column("in_force_as", sa.String(length=64), nullable=True),
        sa.Column("in_force_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("rule_id", name=op.f("pk_alert_rules")),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("rule_id", sa.String(length=250), nullable=False),
        sa.Column("event_id", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=20), nullable=False),
        sa.Column("workflow_id", sa.String(length=250), nullable=False),
        sa.Column("batch_id", sa.String(length=250), nullable=True),
        sa.Column("task_id", sa.String(length=250), nullable=True),
        sa.Column("map_index", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("details", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("rule_id", "event_id", name="uq_alerts_event"),
    )
    op.create_index("ix_alerts_due", "alerts", ["state", "due_at"])
    op.create_index("ix_alerts_created_at", "alerts", ["created_at"])


def losses(connection: sa.Connection) -> list[str]:
    count = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in ("alert_rules", "alerts")}  # noqa: S608
    return [f"the table {name} with {rows} rows" for name, rows in count.items()]


def downgrade() -> None:
    op.drop_table("alerts")
    op.drop_table("alert_rules")
