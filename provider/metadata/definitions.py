"""Reading and writing workflows, tasks and dependencies as plain rows; their meaning is the DAG factory's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import JSON, Text, cast, delete, insert, select
from sqlalchemy.orm import Session

from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import Task, TaskDependency, Workflow


def read_definitions(session: Session, workflow_id: str | None = None) -> DefinitionRows:
    """
    Read all definitions, or those of one workflow, in three SELECTs.

    A JSON column whose text is no JSON, which SQLite lets people write, comes back as that text: the mistake of one row must
    not hide the others.

    :param workflow_id: only this workflow; a task process needs no other.
    """
    workflows = select(*_json_as_text(Workflow.__table__)).order_by(Workflow.workflow_id)
    tasks = select(*_json_as_text(Task.__table__)).order_by(Task.task_id)
    dependencies = select(TaskDependency.__table__).order_by(TaskDependency.parent_id, TaskDependency.child_id)
    if workflow_id is not None:
        workflows = workflows.where(Workflow.workflow_id == workflow_id)
        tasks = tasks.where(Task.workflow_id == workflow_id)
        dependencies = dependencies.join(Task, Task.task_id == TaskDependency.child_id).where(Task.workflow_id == workflow_id)

    def rows(statement: Any, *json_columns: str) -> list[dict[str, Any]]:
        found = [dict(row) for row in session.execute(statement).mappings()]
        for row in found:
            row |= {name: _parsed(row[name]) for name in json_columns}
        return found

    return DefinitionRows(rows(workflows, "default_args", "params", "tags"), rows(tasks, "config"), rows(dependencies))


def replace_workflows(session: Session, definitions: DefinitionRows) -> None:
    """
    Make the given workflows what the tables say: their old tasks and edges go, other workflows stay as they are.

    Everything happens in the caller's transaction, so a refused row leaves nothing half written.

    :raises sqlalchemy.exc.IntegrityError: a task_id belongs to a workflow that is not among the given ones.
    """
    delete_workflows(session, [row["workflow_id"] for row in definitions.workflows])
    for model, rows in (
        (Workflow, definitions.workflows),
        (Task, definitions.tasks),
        (TaskDependency, definitions.dependencies),
    ):
        for group in _same_keys(rows):
            session.execute(insert(model), group)


def delete_workflows(session: Session, workflow_ids: Sequence[str]) -> None:
    """Delete workflows with their tasks and edges, in the caller's transaction; batches and task logs stay."""
    session.execute(delete(Workflow).where(Workflow.workflow_id.in_(workflow_ids)))


def disabled_task_ids(session: Session, workflow_id: str) -> set[str]:
    """Return the tasks of a workflow that are switched off; a workflow that is not in the tables has none."""
    statement = select(Task.task_id).where(Task.workflow_id == workflow_id, Task.enabled.is_(False))
    return set(session.scalars(statement))


def _json_as_text(table: Any) -> list[Any]:
    """Return a table's columns, those with JSON as the text that is stored."""
    return [cast(column, Text).label(column.name) if isinstance(column.type, JSON) else column for column in table.columns]


def _parsed(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _same_keys(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Group rows by the columns they give, so that the database's defaults fill the others."""
    groups: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(frozenset(row), []).append(dict(row))
    return groups.values()
