"""What an import changes, row by row: the table, the row's key, and the columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from dag_factory.definition_file import without_defaults
from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.rows import DefinitionRows
from provider.plain_data import same

ADDED, CHANGED, REMOVED = "added", "changed", "removed"
_SIGNS = {ADDED: "+", CHANGED: "~", REMOVED: "-"}

#: Stands for a value that is not there: its default holds.
ABSENT = object()

#: Rows by the key of their table.
_Rows = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class RowChange:
    """
    What happens to one row.

    :param change: ``added``, ``changed`` or ``removed``.
    :param columns: of a changed row, column → its value before and after; :data:`ABSENT` for the column's default.
    """

    change: str
    table: str
    key: str
    columns: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        row = f"{_SIGNS[self.change]} {self.table} row {self.key}"
        return f"{row}: {', '.join(self.columns)}" if self.columns else row

    def values(self) -> Iterator[tuple[str, Any, Any]]:
        """
        Yield what is different, and how it was and is; of two mappings each key by itself, as ``config.sql``.

        A key that one of them has not is :data:`ABSENT` there, which is not the same as null.
        """
        for column, (before, after) in self.columns.items():
            yield from _values(column, before, after)


def _values(name: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _values(f"{name}.{key}", before.get(key, ABSENT), after.get(key, ABSENT))
    elif not same(before, after):
        yield name, before, after


def row_changes(old: DefinitionRows, new: DefinitionRows) -> tuple[RowChange, ...]:
    """
    Return each row of one workflow that is added, changed or removed.

    A column that is left out is the same as one with its default.
    """
    return (
        *_compare("workflows", _keyed(old.workflows, "workflow_id"), _keyed(new.workflows, "workflow_id"), WorkflowOptions),
        *_compare("tasks", _keyed(old.tasks, "task_id"), _keyed(new.tasks, "task_id"), TaskSpec),
        *(RowChange(ADDED, "task_dependencies", edge) for edge in sorted(_edges(new) - _edges(old))),
        *(RowChange(REMOVED, "task_dependencies", edge) for edge in sorted(_edges(old) - _edges(new))),
    )


def _compare(table: str, old: _Rows, new: _Rows, model: type[BaseModel]) -> Iterator[RowChange]:
    yield from (RowChange(ADDED, table, key) for key in sorted(new.keys() - old.keys()))
    for key in sorted(old.keys() & new.keys()):
        before, after = without_defaults(old[key], model), without_defaults(new[key], model)
        values = {name: (before.get(name, ABSENT), after.get(name, ABSENT)) for name in sorted(before.keys() | after.keys())}
        if different := {name: both for name, both in values.items() if _differ(*both)}:
            yield RowChange(CHANGED, table, key, different)
    yield from (RowChange(REMOVED, table, key) for key in sorted(old.keys() - new.keys()))


def _differ(before: Any, after: Any) -> bool:
    """Tell whether a column changes: one of JSON holds what was written, any other has one type, so that 2 is 2.0 there."""
    return not same(before, after) if isinstance(before, dict | list) else bool(before != after)


def _keyed(rows: list[dict[str, Any]], key: str) -> _Rows:
    return {row[key]: row for row in rows}


def _edges(rows: DefinitionRows) -> set[str]:
    return {f"{row['parent_id']} → {row['child_id']}" for row in rows.dependencies}
