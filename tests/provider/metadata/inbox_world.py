"""What the tests of the inbox share: definitions, messages, and looks at the rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from provider import messages
from provider.metadata import definitions, inbox, request_queue
from provider.metadata.engine import read_session, write_session
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.rows import ClaimedRequest, DefinitionRows
from provider.metadata.tables import BatchRequest

SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"


def store_definitions() -> None:
    """Store the workflows ``daily_sales``, ``small`` (two batches at once), ``stock`` (disabled) and two that wait for files."""
    tasks = {
        "daily_sales": {"stg_orders": "t", "stg_customers": "t", "dq_check": "external", "refresh": "t"},
        "small": {"stg_small": "t"},
        "stock": {"stg_stock": "t"},
        "files_a": {"load_a": "t"},
        "files_b": {"load_b": "t"},
        "files_off": {"load_off": "t"},
    }
    options: dict[str, dict[str, Any]] = {
        "small": {"max_active_batches": 2},
        "stock": {"enabled": False},
        "files_a": {"file_pattern": "gs://landing/sales/*.csv"},
        "files_b": {"file_pattern": "gs://landing/**/*.csv"},
        "files_off": {"file_pattern": "gs://landing/**", "enabled": False},
    }
    edges = [("stg_orders", "refresh"), ("stg_customers", "refresh"), ("dq_check", "refresh")]
    rows = DefinitionRows(
        workflows=[{"workflow_id": workflow_id, **options.get(workflow_id, {})} for workflow_id in tasks],
        tasks=[
            {"task_id": task_id, "workflow_id": workflow_id, "task_type": task_type}
            for workflow_id, types in tasks.items()
            for task_id, task_type in types.items()
        ],
        dependencies=[{"parent_id": parent, "child_id": child} for parent, child in edges],
    )
    with write_session() as session:
        definitions.replace_workflows(session, rows)


def message(message_id: str, **fields: Any) -> InboxMessage:
    return messages.read(json.dumps(fields).encode(), {"origin": "test"}, message_id, datetime(2024, 3, 16, tzinfo=UTC))


def receive(*received: InboxMessage, subscription: str = SUBSCRIPTION) -> dict[str, int]:
    with write_session() as session:
        return dict(inbox.receive(session, subscription, received))


def rows() -> list[BatchRequest]:
    with read_session() as session:
        return list(session.scalars(select(BatchRequest).order_by(BatchRequest.id)))


def claim(**kwargs: Any) -> list[ClaimedRequest]:
    with write_session() as session:
        return request_queue.claim(session, **kwargs)


def next_due() -> datetime | None:
    with read_session() as session:
        return request_queue.next_due_at(session)
