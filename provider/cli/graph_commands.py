"""``accelerator graph``: the tasks of a workflow in the order of the flow, for people, for Mermaid and for Graphviz."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from provider.texts import first_line

#: Seconds for Graphviz; it needs one for some hundred tasks.
_PATIENCE = 60.0


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
    sys.stdout.write("\n".join(_mermaid(_drawing(spec))) + "\n")


def _as_dot(spec: WorkflowSpec) -> None:
    """Print the graph in the language of Graphviz."""
    sys.stdout.write(_dot(_drawing(spec)))


def _as_svg(spec: WorkflowSpec) -> None:
    """
    Print the picture that Graphviz makes of the graph.

    :raises AcceleratorError: its program is not there, fails, or takes too long.
    """
    source = _dot(_drawing(spec))
    elsewhere = "Or take --format dot, and draw that elsewhere"
    program = shutil.which("dot")
    if program is None:
        why = "the program dot of Graphviz is not on the PATH; install it (apt-get install graphviz)"
        raise AcceleratorError(f"{why}. {elsewhere}.")
    try:
        drawn = subprocess.run(  # noqa: S603 - a program on the person's own PATH
            [program, "-Tsvg"], input=source, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except subprocess.TimeoutExpired:
        raise AcceleratorError(f"dot has not drawn {len(spec.tasks)} tasks in {_PATIENCE:.0f} s. {elsewhere}.") from None
    except subprocess.CalledProcessError as error:
        raise AcceleratorError(f"dot cannot draw it: {first_line(error.stderr)} {elsewhere}.") from None
    sys.stdout.write(drawn.stdout)


@dataclass(frozen=True)
class _Drawing:
    """
    What is drawn of a workflow: names, which no language takes for words of its own, and what stands at them.

    :param before: of what the workflow comes after.
    :param off: of the tasks that are switched off.
    """

    workflow_id: str
    tasks: Mapping[str, str]
    before: Mapping[str, str]
    off: Sequence[str]
    first: Sequence[str]
    edges: Sequence[tuple[str, str]]


def _drawing(spec: WorkflowSpec) -> _Drawing:
    names = {task_id: f"t{number}" for number, task_id in enumerate(flow_order(spec.children()))}
    with_parents = {child for _, child in spec.edges}
    return _Drawing(
        spec.workflow_id,
        {name: task_id for task_id, name in names.items()},
        {f"b{number}": other for number, other in enumerate(spec.options.after)},
        sorted(names[task.task_id] for task in spec.tasks if not task.enabled),
        [name for task_id, name in names.items() if task_id not in with_parents],
        [(names[parent], names[child]) for parent, child in spec.edges],
    )


def _mermaid(drawing: _Drawing) -> Iterator[str]:
    yield "flowchart LR"
    # Ids of tasks are plain letters, digits and marks, so they need no escapes.
    yield from (f'    {name}["{task_id}"]' for name, task_id in drawing.tasks.items())
    for name, other in drawing.before.items():
        label = other.replace('"', "#quot;")
        yield f'    {name}(["{label}"])'
    yield from (f"    {name} -.-> {first}" for name in drawing.before for first in drawing.first)
    yield from (f"    {parent} --> {child}" for parent, child in drawing.edges)
    if drawing.off:
        yield "    classDef off stroke-dasharray: 4"
        yield f"    class {','.join(drawing.off)} off"


def _dot(drawing: _Drawing) -> str:
    """
    Return the text from which Graphviz draws.

    :raises AcceleratorError: the package that writes it is not there.
    """
    try:
        import graphviz  # type: ignore[import-untyped]  # it has no types
    except ImportError:
        raise AcceleratorError(
            'this format needs the package graphviz; run: pip install "airflow-provider-cloud-accelerator[graphviz]".'
        ) from None
    dot = graphviz.Digraph(
        drawing.workflow_id, graph_attr={"rankdir": "LR"}, node_attr={"shape": "box", "fontname": "sans-serif"}
    )
    for name, task_id in drawing.tasks.items():
        dot.node(name, graphviz.escape(task_id), style="dashed" if name in drawing.off else "rounded")
    for name, other in drawing.before.items():
        dot.node(name, graphviz.escape(other), shape="oval")
    for name in drawing.before:
        for first in drawing.first:
            dot.edge(name, first, style="dashed")
    dot.edges(drawing.edges)
    return str(dot.source)


_WRITERS = {"table": _as_table, "json": _as_json, "mermaid": _as_mermaid, "dot": _as_dot, "svg": _as_svg}
