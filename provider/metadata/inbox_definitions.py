"""What the tables say of the tasks and files that messages name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from provider.metadata.file_patterns import matches
from provider.metadata.inbox_message import InboxMessage
from provider.metadata.tables import Task, TaskDependency, Workflow


@dataclass(frozen=True)
class KnownTask:
    """What a message's task is in the tables."""

    task_id: str
    workflow_id: str
    task_type: str
    children: tuple[str, ...]


@dataclass(frozen=True)
class KnownDefinitions:
    """
    What the messages of one pull are compared with.

    :param tasks: by task id.
    :param file_patterns: workflow id → pattern and smallest size in bytes, of enabled workflows that wait for files.
    """

    tasks: Mapping[str, KnownTask]
    file_patterns: Mapping[str, tuple[str, int]]

    def task_of(self, message: InboxMessage) -> KnownTask | None:
        """Return the task that a message names; None where there is no such task."""
        return self.tasks.get(message.task_id or "")

    def workflows_for_file(self, bucket: str, name: str) -> dict[str, int]:
        """Return the workflows whose pattern matches this file, sorted, and the size that it must have for each, in bytes."""
        return {
            workflow_id: size
            for workflow_id, (pattern, size) in sorted(self.file_patterns.items())
            if matches(pattern, bucket, name)
        }


def known_definitions(session: Session, messages: Sequence[InboxMessage]) -> KnownDefinitions:
    """Read what the tables say of the messages' tasks, and of files if there is one."""
    named = {message.task_id for message in messages if message.task_id}
    tasks = session.execute(select(Task.task_id, Task.workflow_id, Task.task_type).where(Task.task_id.in_(named))).all()
    ended = [message.task_id for message in messages if message.kind == "completion"]
    edges = select(TaskDependency.parent_id, TaskDependency.child_id).where(TaskDependency.parent_id.in_(ended))
    children: dict[str, list[str]] = {}
    for parent, child in session.execute(edges.order_by(TaskDependency.child_id)) if ended else ():
        children.setdefault(parent, []).append(child)
    patterns: dict[str, tuple[str, int]] = {}
    if any(message.kind == "file" for message in messages):
        with_pattern = (Workflow.enabled.is_(True), Workflow.file_pattern.is_not(None))
        statement = select(Workflow.workflow_id, Workflow.file_pattern, Workflow.file_min_size).where(*with_pattern)
        patterns = {workflow_id: (pattern or "", size or 0) for workflow_id, pattern, size in session.execute(statement)}
    return KnownDefinitions(
        tasks={row.task_id: KnownTask(*row, children=tuple(children.get(row.task_id, ()))) for row in tasks},
        file_patterns=patterns,
    )


def unknown_task(task_id: str | None) -> str:
    """Return why a message is rejected that names a task which is not there."""
    return f"task_id {task_id!r} is in no row of the table tasks; correct the message, or import the workflow and send it again."
