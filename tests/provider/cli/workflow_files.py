"""Workflows as a file has them, and the rows that came of one."""

from __future__ import annotations

from typing import Any

from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session

REFRESH = {"workspace": "Sales", "semantic_model": "Daily Sales"}


def task_of(task_id: str, *parents: str, **columns: Any) -> dict[str, Any]:
    return {"task_id": task_id, "task_type": "power_bi_refresh", "config": REFRESH, "depends_on": list(parents), **columns}


def workflow_of(workflow_id: str, *tasks: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"workflow_id": workflow_id, "tasks": list(tasks), **columns}


def stored_rows() -> Any:
    with read_session() as session:
        return read_definitions(session)
