"""``accelerator rename``: another id for a workflow, wherever the tables say what is to run."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dag_factory.definition_file import ParsedFile
from dag_factory.predecessors import circular, makers_of, predecessors_of
from dag_factory.specs import WorkflowSpec
from dag_factory.validation import Validated, validate
from provider.cli.ids import refuse_undefined, warn_of_old_record
from provider.cli.output import say
from provider.cli.who import who
from provider.cli.workflow_commands import refuse
from provider.cli.workflow_references import References, references_to, with_references
from provider.exceptions import AcceleratorError
from provider.metadata import renaming, versions
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import write_session
from provider.metadata.leader_lock import record_current_at
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import RENAMED, by_workflow, to_entry

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dag_factory.problems import Problem

#: So many batches that are in the way are named.
_NAMED = 5


def rename(args: argparse.Namespace) -> int:
    """
    Give a workflow another id; returns 1 where its rows would not be right then.

    :raises AcceleratorError: there is no such workflow, the new id is taken, or a batch runs.
    """
    old, new, by = args.workflow_id, args.new_id, who()
    with write_session() as session:
        versions.one_at_a_time(session)
        renaming.no_start_meanwhile(session)
        renaming.no_message_meanwhile(session)
        _refuse(session, old, new)
        stored = read_definitions(session)
        references = references_to(stored, {old: new})
        _refuse_running(session, old, references.waiting)
        after = validate(_renamed(with_references(stored, references), old, new))
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


def _refuse_running(session: Session, old: str, waiting: Iterable[str]) -> None:
    """
    Refuse while there is a batch that needs the old name.

    :param waiting: workflows with tasks that wait for a batch of the renamed one.
    """
    needs = {old: "Their DAG would be gone"} | dict.fromkeys(sorted(waiting), f"They wait for batches of {old}")
    for name, why in needs.items():
        if found := renaming.running(session, name):
            some = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
            raise AcceleratorError(
                f"batches of {name} have not ended: {some}. {why}; wait for their end, with `accelerator disable {name}` before, "
                "or end them by `accelerator cancel`."
            )
    warn_of_old_record(record_current_at(session), f"a batch of {old} that it does not know yet would lose its DAG")


def _renamed(rows: DefinitionRows, old: str, new: str) -> DefinitionRows:
    def of(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "workflow_id": new} if row["workflow_id"] == old else row

    return DefinitionRows([of(row) for row in rows.workflows], [of(row) for row in rows.tasks], rows.dependencies)


def _problems(before: Validated, after: Validated, old: str, new: str) -> list[Problem]:
    """Return what is wrong with the workflow as it is, or else what would be wrong because of the new name."""
    if old not in before.workflows:
        return [problem for problem in before.problems if problem.workflow_id == old]
    whole = re.compile(rf"(?<![\w-]){re.escape(old)}(?![\w-]|\.\w)")
    had = {(whole.sub(new, one.row), whole.sub(new, one.message)) for one in [*before.problems, *_circles(before)]}
    return [problem for problem in [*after.problems, *_circles(after)] if (problem.row, problem.message) not in had]


def _circles(validated: Validated) -> list[Problem]:
    return circular(predecessors_of(validated.workflows.values()), makers_of(validated.workflows.values()))


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
