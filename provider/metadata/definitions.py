"""
Writing workflows, tasks and dependencies as plain rows, and questions about them; their meaning is the DAG factory's.

They are read as a whole by :mod:`provider.metadata.definition_rows`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Text, cast, delete, insert, select, update
from sqlalchemy.orm import Session

from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import Task, TaskDependency, Workflow
from provider.metadata.written_rows import IDS_AT_ONCE, parsed
from provider.texts import chunks


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
    """
    Delete workflows with their tasks and edges, in the caller's transaction; batches and task logs stay.

    Tasks that have lost the row of their workflow go as well: a client of SQLite that minds no foreign keys leaves them.
    """
    tasks = select(Task.task_id).where(Task.workflow_id.in_(workflow_ids))
    session.execute(delete(TaskDependency).where(TaskDependency.child_id.in_(tasks) | TaskDependency.parent_id.in_(tasks)))
    session.execute(delete(Task).where(Task.workflow_id.in_(workflow_ids)))
    session.execute(delete(Workflow).where(Workflow.workflow_id.in_(workflow_ids)))


def set_enabled(session: Session, workflow_id: str, task_ids: Collection[str] | None, *, enabled: bool) -> None:
    """Switch a workflow, or with *task_ids* these tasks of it, on or off, in the caller's transaction."""
    if task_ids is None:
        session.execute(update(Workflow).where(Workflow.workflow_id == workflow_id).values(enabled=enabled))
        return
    for ids in chunks(task_ids, IDS_AT_ONCE):
        session.execute(update(Task).where(Task.workflow_id == workflow_id, Task.task_id.in_(ids)).values(enabled=enabled))


def workflow_ids(session: Session) -> set[str]:
    """Return all workflows in the tables."""
    return set(session.scalars(select(Workflow.workflow_id)))


def task_ids(session: Session, workflow_id: str) -> set[str]:
    """Return all tasks of a workflow in the tables."""
    return set(session.scalars(select(Task.task_id).where(Task.workflow_id == workflow_id)))


def all_task_ids(session: Session) -> set[str]:
    """Return all tasks in the tables."""
    return set(session.scalars(select(Task.task_id)))


def task_parameters(session: Session, workflow_id: str, task_id: str) -> dict[str, Any] | None:
    """
    Return what a task's row, and for the rest its workflow's row, say of its operator's parameters.

    :return: None where there is no such task, or its rows are not what they should be.
    """
    return parameters_of_tasks(session, workflow_id, [task_id]).get(task_id)


def parameters_of_tasks(session: Session, workflow_id: str, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the same of several tasks, by their ids; without those of which there is nothing."""
    columns = (Task.task_id, cast(Task.config, Text), cast(Workflow.default_args, Text))
    statement = select(*columns).join(Workflow, Workflow.workflow_id == Task.workflow_id)
    found = {}
    for some in chunks(task_ids, IDS_AT_ONCE):
        for task_id, *texts in session.execute(statement.where(Task.workflow_id == workflow_id, Task.task_id.in_(some))):
            config, default_args = (parsed(text) for text in texts)
            if isinstance(config, Mapping) and isinstance(default_args, Mapping):
                found[task_id] = {**default_args, **config}
    return found


def _same_keys(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Group rows by the columns they give, so that the database's defaults fill the others."""
    groups: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(frozenset(row), []).append(dict(row))
    return groups.values()


def edges_of(session: Session, workflow_id: str) -> list[tuple[str, str]]:
    """Return parent and child of each edge of a workflow, as its rows are now."""
    statement = (
        select(TaskDependency.parent_id, TaskDependency.child_id)
        .join(Task, Task.task_id == TaskDependency.child_id)
        .where(Task.workflow_id == workflow_id)
        .order_by(TaskDependency.parent_id, TaskDependency.child_id)
    )
    return [(parent, child) for parent, child in session.execute(statement)]


def task_types_of(session: Session, workflow_id: str) -> dict[str, str]:
    """Return task id → type of the tasks of a workflow, as its rows are now."""
    found = session.execute(select(Task.task_id, Task.task_type).where(Task.workflow_id == workflow_id))
    return {row.task_id: row.task_type for row in found}


def limits_of(session: Session, workflow_id: str) -> dict[str, dict[str, int]]:
    """Return what limits how many tasks run at once: task id → column → number, as the rows of a workflow are now."""
    own = (Task.max_active_tis_per_dagrun, Task.max_active_tis_per_dag)
    found = session.execute(
        select(Task.task_id, *own, Workflow.max_active_tasks, cast(Workflow.default_args, Text).label("shared"))
        .join(Workflow, Workflow.workflow_id == Task.workflow_id)
        .where(Task.workflow_id == workflow_id)
    )
    limits: dict[str, dict[str, int]] = {}
    for row in found:
        written = parsed(row.shared)  # as text: the mistake of one row must not hide the others
        shared = written if isinstance(written, dict) else {}
        said = {"max_active_tasks": row.max_active_tasks}
        for column in own:
            said[column.key] = getattr(row, column.key) or shared.get(column.key)
        limits[row.task_id] = {name: value for name, value in said.items() if isinstance(value, int)}
    return limits


def waiting_for_past(session: Session, workflow_id: str) -> dict[str, bool]:
    """Return the tasks that depend on the run before, as the rows of a workflow are now: task id → whether that catches up."""
    found = session.execute(
        select(Task.task_id, Task.depends_on_past, Workflow.catchup, cast(Workflow.default_args, Text).label("shared"))
        .join(Workflow, Workflow.workflow_id == Task.workflow_id)
        .where(Task.workflow_id == workflow_id)
    )
    waiting = {}
    for row in found:
        written = parsed(row.shared)
        shared = written.get("depends_on_past") if isinstance(written, dict) else None
        if (shared if row.depends_on_past is None else row.depends_on_past) is True:
            waiting[row.task_id] = row.catchup
    return waiting
