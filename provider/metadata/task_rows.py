"""What a task process reads: the rows of one task and of those next to it, without the classes of the tables."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from provider.metadata.rows import DefinitionRows
from provider.metadata.written_rows import IDS_AT_ONCE, boolean, parsed
from provider.texts import chunks

#: Columns whose stored text may be something else than what the column is for.
JSON_COLUMNS = {"workflows": ("default_args", "params", "tags", "after"), "tasks": ("config", "expand", "outlets")}
BOOLEAN_COLUMNS = {"workflows": ("catchup", "enabled", "paused_at_first"), "tasks": ("enabled", "depends_on_past")}


def read_task_rows(session: Session, workflow_id: str, task_id: str) -> DefinitionRows:
    """
    Read the row of a workflow, those of a task and of its parents and children, and the edges between them.

    They are as :func:`provider.metadata.definitions.read_definitions` gives them. What it costs does not depend on how many tasks
    the workflow has: a task process reads this each time.
    """
    edges = session.execute(
        text(
            "SELECT parent_id, child_id FROM task_dependencies WHERE parent_id = :task_id OR child_id = :task_id "
            "ORDER BY parent_id, child_id"
        ),
        {"task_id": task_id},
    )
    dependencies = [{"parent_id": parent, "child_id": child} for parent, child in edges]
    ids = {task_id, *(edge["parent_id"] for edge in dependencies), *(edge["child_id"] for edge in dependencies)}
    tasks = [row for some in chunks(ids, IDS_AT_ONCE) for row in _rows(session, "tasks", "task_id", some)]
    return DefinitionRows(
        _rows(session, "workflows", "workflow_id", [workflow_id]),
        sorted(tasks, key=lambda row: str(row["task_id"])),
        dependencies,
    )


def _rows(session: Session, table: str, key: str, values: Collection[str]) -> list[dict[str, Any]]:
    readers: dict[str, Callable[[str | None], Any]] = {
        **dict.fromkeys(JSON_COLUMNS[table], parsed),
        **dict.fromkeys(BOOLEAN_COLUMNS[table], boolean),
    }
    # Of two columns with one name the later one counts.
    as_text = ", ".join(f"CAST({name} AS TEXT) AS {name}" for name in readers)
    statement = text(f"SELECT {table}.*, {as_text} FROM {table} WHERE {key} IN :ids").bindparams(  # noqa: S608 - names of ours
        bindparam("ids", expanding=True)
    )
    result = session.execute(statement, {"ids": list(values)})
    names = list(result.keys())
    rows = [dict(zip(names, values, strict=True)) for values in result]
    return [row | {name: reader(row[name]) for name, reader in readers.items()} for row in rows]
