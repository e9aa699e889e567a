"""
Another id for a workflow, in all tables that say what is to run; and what it was called before.

The record, ``task_batches`` and ``task_logs``, keeps the id under which a batch ran. A row there is a DAG run, and Airflow has
that run under the old DAG for good. Were the rows renamed, the reconciler would find no such run under the new id, and write it
once more under the old one; links would lead nowhere; and the first scheduled run of the new DAG, which may have the run id of
the old one's last, would take the place of its row. So ``earlier_names`` says which record belongs to a workflow as well, and
who looks for its batches asks :func:`names_of`.

The inbox goes with the workflow as a whole: it says for which workflow a message is, and its unique key keeps a batch from being
started twice, also by a publisher that repeats itself after the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from provider.metadata.advisory_locks import AdvisoryLock, hold
from provider.metadata.free_places import UNSEEN_SECONDS
from provider.metadata.states import DISPATCHED, RECEIVED, UNFINISHED
from provider.metadata.tables import AlertRule, BatchRequest, EarlierName, Task, TaskBatch, TaskLog, Workflow, WorkflowVersion
from provider.metadata.workflow_rows import RENAMED, Entry, digest

#: Tables whose rows name a workflow and go with it.
_FOLLOWING = (Task, BatchRequest, AlertRule)


def names_of(session: Session, workflow_id: str) -> list[str]:
    """
    Return the id of a workflow, and those that it had before and that nobody else has now.

    They are read first and not within a query of the record, which would look at all of its rows then and not at an index.
    """
    mine = select(EarlierName.earlier_id).where(EarlierName.workflow_id == workflow_id, ~_is_stored(EarlierName.earlier_id))
    return [workflow_id, *session.scalars(mine)]


def called_now(session: Session, workflow_id: str) -> str | None:
    """Return what a workflow is called now that had this id; None where the id is still in use, or never was a name."""
    renamed = select(EarlierName.workflow_id).where(EarlierName.earlier_id == workflow_id, ~_is_stored(EarlierName.earlier_id))
    return session.scalar(renamed.limit(1))


def names_before(session: Session) -> dict[str, str]:
    """Return what stored workflows were called → what they are called now."""
    statement = select(EarlierName.earlier_id, EarlierName.workflow_id).where(_is_stored(EarlierName.workflow_id))
    return {row.earlier_id: row.workflow_id for row in session.execute(statement)}


def forget_names(session: Session, names: Iterable[str]) -> None:
    """Forget who had these ids before, since another workflow has them from now on."""
    gone = delete(EarlierName).where(EarlierName.earlier_id.in_(sorted(names)))
    session.execute(gone.execution_options(synchronize_session=False))


def _is_stored(workflow_id: Any) -> Any:
    return exists().where(Workflow.workflow_id == workflow_id)


def no_message_meanwhile(session: Session) -> None:
    """Let nobody store messages until this transaction ends, and see what is stored already."""
    hold(session, AdvisoryLock.NAMES)


def no_renaming_meanwhile(session: Session) -> None:
    """Let no workflow get another id until this transaction ends; any number of others may ask for the same."""
    hold(session, AdvisoryLock.NAMES, shared=True)


def no_start_meanwhile(session: Session) -> None:
    """Let no dispatcher claim a request until this transaction ends."""
    hold(session, AdvisoryLock.CLAIM)


def running(session: Session, workflow_id: str) -> list[str]:
    """Return the ids of the batches that have not ended, or are about to begin: they need the DAG as it is called now."""
    now = datetime.now(UTC)
    unfinished = select(TaskBatch.batch_id).where(TaskBatch.workflow_id == workflow_id, TaskBatch.status.in_(UNFINISHED))
    same = (TaskBatch.workflow_id == BatchRequest.workflow_id, TaskBatch.batch_id == BatchRequest.batch_id)
    just_started = and_(
        BatchRequest.state == DISPATCHED,
        BatchRequest.dispatched_at > now - timedelta(seconds=UNSEEN_SECONDS),
        ~exists().where(*same),
    )
    about_to_start = and_(BatchRequest.state == RECEIVED, BatchRequest.claimed_until > now)
    begun = select(BatchRequest.batch_id).where(BatchRequest.workflow_id == workflow_id, or_(just_started, about_to_start))
    return sorted({*session.scalars(unfinished), *(str(batch_id) for batch_id in session.scalars(begun))})


def tables_with(session: Session, workflow_id: str, renamed: str) -> list[str]:
    """
    Return the tables in which there is a workflow already, or was one.

    :param renamed: the workflow that is to get this id, which it may have had before.
    """
    models: tuple[Any, ...] = (Workflow, Task)
    if not _was_its_own(session, workflow_id, renamed):
        models = (*models, TaskBatch, TaskLog, BatchRequest, WorkflowVersion)
    return [model.__tablename__ for model in models if session.scalar(select(exists().where(model.workflow_id == workflow_id)))]


def _was_its_own(session: Session, workflow_id: str, renamed: str) -> bool:
    """Tell whether a workflow had an id before, and nobody has had it since."""
    before = exists().where(EarlierName.workflow_id == renamed, EarlierName.earlier_id == workflow_id)
    if not session.scalar(select(before)):
        return False
    actions = select(WorkflowVersion.action).where(WorkflowVersion.workflow_id == workflow_id)
    newest = session.scalar(actions.order_by(WorkflowVersion.version.desc()).limit(1))
    return newest in (RENAMED, None)  # versions are swept after some time


def move_definition(session: Session, old: str, new: str) -> dict[str, int]:
    """
    Give a workflow another id in the caller's transaction; return how many rows of which table say so then.

    Columns are copied as they are written, whatever somebody wrote into them by SQL.
    """
    table = Workflow.__table__
    columns = [literal(new).label(one.name) if one.name == "workflow_id" else one for one in table.c]
    copied = select(*columns).where(table.c.workflow_id == old)
    session.execute(insert(Workflow).from_select([one.name for one in table.c], copied, include_defaults=False))
    counts = {Workflow.__tablename__: 1}
    for model in _FOLLOWING:
        done: Any = session.execute(
            update(model).where(model.workflow_id == old).values(workflow_id=new).execution_options(synchronize_session=False)
        )
        counts[model.__tablename__] = done.rowcount
    session.execute(delete(Workflow).where(Workflow.workflow_id == old))
    counts[WorkflowVersion.__tablename__] = _move_versions(session, old, new)
    return counts


def change_references(
    session: Session, after: Mapping[str, list[Any]], configs: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, int]]:
    """
    Write what other workflows say of a renamed one; yield tables, and how many of their rows were written.

    :param after: workflow id → its column ``after``.
    :param configs: task id → its column ``config``.
    """
    for workflow_id, value in after.items():
        session.execute(update(Workflow).where(Workflow.workflow_id == workflow_id).values(after=value))
    for task_id, config in configs.items():
        session.execute(update(Task).where(Task.task_id == task_id).values(config=config))
    yield Workflow.__tablename__, len(after)
    yield Task.__tablename__, len(configs)


def keep_name(session: Session, old: str, new: str, *, by: str) -> int:
    """Note what a workflow was called, and what it was called before that; return how many names it has had."""
    mine = EarlierName.workflow_id
    forget_names(session, [old, new])  # whoever had one of them before
    session.execute(update(EarlierName).where(mine == old).values(workflow_id=new).execution_options(synchronize_session=False))
    row = {"workflow_id": new, "earlier_id": old, "renamed_at": datetime.now(UTC), "renamed_by": by}
    session.execute(insert(EarlierName), [row])
    return session.scalar(select(func.count()).select_from(EarlierName).where(mine == new)) or 0


def recorded(session: Session, workflow_id: str) -> dict[str, int]:
    """Return how many rows of the record are under an id, by table."""
    models: tuple[Any, ...] = (TaskBatch, TaskLog)
    return {
        model.__tablename__: session.scalar(select(func.count()).select_from(model).where(model.workflow_id == workflow_id)) or 0
        for model in models
    }


def _move_versions(session: Session, old: str, new: str) -> int:
    """Let the versions be of the new id, rows and all: a way back to one must not bring the old id back."""
    found = session.execute(select(WorkflowVersion.version, WorkflowVersion.rows).where(WorkflowVersion.workflow_id == old)).all()
    for version, rows in found:
        values: dict[str, Any] = {"workflow_id": new}
        if rows is not None:
            entry = renamed_entry(rows, new)
            values |= {"rows": entry, "digest": digest(entry)}
        session.execute(update(WorkflowVersion).where(WorkflowVersion.version == version).values(**values))
    return len(found)


def renamed_entry(entry: Entry | Mapping[str, Any], new: str) -> Entry:
    """Return the rows of a workflow with another id."""
    return {
        "workflow": {**entry["workflow"], "workflow_id": new},
        "tasks": [{**task, "workflow_id": new} for task in entry["tasks"]],
        "dependencies": entry["dependencies"],
    }
