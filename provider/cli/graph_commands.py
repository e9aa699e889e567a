"""``accelerator graph``: the tasks of a workflow in the order of the flow, for people and for Mermaid."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from dag_factory.definition_file import ParsedFile
from dag_factory.graph import flow_order
from dag_factory.problems import suggestion
from dag_factory.specs import WorkflowSpec
from dag_factory.validation import validate
from provider.cli.output import say, write_json, write_table
from provider.cli.workflow_commands import read_workflows, write_problems
from provider.exceptions import AcceleratorError
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.rows import DefinitionRows


def graph(args: argparse.Namespace) -> int:
    """
    Print the graph of a workflow; one that cannot be built has its problems listed.

    :raises AcceleratorError: there is no such workflow.
    """
    parsed = read_workflows(args.file) if args.file else ParsedFile(_stored(args.workflow_id))
    rows = parsed.rows
    validated = validate(rows)
    spec = validated.workflows.get(args.workflow_id)
    if spec is None:
        known = {str(row["workflow_id"]) for row in rows.workflows}
        if args.workflow_id not in known:
            hint = suggestion(args.workflow_id, known, "there are")
            raise AcceleratorError(f"there is no workflow {args.workflow_id} in {args.file or 'the tables'}; {hint}.")
        own = [problem for problem in validated.problems if problem.workflow_id == args.workflow_id]
        write_problems([*parsed.problems, *own], args.file, parsed)
        sys.stderr.write(f"error: workflow {args.workflow_id} cannot be built.\n")
        return 1
    _WRITERS[args.format](spec)
    return 0


def _stored(workflow_id: str) -> DefinitionRows:
    """Return the rows of a workflow; where there is none, of all, so that people are told which there are."""
    with read_session() as session:
        found = read_definitions(session, [workflow_id])
        return found if found.workflows else read_definitions(session)


def _tasks(spec: WorkflowSpec) -> list[dict[str, Any]]:
    """Return the tasks in the order of the flow, with their parents."""
    tasks, parents = {task.task_id: task for task in spec.tasks}, spec.parents()
    return [
        {
            "task_id": task_id,
            "task_type": tasks[task_id].task_type,
            "enabled": tasks[task_id].enabled,
            "parents": parents[task_id],
        }
        for task_id in flow_order(spec.children())
    ]


def _as_table(spec: WorkflowSpec) -> None:
    rows = [
        [task["task_id"], task["task_type"] + ("" if task["enabled"] else " (switched off)"), ", ".join(task["parents"])]
        for task in _tasks(spec)
    ]
    if spec.options.after:
        say(f"{spec.workflow_id} starts after {', '.join(spec.options.after)}.")
    write_table(["task", "type", "after"], rows)


def _as_json(spec: WorkflowSpec) -> None:
    write_json(_tasks(spec))


def _as_mermaid(spec: WorkflowSpec) -> None:
    """Print a flowchart, which GitHub, GitLab and many a wiki draw."""
    sys.stdout.write("\n".join(_mermaid(spec)) + "\n")


def _mermaid(spec: WorkflowSpec) -> Iterator[str]:
    # Words such as "end" are no ids there; ids of tasks are plain letters, digits and marks, so a label needs no escapes.
    names = {task_id: f"t{number}" for number, task_id in enumerate(flow_order(spec.children()))}
    yield "flowchart LR"
    yield from (f'    {name}["{task_id}"]' for task_id, name in names.items())
    before = {f"b{number}": other.replace('"', "#quot;") for number, other in enumerate(spec.options.after)}
    yield from (f'    {name}(["{other}"])' for name, other in before.items())
    with_parents = {child for _, child in spec.edges}
    firsts = [name for task_id, name in names.items() if task_id not in with_parents]
    yield from (f"    {name} -.-> {first}" for name in before for first in firsts)
    yield from (f"    {names[parent]} --> {names[child]}" for parent, child in spec.edges)
    if off := [names[task.task_id] for task in spec.tasks if not task.enabled]:
        yield "    classDef off stroke-dasharray: 4"
        yield f"    class {','.join(sorted(off))} off"


_WRITERS = {"table": _as_table, "json": _as_json, "mermaid": _as_mermaid}
