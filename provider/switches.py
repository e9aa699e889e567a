"""Switching workflows and tasks on and off in their rows, so that the history says who did it, and a parse that it was meant."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from provider.exceptions import AcceleratorError
from provider.metadata.workflow_rows import SWITCHED_OFF, SWITCHED_ON, Entry, Loss, by_workflow, to_entry

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from provider.metadata.rows import DefinitionRows


def switch(session: Session, workflow_id: str, task_ids: Collection[str], *, enabled: bool, by: str) -> list[str]:
    """
    Write ``enabled`` of a workflow's row, or of those of its tasks, and leave a version, in the caller's transaction.

    :param workflow_id: a workflow that is stored.
    :param task_ids: tasks of it; empty for the workflow itself.
    :param by: who does it.
    :return: the ids of the rows that changed; none where all were so already, and then there is no version.
    :raises AcceleratorError: the workflow has lost rows, and nobody has said that it was to.
    """
    from provider.metadata.definition_rows import read_definitions
    from provider.metadata.definitions import set_enabled
    from provider.metadata.versions import record, record_found

    before = read_definitions(session, [workflow_id])
    rows = [(row["task_id"], row) for row in before.tasks if row["task_id"] in task_ids]
    if not task_ids:
        rows = [(row["workflow_id"], row) for row in before.workflows]
    changed = [row_id for row_id, row in rows if row["enabled"] is not enabled]
    if changed:
        _refuse_loss(session, workflow_id, _entry(before, workflow_id))
        record_found(session, {workflow_id: _entry(before, workflow_id)}, by=by)
        set_enabled(session, workflow_id, changed if task_ids else None, enabled=enabled)
        after = read_definitions(session, [workflow_id])
        record(session, SWITCHED_ON if enabled else SWITCHED_OFF, {workflow_id: _entry(after, workflow_id)}, by=by)
    return changed


def _refuse_loss(session: Session, workflow_id: str, entry: Entry) -> None:
    """Refuse a workflow that lacks rows of its newest version: a new one would say that these were meant to go."""
    from provider.metadata.definition_rows import meant_since
    from provider.metadata.versions import history

    newest = next(iter(history(session, workflow_id)), None)
    if newest is None or newest["rows"] is None or not (loss := Loss.between(newest["rows"], entry)):
        return
    if not meant_since(session, newest["version"], workflow_id).confirmed:
        raise AcceleratorError(
            f"{workflow_id} has lost rows since version {newest['version']} (tasks: {len(loss.tasks)}, dependencies: "
            f"{len(loss.edges)}); import it again, or say by `accelerator confirm` that they were meant to go."
        )


def _entry(rows: DefinitionRows, workflow_id: str) -> Entry:
    return to_entry(by_workflow(rows)[workflow_id])
