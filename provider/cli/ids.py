"""Ids that people give: the one batch that is meant, near names where there is none, and how old the record of it is."""

from __future__ import annotations

import sys
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from provider.cli.output import utc
from provider.exceptions import AcceleratorError
from provider.metadata import batches
from provider.metadata.batch_queries import batches_with_id, newest_batches
from provider.metadata.definitions import task_ids, workflow_ids
from provider.metadata.rows import StoredTaskBatch

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: The newest batch, unless there is one with this id.
LATEST = "latest"
#: Batches whose ids are looked at for a near one.
_NEAR = 1000
#: A record that is older than this may miss something.
_BEHIND = timedelta(minutes=1)


def only_batch(session: Session, batch_id: str, workflow_id: str | None) -> StoredTaskBatch:
    """
    Return the batch with this id; ``latest`` is the newest one.

    :param workflow_id: its workflow, where people have named one.
    :raises AcceleratorError: there is none, or several workflows have one.
    """
    found = batches_with_id(session, batch_id, workflow_id) or batches_with_id(session, batch_id, workflow_id, earlier=True)
    if not found and workflow_id is not None:
        refuse_unknown_workflow(session, workflow_id)
    if not found and batch_id == LATEST:
        found = newest_batches(session, workflow_id=workflow_id, earlier=True, limit=1)
    if not found:
        where = f" in workflow {workflow_id}" if workflow_id else ""
        newest = newest_batches(session, workflow_id=workflow_id, earlier=True, limit=_NEAR)
        near = _nearest(batch_id, {one["batch_id"] for one in newest})
        raise AcceleratorError(f"there is no batch {batch_id}{where}; {near}`accelerator batches` lists those there are.")
    if len(found) > 1:
        workflows = ", ".join(batch["workflow_id"] for batch in found)
        raise AcceleratorError(f"batch {batch_id} is in several workflows: {workflows}; name one with --workflow.")
    return found[0]


def refuse_unknown_workflow(session: Session, workflow_id: str) -> None:
    """
    Refuse a workflow that neither the definitions nor any batch know.

    :raises AcceleratorError: it is one.
    """
    known = workflow_ids(session) | batches.workflow_ids(session)
    if workflow_id not in known:
        from dag_factory.problems import suggestion

        raise AcceleratorError(f"there is no workflow {workflow_id}; {suggestion(workflow_id, known, 'known are')}.")


def refuse_undefined(session: Session, workflow_id: str, tasks: Collection[str] = ()) -> None:
    """
    Refuse a workflow that is not in the tables, and tasks that it does not have.

    :raises AcceleratorError: it is one, or has not all of these tasks.
    """
    from dag_factory.problems import suggestion

    known = workflow_ids(session)
    if workflow_id not in known:
        raise AcceleratorError(f"there is no workflow {workflow_id}; {suggestion(workflow_id, known, 'stored are')}.")
    if tasks:
        its_own = task_ids(session, workflow_id)
        for task_id in tasks:
            if task_id not in its_own:
                hint = suggestion(task_id, its_own, "its tasks are")
                raise AcceleratorError(f"workflow {workflow_id} has no task {task_id}; {hint}.")


def warn_of_old_record(current_at: datetime | None, what: str) -> None:
    """
    Warn where the record is old.

    :param current_at: as of when it is complete; None where nobody has written it.
    :param what: what that means for the command.
    """
    if current_at is None or datetime.now(UTC) - current_at > _BEHIND:
        sys.stderr.write(f"warning: the record is complete as of {utc(current_at) or 'never'}; {what}.\n")


def _nearest(name: str, known: set[str]) -> str:
    # Imports what validates definitions, which only who has mistyped an id waits for.
    from dag_factory.problems import nearest

    close = nearest(name, known)
    return f"did you mean {close}? " if close else ""
