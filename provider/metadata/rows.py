"""
Rows as they are handed to and from the queries of this package, for callers that have no SQLAlchemy.

Keys of the ``TypedDict``s are the columns of :mod:`provider.metadata.tables`; all timestamps have a zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NotRequired, TypedDict

#: (workflow_id, batch_id) of a TaskBatch.
BatchKey = tuple[str, str]

#: (task_id, map_index, try_number) of a TaskLog within its batch.
TryKey = tuple[str, int, int]

#: (workflow_id, batch_id, task_id) of a task that a message tells of.
TaskKey = tuple[str, str, str]

#: How long a claimed request is left to its claimer, in seconds. Starting it twice would do no harm, but is work for nothing.
CLAIM_SECONDS = 120.0


class TaskLogRow(TypedDict):
    """
    One try of one task instance, as it is written.

    ``map_index`` is -1 for a task that is not mapped. ``config`` is known to the task process alone, and ``remote_job`` is the
    reconciler's to write.
    """

    workflow_id: str
    batch_id: str
    task_id: str
    map_index: int
    try_number: int
    status: str
    airflow_state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    error_type: str | None
    error_message: str | None
    end_cause: str | None
    ended_by: str | None
    remote_job_id: str | None
    remote_job_url: str | None
    row_source: str
    remote_job: NotRequired[dict[str, Any] | None]
    config: NotRequired[dict[str, Any] | None]


class StoredTaskLog(TaskLogRow):
    """A row of ``task_logs``, whole."""

    updated_at: datetime


class TaskBatchRow(TypedDict):
    """What Airflow says of a DAG run, as it is written. The scope of a batch is ``start_batch``'s to write."""

    workflow_id: str
    batch_id: str
    status: str
    airflow_state: str | None
    source: str | None
    params: dict[str, Any] | None
    message_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None
    end_cause: str | None
    ended_by: str | None
    run_after: datetime | None


class StoredTaskBatch(TaskBatchRow):
    """A row of ``task_batches``, whole."""

    start_task_ids: list[str] | None
    scope: str | None
    scope_task_ids: list[str] | None
    updated_at: datetime


class StoredRequest(TypedDict):
    """A row of ``batch_requests`` without its payload."""

    id: int
    subscription: str
    message_id: str
    part: int
    kind: str
    state: str
    reason: str | None
    payload_bytes: int
    payload_sha256: str | None
    attributes: dict[str, Any]
    workflow_id: str | None
    batch_id: str | None
    task_id: str | None
    start_task_ids: list[str] | None
    scope: str | None
    params: dict[str, Any] | None
    status: str | None
    error: str | None
    content_hash: str | None
    attempts: int
    next_attempt_at: datetime | None
    claimed_until: datetime | None
    published_at: datetime | None
    received_at: datetime
    dispatched_at: datetime | None


@dataclass(frozen=True)
class ClaimedRequest:
    """
    A claimed request: what is needed to start its batch.

    :param kind: ``start``, ``completion`` or ``file``.
    :param task_id: the task that the message names; None for a file.
    :param start_task_ids: where the batch starts; None for the whole workflow.
    """

    id: int
    kind: str
    message_id: str
    workflow_id: str
    batch_id: str
    task_id: str | None
    start_task_ids: list[str] | None
    scope: str
    params: dict[str, Any]


@dataclass(frozen=True)
class Completion:
    """
    The latest news of a task.

    :param id: of its request; a later one is larger.
    :param status: ``SUCCESS`` or ``ERROR``, and ``error`` why.
    """

    id: int
    message_id: str
    status: str
    error: str | None


def is_asset(predecessor: str) -> bool:
    """Tell whether what a workflow comes after is the URI of an asset, and not the id of a workflow."""
    return "://" in predecessor


def workflows_among(predecessors: Iterable[str]) -> list[str]:
    """Return the workflows among what a workflow comes after."""
    return [one for one in predecessors if not is_asset(one)]


@dataclass(frozen=True)
class DefinitionRows:
    """
    Rows of workflows as they are in the tables or in a file, not validated: any key may miss, any value may be anything.

    :param workflows: dicts with the columns of ``workflows``.
    :param tasks: dicts with the columns of ``tasks``.
    :param dependencies: dicts ``{"parent_id", "child_id"}``.
    """

    workflows: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    dependencies: list[dict[str, Any]] = field(default_factory=list)
