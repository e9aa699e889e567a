"""
The file format of ``accelerator import`` and ``export``: the columns of the tables, with tasks below their workflow.

Only the shape is checked here: lists and objects where they belong, ids, known keys. What the values mean is checked by
:mod:`dag_factory.validation`, for rows from a file and from the tables alike. A key that is left out has its default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypedDict

from pydantic import BaseModel

from dag_factory.problems import Problem, in_words, searches_bounded, shorten, suggestion
from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.rows import DefinitionRows

WORKFLOW_KEYS = frozenset(WorkflowOptions.model_fields) | {"tasks"}
TASK_KEYS = frozenset(TaskSpec.model_fields) - {"workflow_id"} | {"depends_on"}


class FileData(TypedDict):
    """The plain data of a file: workflows with the columns that have not their default, and their ``tasks``."""

    workflows: list[dict[str, Any]]


@dataclass(frozen=True)
class ParsedFile:
    """
    What a file says.

    :param rows: what of it are rows, with the columns that the file gives.
    :param problems: why the rest is none, with the place in the file as their row.
    """

    rows: DefinitionRows = field(default_factory=DefinitionRows)
    problems: list[Problem] = field(default_factory=list)

    def add(self, place: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem("", place, message))


def parse(data: Any) -> ParsedFile:
    """Turn the plain data of a file into rows, and note everything that cannot be rows."""
    with searches_bounded():
        return _parse(data)


def _parse(data: Any) -> ParsedFile:
    parsed = ParsedFile()
    if not isinstance(data, dict):
        parsed.add("the file", f'must be an object with the key "workflows", not {in_words(data)}')
        return parsed
    _columns(data, {"workflows"}, "workflows", "the file", parsed)
    if not data.get("workflows"):
        parsed.add("workflows", "must be a list with at least one workflow")
        return parsed
    for place, entry in _objects(data["workflows"], "workflows", "workflow_id", parsed):
        _parse_workflow(entry, place, parsed)
    return parsed


def to_data(rows: DefinitionRows) -> FileData:
    """Return the plain data of a file with these rows; columns that have their default are left out."""
    parents: dict[str, list[str]] = {}
    for edge in rows.dependencies:
        parents.setdefault(edge["child_id"], []).append(edge["parent_id"])
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in rows.tasks:
        columns = {name: value for name, value in row.items() if name != "workflow_id"}
        entry = {**without_defaults(columns, TaskSpec), "depends_on": sorted(parents.get(row["task_id"], []))}
        tasks.setdefault(row["workflow_id"], []).append({name: value for name, value in entry.items() if value != []})
    return {
        "workflows": [
            {**without_defaults(row, WorkflowOptions), "tasks": tasks.get(row["workflow_id"], [])} for row in rows.workflows
        ]
    }


def _parse_workflow(entry: Mapping[str, Any], place: str, parsed: ParsedFile) -> None:
    parsed.rows.workflows.append(_columns(entry, WORKFLOW_KEYS, "tasks", place, parsed))
    for task_place, task in _objects(entry.get("tasks", []), f"{place}: tasks", "task_id", parsed):
        columns = _columns(task, TASK_KEYS, "depends_on", task_place, parsed)
        parsed.rows.tasks.append({**columns, "workflow_id": entry["workflow_id"]})
        parents = task.get("depends_on", [])
        if isinstance(parents, list) and all(isinstance(parent, str) for parent in parents):
            parsed.rows.dependencies.extend({"parent_id": parent, "child_id": task["task_id"]} for parent in parents)
        else:
            parsed.add(task_place, f"depends_on: must be a list of task ids, not {in_words(parents)}")


def _columns(entry: Mapping[str, Any], known: Set[str], nested: str, place: str, parsed: ParsedFile) -> dict[str, Any]:
    """Return what of an entry are columns: its known keys, without the one that holds other rows."""
    for key in entry:
        if key not in known:
            parsed.add(place, f"unknown key {shorten(key)}; {suggestion(key, known, 'known keys are')}")
    return {key: value for key, value in entry.items() if key in known and key != nested}


def _objects(value: Any, name: str, id_key: str, parsed: ParsedFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the entries of a list that are objects with an id, each with its place in the file."""
    if not isinstance(value, list):
        parsed.add(name, f"must be a list, not {in_words(value)}")
        return
    for index, entry in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(entry, dict):
            parsed.add(place, f"must be an object, not {in_words(entry)}")
        elif id_key not in entry:
            parsed.add(place, f"{id_key}: missing; add it")
        elif not isinstance(entry[id_key], str) or not entry[id_key]:
            parsed.add(place, f"{id_key}: must be text, not {in_words(entry[id_key])}")
        else:
            yield f"{place} {shorten(entry[id_key])}", entry


def without_defaults(row: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the columns of a row that say something else than the default."""
    fields = model.model_fields
    return {
        name: value
        for name, value in row.items()
        if fields[name].is_required() or (value not in (None, {}, []) and value != fields[name].default)
    }
