"""``accelerator history``, ``rollback`` and ``confirm``: what was made of the definitions, and the way back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from dag_factory import snapshot
from dag_factory.definition_file import ParsedFile
from dag_factory.settling import losses_of
from dag_factory.snapshot import SnapshotError
from provider.cli.import_plan import as_operated, carry_out, make_plan
from provider.cli.output import printable, say, utc, write_data, write_table
from provider.cli.row_changes import row_changes
from provider.cli.who import who
from provider.cli.workflow_commands import refuse, report
from provider.cli.workflow_references import references_to, with_references
from provider.exceptions import AcceleratorError
from provider.metadata import versions
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session, write_session
from provider.metadata.renaming import names_before
from provider.metadata.rows import DefinitionRows
from provider.metadata.versions import Version
from provider.metadata.workflow_rows import ROLLED_BACK, Loss, by_workflow, to_rows


def history(args: argparse.Namespace) -> int:
    """List the versions of a workflow, newest first."""
    with read_session() as session:
        found = versions.history(session, args.workflow_id)
    if not found:
        raise _no_version(args.workflow_id)
    if args.output != "table":
        write_data(found, args.output)
        return 0
    rows = []
    for version in found:
        entry = version["rows"]
        counts = ("", "") if entry is None else (str(len(entry["tasks"])), str(len(entry["dependencies"])))
        rows.append((str(version["version"]), utc(version["created_at"]), version["created_by"], version["action"], *counts))
    write_table(("version", "when", "who", "what", "tasks", "dependencies"), rows)
    return 0


def rollback(args: argparse.Namespace) -> int:
    """Import the rows of a version; by default of the newest one that differs from what is stored."""
    with write_session() as session:
        versions.one_at_a_time(session)
        stored = read_definitions(session)
        version = _chosen(versions.history(session, args.workflow_id), stored, args)
        if version["rows"] is None:
            number = version["version"]
            raise AcceleratorError(f"version {number} deleted the workflow and has no rows; name another one with --to.")
        names, rows = names_before(session), to_rows([version["rows"]])
        rows = with_references(rows, references_to(rows, names))  # what it names may be called otherwise by now
        plan = make_plan(stored, as_operated(stored, rows, always=True), names, prune=False)
        if plan.problems:
            return refuse(f"version {version['version']}", plan.problems, ParsedFile())
        carry_out(session, plan, stored, action=ROLLED_BACK, by=who())
    sys.stdout.write(f"Back to version {version['version']} of {utc(version['created_at'])}.\n")
    report(plan, dry_run=False)
    return 0


def confirm(args: argparse.Namespace) -> int:
    """List what is gone from the tables, and record that it was meant to go."""
    with read_session() if args.dry_run else write_session() as session:
        if not args.dry_run:
            versions.one_at_a_time(session)
        rows = read_definitions(session)
        losses = _listed_losses(by_workflow(rows))
        if losses is not None and not losses:
            sys.stdout.write("The tables have all that the last good definitions have; there is nothing to confirm.\n")
            return 0
        if args.dry_run:
            sys.stdout.write("Nothing was confirmed (dry run).\n")
            return 0
        versions.confirm(session, by=who())
    sys.stdout.write(
        f"Confirmed: {len(rows.workflows)} workflows, {len(rows.tasks)} tasks and {len(rows.dependencies)} dependencies are all "
        "that there should be. Airflow sees it when the DAG files are parsed next.\n"
    )
    return 0


def _listed_losses(groups: Mapping[str, DefinitionRows]) -> Mapping[str, Loss] | None:
    """List what the tables lack of the last good definitions; return None where these cannot be seen."""
    reason = f"this machine has none in {snapshot.folder()} that a dag-processor looks after"
    last_good = None
    try:
        last_good = snapshot.load_followed()
    except SnapshotError as error:
        reason = str(error)
    if last_good is None:
        sys.stderr.write(f"note: what is gone cannot be listed, as the last good definitions are not known: {reason}\n")
        return None
    losses = losses_of(last_good, groups)
    for workflow_id, loss in sorted(losses.items()):
        say(f"{'smaller' if workflow_id in groups else 'gone':<9}  {workflow_id} ({_counts(loss)})")
        for line in (
            *([] if workflow_id in groups else [f"- workflows row {workflow_id}"]),
            *(f"- tasks row {task_id}" for task_id in sorted(loss.tasks)),
            *(f"- task_dependencies row {parent} → {child}" for parent, child in sorted(loss.edges)),
        ):
            say(f"             {printable(line)}")
    return losses


def _counts(loss: Loss) -> str:
    return f"tasks: {len(loss.tasks)}, dependencies: {len(loss.edges)}"


def _chosen(found: list[Version], stored: DefinitionRows, args: argparse.Namespace) -> Version:
    if not found:
        raise _no_version(args.workflow_id)
    if args.to is not None:
        for version in found:
            if version["version"] == args.to:
                return version
        numbers = ", ".join(str(version["version"]) for version in found)
        raise AcceleratorError(f"{args.workflow_id} has no version {args.to}; there are: {numbers}.")
    now = by_workflow(stored).get(args.workflow_id, DefinitionRows())
    for version in found:
        if version["rows"] is not None and row_changes(now, as_operated(stored, to_rows([version["rows"]]), always=True)):
            return version
    raise AcceleratorError(f"no version of {args.workflow_id} differs from what is stored; nothing was changed.")


def _no_version(workflow_id: str) -> AcceleratorError:
    return AcceleratorError(f"there is no version of a workflow {workflow_id}; `accelerator import` leaves one.")
