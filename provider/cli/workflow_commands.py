"""``accelerator import``, ``export`` and ``validate``: workflow definitions between files and tables."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dag_factory.definition_file import ParsedFile, parse, to_data
from dag_factory.pools import pool_warnings
from dag_factory.predecessors import circular, makers_of, predecessors_of
from dag_factory.problems import Problem
from dag_factory.rehearsal import rehearse_foreign
from dag_factory.started_workflows import start_warnings
from dag_factory.validation import validate
from provider.cli.import_plan import Plan, carry_out, make_plan
from provider.cli.output import busy, json_text, printable, say, write_data
from provider.cli.who import who
from provider.exceptions import AcceleratorError
from provider.input_files import read_file
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session, write_session
from provider.metadata.renaming import names_before
from provider.metadata.rows import DefinitionRows
from provider.metadata.versions import one_at_a_time
from provider.metadata.workflow_rows import IMPORTED
from provider.strict_yaml import Places, dump
from provider.texts import counted


def import_workflows(args: argparse.Namespace) -> int:
    """Store the workflows of a file in one transaction, or list every problem and store nothing."""
    with busy(f"{'Checking' if args.dry_run else 'Checking and storing'} the workflows"):
        parsed = read_workflows(args.file)
        plan, problems = _checked(parsed, args)
    if problems:
        return refuse(args.file, problems, parsed)
    report(plan, dry_run=args.dry_run)
    return 0


def _checked(parsed: ParsedFile, args: argparse.Namespace) -> tuple[Plan, list[Problem]]:
    """Return what an import comes to, which is stored unless it has problems or is a trial."""
    with read_session() if args.dry_run else write_session() as session:
        if not args.dry_run:
            one_at_a_time(session)
        stored = read_definitions(session)
        plan = make_plan(stored, parsed.rows, names_before(session), prune=args.prune)
        problems = [*parsed.problems, *plan.problems]
        if not problems and not args.dry_run:
            carry_out(session, plan, stored, action=IMPORTED, by=who())
    return plan, problems


def export(args: argparse.Namespace) -> int:
    """
    Print stored workflows; they need not be valid.

    :raises AcceleratorError: a workflow that was named is not stored.
    """
    with read_session() as session:
        data = to_data(read_definitions(session))
    if args.workflow_ids:
        known = {workflow["workflow_id"] for workflow in data["workflows"]}
        if unknown := [workflow_id for workflow_id in args.workflow_ids if workflow_id not in known]:
            raise AcceleratorError(
                f"there is no workflow {', '.join(unknown)}; stored are: {', '.join(sorted(known)) or 'none'}."
            )
        data = {"workflows": [entry for entry in data["workflows"] if entry["workflow_id"] in args.workflow_ids]}
    sys.stdout.write(dump(data) if args.format == "yaml" else json_text(data) + "\n")
    return 0


def validate_workflows(args: argparse.Namespace) -> int:
    """Check what is stored, or a file by itself."""
    with busy("Checking the workflows"):
        parsed = read_workflows(args.file) if args.file else ParsedFile(_stored())
        rows, problems = parsed.rows, parsed.problems
        validated = validate(rows)
        workflows = list(validated.workflows.values())
        circles = circular(predecessors_of(workflows), makers_of(workflows))
        problems = [*problems, *validated.problems, *circles, *rehearse_foreign(workflows)]
        known = {str(row["workflow_id"]) for row in rows.workflows if isinstance(row, dict) and "workflow_id" in row}
        warnings = [*pool_warnings(workflows), *start_warnings(workflows, known)]
    if args.output != "table":
        found = {"problems": _for_programs(problems, parsed), "warnings": _for_programs(warnings, parsed)}
        rated = [{"level": level.removesuffix("s"), **one} for level, told in found.items() for one in told]
        write_data({"workflows": len(rows.workflows), "tasks": len(rows.tasks), **found}, args.output, rated)
        return 1 if problems else 0
    _warn(warnings)
    if problems:
        write_problems(problems, args.file, parsed)
        sys.stderr.write(f"error: {counted(len(problems), 'problem')} in {args.file or 'the stored workflows'}.\n")
    else:
        sys.stdout.write(f"{counted(len(rows.workflows), 'workflow')}, {counted(len(rows.tasks), 'task')}: no problems.\n")
    return 1 if problems else 0


def _for_programs(problems: Iterable[Problem], parsed: ParsedFile) -> list[dict[str, Any]]:
    return [
        {"workflow_id": problem.workflow_id or None, "row": problem.row, "message": problem.message}
        | ({} if place is None else {"line": place[0], "column": place[1]})
        for place, problem in _in_order(problems, parsed)
    ]


def _in_order(problems: Iterable[Problem], parsed: ParsedFile) -> list[tuple[tuple[int, int] | None, Problem]]:
    """Return problems with their places in the order of the file; of an entry unknown keys first: one may be what is missing."""

    def order(pair: tuple[tuple[int, int] | None, Problem]) -> tuple[tuple[int, int], bool, tuple[int, int]]:
        place, problem = pair
        return parsed.beginning(problem) or (0, 0), not problem.message.startswith("unknown key "), place or (0, 0)

    return sorted(((parsed.where(problem), problem) for problem in problems), key=order)


def _stored() -> DefinitionRows:
    with read_session() as session:
        return read_definitions(session)


def read_workflows(file: str) -> ParsedFile:
    """Read a file of workflows, with the places of what is in it."""
    places = Places()
    return parse(read_file(Path(file), places), places)


def refuse(name: str, problems: Sequence[Problem], parsed: ParsedFile) -> int:
    """
    List why nothing was stored; return the exit code.

    :param name: of the file, or of what else it comes from.
    """
    write_problems(problems, name, parsed)
    sys.stderr.write(f"error: {counted(len(problems), 'problem')} in {name}; nothing was stored.\n")
    return 1


def write_problems(problems: Iterable[Problem], file: str | None, parsed: ParsedFile) -> None:
    """List problems, one a line; those of a file with line and column, as compilers do, where it is YAML."""
    for place, problem in _in_order(problems, parsed):
        prefix = "" if place is None else f"{file}:{place[0]}:{place[1]}: "
        sys.stdout.write(f"{printable(prefix + str(problem))}\n")


def _warn(warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        sys.stderr.write(f"warning: {printable(str(warning))}.\n")


def report(plan: Plan, *, dry_run: bool) -> None:
    """Say what an import did, or would do: each workflow, and each row that changes."""
    for change in plan.changes:
        say(str(change))
        for row in change.rows:
            say(f"             {printable(str(row))}")
    for change in plan.changes:
        if change.note:
            sys.stderr.write(f"note: {printable(change.workflow_id)}: {printable(change.note)}.\n")
    counts = Counter(change.kind for change in plan.changes)
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in ("created", "changed", "unchanged", "removed"))
    sys.stdout.write(f"Workflows: {summary}.{' Nothing was stored (dry run).' if dry_run else ''}\n")
    if plan.others:
        sys.stderr.write(
            f"warning: workflows that are not in the file have {counted(len(plan.others), 'problem')}; "
            "`accelerator validate` lists them.\n"
        )
    _warn([*pool_warnings(plan.workflows), *plan.warnings])
