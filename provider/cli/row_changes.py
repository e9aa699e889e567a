"""What an import changes, row by row: the table, the row's key, and the columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from dag_factory.definition_file import without_defaults
from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.rows import DefinitionRows

#: Rows by the key of their table.
_Rows = Mapping[str, dict[str, Any]]


def row_changes(old: DefinitionRows, new: DefinitionRows) -> tuple[str, ...]:
    """
    Return a line for each row of one workflow that is added (``+``), changed (``~``) or removed (``-``).

    A column that is left out is the same as one with its default.
    """
    return (
        *_compare("workflows", _keyed(old.workflows, "workflow_id"), _keyed(new.workflows, "workflow_id"), WorkflowOptions),
        *_compare("tasks", _keyed(old.tasks, "task_id"), _keyed(new.tasks, "task_id"), TaskSpec),
        *(f"+ task_dependencies row {edge}" for edge in sorted(_edges(new) - _edges(old))),
        *(f"- task_dependencies row {edge}" for edge in sorted(_edges(old) - _edges(new))),
    )


def _compare(table: str, old: _Rows, new: _Rows, model: type[BaseModel]) -> list[str]:
    lines = [f"+ {table} row {key}" for key in sorted(new.keys() - old.keys())]
    for key in sorted(old.keys() & new.keys()):
        before, after = without_defaults(old[key], model), without_defaults(new[key], model)
        columns = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if columns:
            lines.append(f"~ {table} row {key}: {', '.join(columns)}")
    return [*lines, *(f"- {table} row {key}" for key in sorted(old.keys() - new.keys()))]


def _keyed(rows: list[dict[str, Any]], key: str) -> _Rows:
    return {row[key]: row for row in rows}


def _edges(rows: DefinitionRows) -> set[str]:
    return {f"{row['parent_id']} → {row['child_id']}" for row in rows.dependencies}
