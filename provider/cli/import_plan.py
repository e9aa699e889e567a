"""Bringing the tables to what a file says: first a plan that is checked as a whole, then one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dag_factory.problems import Problem
from dag_factory.rehearsal import rehearse_foreign
from dag_factory.specs import WorkflowSpec
from dag_factory.validation import validate
from provider.metadata.rows import DefinitionRows

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

CREATED, CHANGED, UNCHANGED, REMOVED = "created", "changed", "unchanged", "removed"


@dataclass(frozen=True)
class Change:
    """
    What happens to one workflow.

    :param kind: ``created``, ``changed``, ``unchanged`` or ``removed``.
    :param detail: what happens to its tasks; empty where nothing does.
    :param note: what Airflow will start at once because of it; empty where that is nothing.
    """

    workflow_id: str
    kind: str
    detail: str = ""
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """
    What an import would do.

    :param problems: what the file would break; with one of them nothing may be stored.
    :param others: problems that stored workflows have already and keep.
    """

    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: list[Problem] = field(default_factory=list)


def make_plan(stored: DefinitionRows, new: DefinitionRows, *, prune: bool) -> Plan:
    """
    Compare what is stored with the rows of a file; stored workflows that the file does not have stay and must still fit.

    :param prune: remove those workflows.
    """
    replaced = {row["workflow_id"] for row in new.workflows}
    kept = DefinitionRows() if prune else _without(stored, replaced)
    # Stored rows first: of two tasks with one id, the one in the file is then the one to rename.
    after = validate(
        DefinitionRows([*kept.workflows, *new.workflows], [*kept.tasks, *new.tasks], [*kept.dependencies, *new.dependencies])
    )
    before = validate(stored)
    known = {problem for problem in before.problems if problem.workflow_id not in replaced}
    rehearsed = rehearse_foreign(spec for workflow_id, spec in after.workflows.items() if workflow_id in replaced)
    if problems := [problem for problem in [*after.problems, *rehearsed] if problem not in known]:
        return Plan(problems=problems)
    stored_ids = {row["workflow_id"] for row in stored.workflows}
    changes = [
        _change(workflow_id, before.workflows.get(workflow_id), after.workflows[workflow_id], stored=workflow_id in stored_ids)
        for workflow_id in sorted(replaced)
    ]
    if prune:
        changes.extend(Change(workflow_id, REMOVED) for workflow_id in sorted(stored_ids - replaced))
    return Plan(changes, others=list(after.problems))


def carry_out(session: Session, plan: Plan, new: DefinitionRows) -> None:
    """
    Store what the plan says, in the caller's transaction.

    :raises sqlalchemy.exc.IntegrityError: somebody else stored one of the tasks after the plan was made.
    """
    from provider.metadata.definitions import delete_workflows, replace_workflows

    changed = {change.workflow_id for change in plan.changes if change.kind in (CREATED, CHANGED)}
    delete_workflows(session, [change.workflow_id for change in plan.changes if change.kind == REMOVED])
    replace_workflows(session, _only(new, changed))


def _change(workflow_id: str, before: WorkflowSpec | None, after: WorkflowSpec, *, stored: bool) -> Change:
    had_runs = before is not None and before.options.schedule is not None
    note = "" if had_runs else after.options.starts_at_once(datetime.now(UTC))
    if not stored:
        return Change(workflow_id, CREATED, f"tasks: {len(after.tasks)}", note)
    if before == after:
        return Change(workflow_id, UNCHANGED)
    if before is None:
        return Change(workflow_id, CHANGED, "could not be used before", note)
    old = {task.task_id: (task, _parents(before, task.task_id)) for task in before.tasks}
    new = {task.task_id: (task, _parents(after, task.task_id)) for task in after.tasks}
    counts = {
        "added": len(new.keys() - old.keys()),
        "changed": sum(old[task_id] != new[task_id] for task_id in old.keys() & new.keys()),
        "removed": len(old.keys() - new.keys()),
    }
    tasks = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return Change(workflow_id, CHANGED, f"tasks: {tasks}" if tasks else "", note)


def _parents(workflow: WorkflowSpec, task_id: str) -> set[str]:
    return {parent for parent, child in workflow.edges if child == task_id}


def _without(rows: DefinitionRows, workflow_ids: set[str]) -> DefinitionRows:
    return _only(rows, {row["workflow_id"] for row in rows.workflows} - workflow_ids)


def _only(rows: DefinitionRows, workflow_ids: set[str]) -> DefinitionRows:
    """Return the rows of some workflows; an edge needs both of its tasks."""
    tasks = [row for row in rows.tasks if row["workflow_id"] in workflow_ids]
    task_ids = {row["task_id"] for row in tasks}
    return DefinitionRows(
        [row for row in rows.workflows if row["workflow_id"] in workflow_ids],
        tasks,
        [row for row in rows.dependencies if {row["parent_id"], row["child_id"]} <= task_ids],
    )
