"""``accelerator rename``: another id for a workflow, wherever the tables say what is to run."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dag_factory.definition_file import ParsedFile
from dag_factory.predecessors import circular, makers_of, predecessors_of
from dag_factory.specs import WorkflowSpec
from dag_factory.task_types.run_workflow import TASK_TYPE as RUN_WORKFLOW
from dag_factory.task_types.wait_for_workflow import TASK_TYPE as WAIT_FOR_WORKFLOW
from dag_factory.validation import Validated, validate
from provider.cli.ids import refuse_undefined
from provider.cli.output import say
from provider.cli.who import who
from provider.cli.workflow_commands import refuse
from provider.exceptions import AcceleratorError
from provider.metadata import renaming, versions
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import RENAMED, by_workflow, to_entry
from provider.plain_data import leaves

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dag_factory.problems import Problem

#: Task types whose config names a workflow.
_NAMING = frozenset({RUN_WORKFLOW.name, WAIT_FOR_WORKFLOW.name})
#: So many batches that are in the way are named.
_NAMED = 5


@dataclass(frozen=True)
class References:
    """
    What names a workflow beside its own rows.

    :param after: workflow id → its column ``after``, as it is to be.
    :param configs: task id → its column ``config``, as it is to be.
    :param owners: the workflows of both.
    :param others: places that have the same text and may mean something else.
    """

    after: dict[str, list[Any]] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)


def rename(args: argparse.Namespace) -> int:
    """
    Give a workflow another id; returns 1 where its rows would not be right then.

    :raises AcceleratorError: there is no such workflow, the new id is taken, or a batch runs.
    """
    old, new, by = args.workflow_id, args.new_id, who()
    with write_session() as session:
        versions.one_at_a_time(session)
        renaming.no_start_meanwhile(session)
        _refuse(session, old, new)
        stored = read_definitions(session)
        references = _references(stored, old, new)
        after = validate(_renamed(stored, old, new, references))
        if problems := _problems(validate(stored), after, old, new):
            return refuse(f"{old} as {new}", problems, ParsedFile())
        counts = _carry_out(session, stored, old, new, references, by)
        record = renaming.recorded(session, old)
        if args.dry_run:  # it was tried, and is taken back
            session.rollback()
    say(f"{old} would be called {new}. Nothing was changed (dry run)." if args.dry_run else f"{old} is called {new} now.")
    for line in _lines(references, counts, record):
        say(f"  {line}")
    _tell_of_airflow(old, new, after.workflows[new])
    for place in references.others:
        say(f"note: {place} has the text {old} too, which is not changed; look at it.")
    return 0


def _refuse(session: Session, old: str, new: str) -> None:
    refuse_undefined(session, old)
    if old == new:
        raise AcceleratorError(f"{old} is called so already; give another name.")
    if taken := renaming.tables_with(session, new, old):
        raise AcceleratorError(
            f"there is, or was, a workflow {new} (rows in {', '.join(taken)}), and what is kept of both could not be told apart; "
            "give another name."
        )
    if found := renaming.running(session, old):
        some = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        raise AcceleratorError(
            f"batches of {old} have not ended: {some}. Their DAG would be gone; wait for their end, with "
            f"`accelerator disable {old}` before, or end them by `accelerator cancel`."
        )


def _references(stored: DefinitionRows, old: str, new: str) -> References:
    found = References()
    for row in stored.workflows:
        after = row["after"]
        if isinstance(after, list) and old in after:
            found.after[row["workflow_id"]] = [new if one == old else one for one in after]
            found.owners.add(row["workflow_id"])
    for row in stored.tasks:
        config = row["config"]
        if row["task_type"] in _NAMING and isinstance(config, dict) and config.get("workflow") == old:
            found.configs[row["task_id"]] = config = {**config, "workflow": new}
            found.owners.add(row["workflow_id"])
        if old in leaves((config, row["expand"])):
            found.others.append(f"tasks row {row['task_id']}")
    return found


def _renamed(stored: DefinitionRows, old: str, new: str, references: References) -> DefinitionRows:
    """Return the rows as they would be."""

    def of(row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "workflow_id": new} if row["workflow_id"] == old else {**row}

    workflows = [of({**row, "after": references.after.get(row["workflow_id"], row["after"])}) for row in stored.workflows]
    tasks = [of({**row, "config": references.configs.get(row["task_id"], row["config"])}) for row in stored.tasks]
    return DefinitionRows(workflows, tasks, stored.dependencies)


def _problems(before: Validated, after: Validated, old: str, new: str) -> list[Problem]:
    """Return what is wrong with the workflow as it is, or else what would be wrong because of the new name."""
    if old not in before.workflows:
        return [problem for problem in before.problems if problem.workflow_id == old]
    had = {_named(problem, old, new) for problem in [*before.problems, *_circles(before)]}
    return [problem for problem in [*after.problems, *_circles(after)] if _named(problem, old, new) not in had]


def _circles(validated: Validated) -> list[Problem]:
    return circular(predecessors_of(validated.workflows.values()), makers_of(validated.workflows.values()))


def _named(problem: Problem, old: str, new: str) -> tuple[str, str]:
    return problem.row.replace(old, new), problem.message.replace(old, new)


def _carry_out(session: Session, stored: DefinitionRows, old: str, new: str, references: References, by: str) -> Counter[str]:
    """Write it, and leave a version of each workflow that changes: the parse that sees it knows then that it was meant."""
    groups = by_workflow(stored)
    found = {name: to_entry(groups[name]) for name in {old, *references.owners}}
    versions.record_found(session, found, by=by)
    counts = Counter(renaming.move_definition(session, old, new))
    for table, number in renaming.change_references(session, references.after, references.configs):
        counts[table] += number
    counts["earlier_names"] = renaming.keep_name(session, old, new, by=by)
    changed = {new, *(new if name == old else name for name in references.owners)}
    after = by_workflow(read_definitions(session, changed))
    versions.record(session, RENAMED, {old: None, **{name: to_entry(rows) for name, rows in after.items()}}, by=by)
    return counts


def _tell_of_airflow(old: str, new: str, spec: WorkflowSpec) -> None:
    paused = "paused, as paused_at_first says" if spec.options.paused_at_first else "which is not paused"
    say(f"Airflow sees a new DAG {new} at the next parse, {paused}. Its DAG {old} keeps the runs that it had.")
    if note := spec.options.starts_at_once(datetime.now(UTC)):
        say(f"note: {note}.")


def _lines(references: References, counts: Mapping[str, int], record: Mapping[str, int]) -> Iterable[str]:
    for table, number in sorted(counts.items()):
        if number:
            yield f"{table}: {number} changed"
    yield from (f"workflows row {name}: after" for name in sorted(references.after))
    yield from (f"tasks row {name}: config.workflow" for name in sorted(references.configs))
    yield from (f"{table}: {number} kept under the name that they ran by" for table, number in record.items() if number)
