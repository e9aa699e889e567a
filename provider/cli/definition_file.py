"""
The file format of ``accelerator import`` and ``export``: the columns of the tables, with tasks below their workflow.

Only the shape is checked here: lists and maps where they belong, known keys, ids given once. What the values mean is checked
by :mod:`dag_factory.validation`, for rows from a file and from the tables alike. A key that is left out has its default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from dag_factory.problems import shown, suggestion
from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.definitions import DefinitionRows

WORKFLOW_KEYS = frozenset(WorkflowOptions.model_fields) | {"tasks"}
TASK_KEYS = frozenset(TaskSpec.model_fields) - {"workflow_id"} | {"depends_on"}


@dataclass(frozen=True)
class ParsedFile:
    """
    What a file says.

    :param rows: rows with the columns that the file gives.
    :param problems: one line each, with the place in the file; the rows are of no use where there is one.
    """

    rows: DefinitionRows = field(default_factory=DefinitionRows)
    problems: list[str] = field(default_factory=list)


def parse(data: Any) -> ParsedFile:
    """Turn the plain data of a file into rows, and list every problem that keeps it from being rows."""
    parsed = ParsedFile()
    if not isinstance(data, dict):
        parsed.problems.append(f'the file must be an object with the key "workflows", not {shown(data)}.')
        return parsed
    parsed.problems.extend(_unknown_keys(data, {"workflows"}, ""))
    if not data.get("workflows"):
        parsed.problems.append("workflows: must be a list with at least one workflow.")
        return parsed
    for place, entry in _objects(data["workflows"], "workflows", "workflow_id", "", parsed.problems):
        _parse_workflow(entry, place, parsed)
    parsed.problems.extend(_repeated_ids(parsed.rows))
    return parsed


def to_data(rows: DefinitionRows) -> dict[str, Any]:
    """Return the plain data of a file with these rows; columns that have their default are left out."""
    parents: dict[str, list[str]] = {}
    for edge in rows.dependencies:
        parents.setdefault(edge["child_id"], []).append(edge["parent_id"])
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in rows.tasks:
        columns = {name: value for name, value in row.items() if name != "workflow_id"}
        entry = {**_without_defaults(columns, TaskSpec), "depends_on": sorted(parents.get(row["task_id"], []))}
        tasks.setdefault(row["workflow_id"], []).append({name: value for name, value in entry.items() if value != []})
    return {
        "workflows": [
            {**_without_defaults(row, WorkflowOptions), "tasks": tasks.get(row["workflow_id"], [])} for row in rows.workflows
        ]
    }


def _parse_workflow(entry: Mapping[str, Any], place: str, parsed: ParsedFile) -> None:
    parsed.problems.extend(_unknown_keys(entry, WORKFLOW_KEYS, place))
    workflow_id = entry.get("workflow_id")
    parsed.rows.workflows.append({name: value for name, value in entry.items() if name != "tasks"})
    for task_place, task in _objects(entry.get("tasks", []), "tasks", "task_id", f"{place}: ", parsed.problems):
        parsed.problems.extend(_unknown_keys(task, TASK_KEYS, task_place))
        columns = {name: value for name, value in task.items() if name != "depends_on"}
        parsed.rows.tasks.append({**columns, "workflow_id": workflow_id})
        if not task.get("task_type"):
            parsed.problems.append(f"{task_place}: task_type: missing; say what the task does.")
        parents = task.get("depends_on", [])
        if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
            parsed.problems.append(f"{task_place}: depends_on: must be a list of task ids, not {shown(parents)}.")
            continue
        for parent, count in Counter(parents).items():
            parsed.rows.dependencies.append({"parent_id": parent, "child_id": task["task_id"]})
            if count > 1:
                parsed.problems.append(f"{task_place}: depends_on: names {parent} {count} times; name it once.")


def _objects(value: Any, name: str, id_key: str, prefix: str, problems: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the entries of a list that are objects with an id, each with its place in the file."""
    if not isinstance(value, list):
        problems.append(f"{prefix}{name}: must be a list, not {shown(value)}.")
        return
    for index, entry in enumerate(value):
        place = f"{prefix}{name}[{index}]"
        if not isinstance(entry, dict):
            problems.append(f"{place}: must be an object, not {shown(entry)}.")
        elif id_key not in entry:
            problems.append(f"{place}: {id_key}: missing; add it.")
        elif not isinstance(entry[id_key], str) or not entry[id_key]:
            problems.append(f"{place}: {id_key}: must be text, not {shown(entry[id_key])}.")
        else:
            yield f"{place} {entry[id_key]}", entry


def _unknown_keys(entry: Mapping[str, Any], known: Iterable[str], place: str) -> Iterator[str]:
    for key in entry:
        if key not in known:
            yield f'{place + ": " if place else ""}unknown key "{key}"; {suggestion(key, known, "known keys are")}'


def _repeated_ids(rows: DefinitionRows) -> Iterator[str]:
    for workflow_id, count in Counter(row["workflow_id"] for row in rows.workflows).items():
        if count > 1:
            yield f"workflow {workflow_id}: given {count} times; give each workflow once."
    owners: dict[str, list[str]] = {}
    for row in rows.tasks:
        owners.setdefault(row["task_id"], []).append(row["workflow_id"])
    for task_id, workflow_ids in owners.items():
        if len(workflow_ids) > 1:
            places = " and ".join(workflow_ids)
            yield f"task {task_id}: given {len(workflow_ids)} times, in {places}; a task_id is unique over all workflows."


def _without_defaults(row: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields
    return {
        name: value
        for name, value in row.items()
        if fields[name].is_required() or (value not in (None, {}, []) and value != fields[name].default)
    }
