"""All tables of the application database. Task processes write into those of :mod:`provider.metadata.record_tables` alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from provider.metadata.record_tables import TaskBatch as TaskBatch
from provider.metadata.record_tables import TaskLog as TaskLog
from provider.metadata.table_base import ID, checked_boolean
from provider.metadata.table_base import Base as Base
from provider.metadata.table_base import UtcDateTime as UtcDateTime
from provider.metadata.table_base import utc_now as utc_now


class Workflow(Base):
    """A workflow is a DAG: ``workflow_id`` is the ``dag_id``."""

    __tablename__ = "workflows"

    workflow_id: Mapped[str] = mapped_column(ID, primary_key=True)
    description: Mapped[str | None] = mapped_column(Text)
    schedule: Mapped[str | None] = mapped_column(String(200))
    timezone: Mapped[str] = mapped_column(String(64), server_default="UTC")
    start_date: Mapped[str | None] = mapped_column(String(40))
    end_date: Mapped[str | None] = mapped_column(String(40))
    catchup: Mapped[bool] = mapped_column(checked_boolean("catchup"), server_default=text("false"))
    enabled: Mapped[bool] = mapped_column(checked_boolean("enabled"), server_default=text("true"))
    paused_at_first: Mapped[bool] = mapped_column(checked_boolean("paused_at_first"), server_default=text("false"))
    max_active_batches: Mapped[int] = mapped_column(Integer, server_default="16")
    max_active_tasks: Mapped[int | None] = mapped_column(Integer)
    max_failed_batches: Mapped[int | None] = mapped_column(Integer)
    run_timeout_seconds: Mapped[int | None] = mapped_column(Integer)
    display_name: Mapped[str | None] = mapped_column(String(250))
    doc: Mapped[str | None] = mapped_column(Text)
    default_args: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    params: Mapped[list[Any]] = mapped_column(JSON, server_default="[]")
    tags: Mapped[list[Any]] = mapped_column(JSON, server_default="[]")
    owner: Mapped[str | None] = mapped_column(String(200))
    file_pattern: Mapped[str | None] = mapped_column(String(1000))
    file_min_size: Mapped[int | None] = mapped_column(BigInteger)
    after: Mapped[list[Any]] = mapped_column(JSON, server_default="[]")


class Task(Base):
    """A task is an operator. ``task_id`` is unique over all workflows, since a message names nothing else."""

    __tablename__ = "tasks"

    task_id: Mapped[str] = mapped_column(ID, primary_key=True)
    workflow_id: Mapped[str] = mapped_column(ForeignKey("workflows.workflow_id", ondelete="CASCADE"), index=True)
    task_type: Mapped[str] = mapped_column(String(100))
    config: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    expand: Mapped[list[Any]] = mapped_column(JSON, server_default="[]")
    enabled: Mapped[bool] = mapped_column(checked_boolean("enabled"), server_default=text("true"))
    on_parent_skip: Mapped[str] = mapped_column(String(10), server_default="skip")
    run_if: Mapped[str | None] = mapped_column(Text)
    task_group: Mapped[str | None] = mapped_column(ID)
    outlets: Mapped[list[Any]] = mapped_column(JSON, server_default="[]")
    retries: Mapped[int | None] = mapped_column(Integer)
    retry_delay_seconds: Mapped[int | None] = mapped_column(Integer)
    retry_backoff: Mapped[float | None] = mapped_column(Float)
    max_retry_delay_seconds: Mapped[int | None] = mapped_column(Integer)
    timeout_seconds: Mapped[int | None] = mapped_column(Integer)
    pool: Mapped[str | None] = mapped_column(String(256))
    pool_slots: Mapped[int | None] = mapped_column(Integer)
    priority: Mapped[int | None] = mapped_column(Integer)
    weight_rule: Mapped[str | None] = mapped_column(String(20))
    queue: Mapped[str | None] = mapped_column(String(256))
    executor: Mapped[str | None] = mapped_column(String(256))
    depends_on_past: Mapped[bool | None] = mapped_column(checked_boolean("depends_on_past"))
    max_active_tis_per_dag: Mapped[int | None] = mapped_column(Integer)
    max_active_tis_per_dagrun: Mapped[int | None] = mapped_column(Integer)
    owner: Mapped[str | None] = mapped_column(String(200))
    display_name: Mapped[str | None] = mapped_column(String(250))
    doc: Mapped[str | None] = mapped_column(Text)


class TaskDependency(Base):
    """An edge: the child runs after the parent, inside one workflow."""

    __tablename__ = "task_dependencies"

    parent_id: Mapped[str] = mapped_column(ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True)
    child_id: Mapped[str] = mapped_column(ForeignKey("tasks.task_id", ondelete="CASCADE"), primary_key=True, index=True)


class WorkflowVersion(Base):
    """What an import made of a workflow, who did it and when; or, without a workflow, that somebody confirmed a loss."""

    __tablename__ = "workflow_versions"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    workflow_id: Mapped[str] = mapped_column(ID, index=True)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(250))
    action: Mapped[str] = mapped_column(String(20))
    rows: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    digest: Mapped[str | None] = mapped_column(String(64))

    #: A number is never given twice, also after the newest row was deleted.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012


class EarlierName(Base):
    """What a workflow was called before; see :mod:`provider.metadata.renaming`."""

    __tablename__ = "earlier_names"

    workflow_id: Mapped[str] = mapped_column(ID, primary_key=True)
    earlier_id: Mapped[str] = mapped_column(ID, primary_key=True)
    renamed_at: Mapped[datetime]
    renamed_by: Mapped[str] = mapped_column(String(250))


class LeaderLease(Base):
    """Which process leads, of several that could do the same work, and as of when what it writes is complete."""

    __tablename__ = "leader_leases"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    holder: Mapped[str] = mapped_column(String(250))
    seen_at: Mapped[datetime]
    current_at: Mapped[datetime | None]


class BatchRequest(Base):
    """
    One message of the inbox, or one workflow that a file's message starts (``part``). Never changed by redelivery.

    Whatever its kind, at most one accepted request starts a (workflow_id, batch_id).
    """

    __tablename__ = "batch_requests"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    subscription: Mapped[str] = mapped_column(String(500))
    message_id: Mapped[str] = mapped_column(String(250))
    part: Mapped[int] = mapped_column(Integer, server_default="0")
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20), index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    payload_bytes: Mapped[int] = mapped_column(Integer, server_default="0")
    payload_sha256: Mapped[str | None] = mapped_column(String(64))
    attributes: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    workflow_id: Mapped[str | None] = mapped_column(ID)
    batch_id: Mapped[str | None] = mapped_column(ID)
    task_id: Mapped[str | None] = mapped_column(ID)
    start_task_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    scope: Mapped[str | None] = mapped_column(String(20))
    params: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    status: Mapped[str | None] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
    content_hash: Mapped[str | None] = mapped_column(String(64))
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_attempt_at: Mapped[datetime | None]
    claimed_until: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    dispatched_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("subscription", "message_id", "part", name="uq_batch_requests_message"),
        Index(
            "uq_batch_requests_start",
            "workflow_id",
            "batch_id",
            unique=True,
            sqlite_where=text("state IN ('received', 'dispatched')"),
            postgresql_where=text("state IN ('received', 'dispatched')"),
        ),
        Index("ix_batch_requests_dispatched_at", "dispatched_at"),
        Index("ix_batch_requests_completion", "workflow_id", "batch_id", "task_id", "kind"),
    )


class AlertRule(Base):
    """Who is told of what; what the columns may hold is :class:`provider.alerts.rules.AlertRule`."""

    __tablename__ = "alert_rules"

    rule_id: Mapped[str] = mapped_column(ID, primary_key=True)
    workflow_id: Mapped[str | None] = mapped_column(ID)
    task_id: Mapped[str | None] = mapped_column(ID)
    events: Mapped[str] = mapped_column(String(100))
    notifier: Mapped[str] = mapped_column(String(250))
    config: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    from_time: Mapped[str | None] = mapped_column(String(5))
    at_time: Mapped[str | None] = mapped_column(String(5))
    days: Mapped[str | None] = mapped_column(String(30))
    timezone: Mapped[str | None] = mapped_column(String(64))
    factor: Mapped[float | None] = mapped_column(Float)
    quiet_hours: Mapped[str | None] = mapped_column(String(11))
    group_seconds: Mapped[int] = mapped_column(Integer, server_default="30")
    enabled: Mapped[bool] = mapped_column(checked_boolean("enabled"), server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.current_timestamp())
    #: What the rule was about when the reconciler last looked, and since when.
    in_force_as: Mapped[str | None] = mapped_column(String(64))
    in_force_since: Mapped[datetime | None]
    #: Until when the reconciler has decided what is late, or has not started, by the rule's times of day.
    decided_until: Mapped[datetime | None]
    #: How many messages in a row took long, and failed, and until when nothing is sent since.
    slow_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    rests_until: Mapped[datetime | None]


class Alert(Base):
    """One thing that one rule tells of, and whether it has been sent; see :mod:`provider.alerts.outbox`."""

    __tablename__ = "alerts"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    rule_id: Mapped[str] = mapped_column(ID)
    event_id: Mapped[str] = mapped_column(String(32))
    event: Mapped[str] = mapped_column(String(20))
    workflow_id: Mapped[str] = mapped_column(ID)
    batch_id: Mapped[str | None] = mapped_column(ID)
    task_id: Mapped[str | None] = mapped_column(ID)
    map_index: Mapped[int] = mapped_column(Integer, server_default="-1")
    try_number: Mapped[int | None] = mapped_column(Integer)
    happened_at: Mapped[datetime]
    details: Mapped[dict[str, Any]] = mapped_column(JSON, server_default="{}")
    state: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("rule_id", "event_id", name="uq_alerts_event"),
        Index("ix_alerts_due", "state", "due_at"),
        Index("ix_alerts_created_at", "created_at"),
    )
