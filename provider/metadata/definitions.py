"""Reading and writing workflows, tasks and dependencies as plain rows; their meaning is the DAG factory's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, delete, func, insert, select, true, union, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import Task, TaskDependency, Workflow
from provider.metadata.workflow_rows import Shard
from provider.metadata.written_rows import IDS_AT_ONCE, boolean, columns_as_written, parsed, rows_as_written
from provider.plain_data import texts_among
from provider.texts import chunks

#: Longest text of a column with a list, ``after`` or ``outlets``, that is looked into: more than a valid row can have.
_LONGEST_LIST = 200_000


def read_definitions(session: Session, workflow_ids: Collection[str] | None = None) -> DefinitionRows:
    """
    Read all definitions, or those of some workflows, in three SELECTs, or in three for every 500 workflows.

    A JSON column whose text is no JSON, and a boolean that is none, which SQLite lets people write, come back as that text: the
    mistake of one row must not hide the others.

    :param workflow_ids: only these workflows; a task process needs no other than its own.
    """
    if workflow_ids is None:
        return _read(session, None)
    found = DefinitionRows()
    for ids in chunks(workflow_ids, IDS_AT_ONCE):
        part = _read(session, ids)
        found.workflows.extend(part.workflows)
        found.tasks.extend(part.tasks)
        found.dependencies.extend(part.dependencies)
    return found


def read_shard(session: Session, shard: Shard) -> DefinitionRows:
    """Read the definitions of the workflows of one shard."""
    if shard.count == 1:
        return read_definitions(session)
    # Tasks may have lost the row of their workflow, where no foreign key minds them.
    ids = session.scalars(union(select(Workflow.workflow_id), select(Task.workflow_id)))
    return read_definitions(session, [workflow_id for workflow_id in ids if workflow_id in shard])


def _read(session: Session, workflow_ids: Sequence[str] | None) -> DefinitionRows:
    workflows = select(*columns_as_written(Workflow.__table__)).order_by(Workflow.workflow_id)
    tasks = select(*columns_as_written(Task.__table__)).order_by(Task.task_id)
    dependencies = select(TaskDependency.__table__).order_by(TaskDependency.parent_id, TaskDependency.child_id)
    if workflow_ids is not None:
        workflows = workflows.where(Workflow.workflow_id.in_(workflow_ids))
        tasks = tasks.where(Task.workflow_id.in_(workflow_ids))
        dependencies = dependencies.join(Task, Task.task_id == TaskDependency.child_id).where(Task.workflow_id.in_(workflow_ids))

    return DefinitionRows(
        rows_as_written(session, workflows, Workflow.__table__),
        rows_as_written(session, tasks, Task.__table__),
        rows_as_written(session, dependencies, TaskDependency.__table__),
    )


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


def disabled_task_ids(session: Session, workflow_id: str) -> set[str]:
    """Return the tasks of a workflow that are switched off; a workflow that is not in the tables has none."""
    statement = select(Task.task_id, cast(Task.enabled, Text)).where(Task.workflow_id == workflow_id)
    return {task_id for task_id, enabled in session.execute(statement) if boolean(enabled) is False}


def workflow_ids(session: Session) -> set[str]:
    """Return all workflows in the tables."""
    return set(session.scalars(select(Workflow.workflow_id)))


def read_predecessors(session: Session, *, enabled_only: bool = False) -> dict[str, list[str]]:
    """
    Return workflow id → what it comes after (column ``after``), for all workflows that come after something.

    :param enabled_only: leave out those that are switched off, which nothing starts.
    """
    return dict(_lists(session, Workflow.workflow_id, Workflow.after, Workflow.enabled if enabled_only else true()))


def read_makers(session: Session) -> dict[str, list[str]]:
    """Return URI of an asset → the workflows whose tasks make it (column ``outlets``)."""
    found: dict[str, list[str]] = {}
    for workflow_id, uris in _lists(session, Task.workflow_id, Task.outlets, true()):
        for uri in uris:
            if workflow_id not in found.setdefault(uri, []):
                found[uri].append(workflow_id)
    return found


def _lists(
    session: Session,
    key: InstrumentedAttribute[str],
    column: InstrumentedAttribute[list[Any]],
    where: ColumnElement[bool] | InstrumentedAttribute[bool],
) -> Iterator[tuple[str, list[str]]]:
    """Yield key and texts of the rows in which a JSON column says something, in the order of their keys."""
    said = cast(column, Text)
    statement = select(key, said).where(said.notin_(("[]", "null")), func.length(said) <= _LONGEST_LIST, where)
    for name, text in session.execute(statement.order_by(key)):
        # A row that says something else is reported when it is built.
        yield name, texts_among(parsed(text))


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
    columns = (cast(Task.config, Text), cast(Workflow.default_args, Text))
    statement = select(*columns).join(Workflow, Workflow.workflow_id == Task.workflow_id)
    row = session.execute(statement.where(Task.workflow_id == workflow_id, Task.task_id == task_id)).one_or_none()
    if row is None:
        return None
    config, default_args = (parsed(text) for text in row)
    if not isinstance(config, Mapping) or not isinstance(default_args, Mapping):
        return None
    return {**default_args, **config}


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
