"""``accelerator import``, ``export`` and ``validate``: workflow definitions between files and tables."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dag_factory.definition_file import ParsedFile, parse, to_data
from dag_factory.pools import pool_warnings
from dag_factory.problems import Problem
from dag_factory.rehearsal import rehearse_foreign
from dag_factory.validation import validate
from provider.cli.import_plan import Plan, carry_out, make_plan
from provider.cli.output import busy, json_text, printable, say, write_json
from provider.cli.who import who
from provider.exceptions import AcceleratorError
from provider.input_files import read_file
from provider.metadata.definitions import read_definitions
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.versions import one_at_a_time
from provider.metadata.workflow_rows import IMPORTED
from provider.strict_yaml import dump


def import_workflows(args: argparse.Namespace) -> int:
    """Store the workflows of a file in one transaction, or list every problem and store nothing."""
    with busy(f"{'Checking' if args.dry_run else 'Checking and storing'} the workflows"):
        parsed = parse(read_file(Path(args.file)))
        plan, problems = _checked(parsed, args)
    if problems:
        return refuse(args.file, problems)
    report(plan, dry_run=args.dry_run)
    return 0


def _checked(parsed: ParsedFile, args: argparse.Namespace) -> tuple[Plan, list[Problem]]:
    """Return what an import comes to, which is stored unless it has problems or is a trial."""
    with read_session() if args.dry_run else write_session() as session:
        if not args.dry_run:
            one_at_a_time(session)
        stored = read_definitions(session)
        plan = make_plan(stored, parsed.rows, prune=args.prune)
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
        if args.file:
            parsed = parse(read_file(Path(args.file)))
            rows, problems = parsed.rows, parsed.problems
        else:
            rows, problems = _stored(), []
        validated = validate(rows)
        problems = [*problems, *validated.problems, *rehearse_foreign(validated.workflows.values())]
        warnings = pool_warnings(validated.workflows.values())
    if args.output == "json":
        write_json(
            {
                "workflows": len(rows.workflows),
                "tasks": len(rows.tasks),
                "problems": _as_json(problems),
                "warnings": _as_json(warnings),
            }
        )
        return 1 if problems else 0
    _warn(warnings)
    if problems:
        _write_problems(problems)
        sys.stderr.write(f"error: {_count(len(problems), 'problem')} in {args.file or 'the stored workflows'}.\n")
    else:
        sys.stdout.write(f"{_count(len(rows.workflows), 'workflow')}, {_count(len(rows.tasks), 'task')}: no problems.\n")
    return 1 if problems else 0


def _as_json(problems: Iterable[Problem]) -> list[dict[str, str | None]]:
    return [{"workflow_id": problem.workflow_id or None, "row": problem.row, "message": problem.message} for problem in problems]


def _stored() -> DefinitionRows:
    with read_session() as session:
        return read_definitions(session)


def refuse(file: str, problems: Sequence[Problem]) -> int:
    """List why nothing was stored; return the exit code."""
    _write_problems(problems)
    sys.stderr.write(f"error: {_count(len(problems), 'problem')} in {file}; nothing was stored.\n")
    return 1


def _write_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        sys.stdout.write(f"{printable(str(problem))}\n")


def _warn(warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        sys.stderr.write(f"warning: {printable(str(warning))}.\n")


def report(plan: Plan, *, dry_run: bool) -> None:
    """Say what an import did, or would do: each workflow, and each row that changes."""
    for change in plan.changes:
        say(f"{change.kind:<9}  {change.workflow_id}{f' ({change.detail})' if change.detail else ''}")
        for line in change.rows:
            say(f"             {printable(line)}")
    for change in plan.changes:
        if change.note:
            sys.stderr.write(f"note: {printable(change.workflow_id)}: {printable(change.note)}.\n")
    counts = Counter(change.kind for change in plan.changes)
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in ("created", "changed", "unchanged", "removed"))
    sys.stdout.write(f"Workflows: {summary}.{' Nothing was stored (dry run).' if dry_run else ''}\n")
    if plan.others:
        sys.stderr.write(
            f"warning: workflows that are not in the file have {_count(len(plan.others), 'problem')}; "
            "`accelerator validate` lists them.\n"
        )
    _warn(pool_warnings(plan.workflows))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
