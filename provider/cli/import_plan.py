"""Bringing the tables to what a file says: first a plan that is checked as a whole, then one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dag_factory.predecessors import circular, makers_of, predecessors_of
from dag_factory.problems import Problem, row_name
from dag_factory.rehearsal import rehearse_foreign
from dag_factory.specs import WorkflowSpec
from dag_factory.started_workflows import start_warnings
from dag_factory.validation import validate
from provider.cli.row_changes import CHANGED, REMOVED, RowChange, row_changes
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import DELETED, by_workflow, to_entry

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

CREATED, UNCHANGED = "created", "unchanged"


@dataclass(frozen=True)
class Change:
    """
    What happens to one workflow.

    :param kind: ``created``, ``changed``, ``unchanged`` or ``removed``.
    :param detail: what happens to its tasks; empty where nothing does.
    :param rows: every row that changes.
    :param note: what Airflow will start at once because of it; empty where that is nothing.
    """

    workflow_id: str
    kind: str
    detail: str = ""
    rows: tuple[RowChange, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return f"{self.kind:<9}  {self.workflow_id}{f' ({self.detail})' if self.detail else ''}"


@dataclass(frozen=True)
class Plan:
    """
    What an import would do.

    :param rows: the rows to store: those of the file, with what is operated as it is stored.
    :param workflows: what they amount to.
    :param problems: what the file would break; with one of them nothing may be stored.
    :param others: problems that stored workflows have already and keep.
    :param warnings: what will not work in Airflow as it is, as far as rows tell.
    """

    rows: DefinitionRows = field(default_factory=DefinitionRows)
    workflows: list[WorkflowSpec] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def _circles(workflows: Collection[WorkflowSpec]) -> list[Problem]:
    return circular(predecessors_of(workflows), makers_of(workflows))


def make_plan(stored: DefinitionRows, new: DefinitionRows, earlier: Mapping[str, str], *, prune: bool) -> Plan:
    """
    Compare what is stored with the rows of a file; stored workflows that the file does not have stay and must still fit.

    :param earlier: what stored workflows were called → what they are called now.
    :param prune: remove those workflows.
    """
    new = as_operated(stored, new)
    replaced = {row["workflow_id"] for row in new.workflows}
    kept = DefinitionRows() if prune else _without(stored, replaced)
    # Stored rows first: of two tasks with one id, the one in the file is then the one to rename.
    after = validate(
        DefinitionRows([*kept.workflows, *new.workflows], [*kept.tasks, *new.tasks], [*kept.dependencies, *new.dependencies])
    )
    before = validate(stored)
    found_before = [*before.problems, *_circles(before.workflows.values())]
    kept_problems = {problem for problem in found_before if problem.workflow_id not in replaced}
    workflows = [spec for workflow_id, spec in after.workflows.items() if workflow_id in replaced]
    found = [*after.problems, *_circles(after.workflows.values()), *rehearse_foreign(workflows), *_called_so(workflows, earlier)]
    if problems := [problem for problem in found if problem not in kept_problems]:
        return Plan(problems=problems)
    stored_ids = {row["workflow_id"] for row in stored.workflows}
    old_rows, new_rows = by_workflow(stored), by_workflow(new)
    changes = [
        _change(
            before.workflows.get(workflow_id),
            after.workflows[workflow_id],
            row_changes(old_rows[workflow_id], new_rows[workflow_id]) if workflow_id in stored_ids else None,
        )
        for workflow_id in sorted(replaced)
    ]
    if prune:
        changes.extend(
            Change(workflow_id, REMOVED, rows=row_changes(old_rows[workflow_id], DefinitionRows()))
            for workflow_id in sorted(stored_ids - replaced)
        )
    known = {row["workflow_id"] for row in [*kept.workflows, *new.workflows]}
    warnings = start_warnings(list(after.workflows.values()), known)
    return Plan(new, workflows, changes, others=list(after.problems), warnings=warnings)


def _called_so(workflows: Iterable[WorkflowSpec], earlier: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each workflow that has the id which another one had: the record could not tell them apart."""
    for name in (spec.workflow_id for spec in workflows):
        if now := earlier.get(name):
            said = f"workflow_id: {now} was called so; write {now} here if it is that one, or give it another id"
            yield Problem(name, row_name("workflows", "workflow_id", name), said)


def carry_out(session: Session, plan: Plan, stored: DefinitionRows, *, action: str, by: str) -> None:
    """
    Store what the plan says and leave a version of each workflow that changes, in the caller's transaction.

    :param stored: the rows that the plan was made for.
    :param action: what the versions say of it, such as ``import``.
    :param by: who does it.
    :raises sqlalchemy.exc.IntegrityError: somebody else stored one of the tasks after the plan was made.
    """
    from provider.metadata.definition_rows import read_definitions
    from provider.metadata.definitions import delete_workflows, replace_workflows
    from provider.metadata.renaming import forget_names
    from provider.metadata.versions import record, record_found

    changed = {change.workflow_id for change in plan.changes if change.kind in (CREATED, CHANGED)}
    removed = {change.workflow_id for change in plan.changes if change.kind == REMOVED}
    groups = by_workflow(stored)
    found = {name: to_entry(groups[name]) for name in sorted(changed | removed) if name in groups and groups[name].workflows}
    record_found(session, found, by=by)
    delete_workflows(session, sorted(removed))
    replace_workflows(session, _only(plan.rows, changed))
    forget_names(session, changed)
    # As the database gives them back, with its defaults: a parse compares them with what it reads.
    after = by_workflow(read_definitions(session, changed))
    record(session, action, {workflow_id: to_entry(rows) for workflow_id, rows in after.items()}, by=by)
    record(session, DELETED, dict.fromkeys(removed), by=by)


def as_operated(stored: DefinitionRows, new: DefinitionRows, *, always: bool = False) -> DefinitionRows:
    """
    Return new rows in which what is switched off or on stays so.

    :param always: also where the new rows say something else.
    """

    def keep(rows: list[dict[str, Any]], old: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
        enabled = {row[key]: {"enabled": row["enabled"]} for row in old}
        return [{**row, **enabled.get(row[key], {})} if always else {**enabled.get(row[key], {}), **row} for row in rows]

    return DefinitionRows(
        keep(new.workflows, stored.workflows, "workflow_id"), keep(new.tasks, stored.tasks, "task_id"), new.dependencies
    )


def _change(before: WorkflowSpec | None, after: WorkflowSpec, rows: tuple[RowChange, ...] | None) -> Change:
    workflow_id = after.workflow_id
    had_runs = before is not None and before.options.schedule is not None
    note = "" if had_runs else after.options.starts_at_once(datetime.now(UTC))
    if rows is None:
        return Change(workflow_id, CREATED, f"tasks: {len(after.tasks)}", note=note)
    if not rows:
        return Change(workflow_id, UNCHANGED)
    if before is None:
        return Change(workflow_id, CHANGED, "could not be used before", rows, note)
    old = {task.task_id: _parents(before, task.task_id) for task in before.tasks}
    new = {task.task_id: _parents(after, task.task_id) for task in after.tasks}
    moved = {task_id for task_id in old.keys() & new.keys() if old[task_id] != new[task_id]}
    counts = {
        "added": len(new.keys() - old.keys()),
        "changed": len(moved | {row.key for row in rows if (row.table, row.change) == ("tasks", CHANGED)}),
        "removed": len(old.keys() - new.keys()),
    }
    tasks = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return Change(workflow_id, CHANGED, f"tasks: {tasks}" if tasks else "", rows, note)


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
