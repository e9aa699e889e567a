"""The task of which rows name something of the installed packages, and what becomes of it."""

from __future__ import annotations

from typing import Any

from dag_factory.rehearsal import rehearse_foreign
from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from dag_factory.workflow_dag import build_dag
from tests.dag_factory.definitions import Rows

TASK = "dim_date"


def told(rows: Rows) -> list[str]:
    """Return what commands and the parse say."""
    validated = validate(rows.definitions())
    return [str(one) for one in validated.problems or rehearse_foreign(validated.workflows.values())]


def made(rows: Rows) -> Any:
    """Return the task as the parse makes it."""
    return build_dag(validate(rows.definitions()).workflows["calendar"], task_types()).get_task(TASK)
