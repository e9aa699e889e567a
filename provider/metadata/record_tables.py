"""The tables that say what ran: ``task_batches`` and ``task_logs``. Task processes import these alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Index,
    Integer,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from provider.metadata.states import NEW
from provider.metadata.table_base import ID, Base

_JOB_MAY_RUN = text("remote_job IS NOT NULL")


class TaskBatch(Base):
    """A TaskBatch is a DAG run: ``batch_id`` is the ``run_id``."""

    __tablename__ = "task_batches"

    workflow_id: Mapped[str] = mapped_column(ID, primary_key=True)
    batch_id: Mapped[str] = mapped_column(ID, primary_key=True)
    status: Mapped[str] = mapped_column(String(20), server_default=NEW)
    airflow_state: Mapped[str | None] = mapped_column(String(30))
    source: Mapped[str | None] = mapped_column(String(30))
    start_task_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    scope: Mapped[str | None] = mapped_column(String(20))
    scope_task_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    params: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    message_id: Mapped[str | None] = mapped_column(String(250))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    end_cause: Mapped[str | None] = mapped_column(String(30))
    ended_by: Mapped[str | None] = mapped_column(String(250))
    #: With it a run is told from a deleted one of the same id.
    run_after: Mapped[datetime | None]
    updated_at: Mapped[datetime]

    __table_args__ = (Index("ix_task_batches_created_at", "created_at"), Index("ix_task_batches_status", "status"))


class TaskLog(Base):
    """One try of one task instance. ``map_index`` is -1 for a task that is not mapped."""

    __tablename__ = "task_logs"

    workflow_id: Mapped[str] = mapped_column(ID, primary_key=True)
    batch_id: Mapped[str] = mapped_column(ID, primary_key=True)
    task_id: Mapped[str] = mapped_column(ID, primary_key=True)
    map_index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, server_default="-1")
    try_number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, server_default="1")
    status: Mapped[str] = mapped_column(String(20), server_default=NEW)
    airflow_state: Mapped[str | None] = mapped_column(String(30))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error_type: Mapped[str | None] = mapped_column(String(250))
    error_message: Mapped[str | None] = mapped_column(Text)
    end_cause: Mapped[str | None] = mapped_column(String(30))
    ended_by: Mapped[str | None] = mapped_column(String(250))
    remote_job_id: Mapped[str | None] = mapped_column(String(1000))
    remote_job_url: Mapped[str | None] = mapped_column(Text)
    #: See :mod:`provider.reconciler.stored_jobs`.
    remote_job: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    config: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    row_source: Mapped[str] = mapped_column(String(20))
    updated_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_task_logs_status", "status"),
        Index("ix_task_logs_remote_job", "updated_at", sqlite_where=_JOB_MAY_RUN, postgresql_where=_JOB_MAY_RUN),
    )
