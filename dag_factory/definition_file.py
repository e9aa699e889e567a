"""
The file format of ``accelerator import`` and ``export``: the columns of the tables, with tasks below their workflow.

Only the shape is checked here: lists and objects where they belong, ids, known keys. What the values mean is checked by
:mod:`dag_factory.validation`, for rows from a file and from the tables alike. A key that is left out has its default. An entry
with ``foreach`` stands for several, see :mod:`dag_factory.foreach`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypedDict

from pydantic import BaseModel

from dag_factory import foreach
from dag_factory.problems import Problem, edge_name, in_words, other_key, row_name, searches_bounded, shorten
from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.rows import DefinitionRows
from provider.strict_yaml import Places

WORKFLOW_KEYS = frozenset(WorkflowOptions.model_fields) | {"tasks"}
TASK_KEYS = frozenset(TaskSpec.model_fields) - {"workflow_id"} | {"depends_on"}

#: What people call a key who come from Airflow or other systems, and what it is called here.
_OTHER_NAMES = {
    "workflow_id": {
        **dict.fromkeys(("id", "name", "dag_id", "workflow"), "workflow_id"),
        **dict.fromkeys(("cron", "schedule_interval"), "schedule"),
        "max_active_runs": "max_active_batches",
        "dagrun_timeout": "run_timeout_seconds",
        "is_paused_upon_creation": "paused_at_first",
        "doc_md": "doc",
    },
    "task_id": {
        **dict.fromkeys(("id", "name", "task"), "task_id"),
        **dict.fromkeys(("type", "operator"), "task_type"),
        **dict.fromkeys(("parents", "upstream", "needs", "dependencies", "after"), "depends_on"),
        **dict.fromkeys(("args", "arguments", "parameters"), "config"),
        **dict.fromkeys(("timeout", "execution_timeout"), "timeout_seconds"),
        "retry_delay": "retry_delay_seconds",
        "priority_weight": "priority",
        "trigger_rule": "on_parent_skip or run_if",
        "doc_md": "doc",
    },
}


class FileData(TypedDict):
    """The plain data of a file: workflows with the columns that have not their default, and their ``tasks``."""

    workflows: list[dict[str, Any]]


@dataclass(frozen=True)
class ParsedFile:
    """
    What a file says.

    :param rows: what of it are rows, with the columns that the file gives.
    :param problems: why the rest is none, with the place in the file as their row.
    :param places: where the keys of the file stand.
    :param entries: row of a problem → the entry of the file that it is about.
    """

    rows: DefinitionRows = field(default_factory=DefinitionRows)
    problems: list[Problem] = field(default_factory=list)
    places: Places = field(default_factory=Places)
    entries: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, place: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem("", place, message))

    def beginning(self, problem: Problem) -> tuple[int, int] | None:
        """Return line and column of the entry that a problem is about; None where the file has none."""
        entry = self.entries.get(problem.row)
        return None if entry is None else self.places.of(entry)

    def where(self, problem: Problem) -> tuple[int, int] | None:
        """Return line and column of the key that a problem is about, or of its entry; None where the file has none."""
        entry = self.entries.get(problem.row)
        if entry is None:
            return None
        edge = problem.row.startswith("task_dependencies ")
        found = re.match(r"(?:unknown key )?([\w.]+)", problem.message)
        path = "depends_on" if edge else found[1] if found else ""
        place, value = self.places.of(entry), entry
        for key in path.split("."):
            if not isinstance(value, Mapping) or key not in value:
                break
            place, value = self.places.of(value, key) or place, value[key]
        return place


def parse(data: Any, places: Places | None = None) -> ParsedFile:
    """
    Turn the plain data of a file into rows, and note everything that cannot be rows.

    :param places: where the keys of the file stand.
    """
    with searches_bounded():
        return _parse(data, ParsedFile(places=places or Places()))


def _parse(data: Any, parsed: ParsedFile) -> ParsedFile:
    if not isinstance(data, dict):
        parsed.add("the file", f'must be an object with the key "workflows", not {in_words(data)}')
        return parsed
    if "workflows" not in data and data.keys() & {"workflow_id", "tasks"}:
        parsed.add(
            "the file", 'is one workflow by itself; put "workflows:" above it, "- " before workflow_id, and indent the rest'
        )
        return parsed
    _tell_unknown(data, {"workflows"}, "the file", {}, parsed)
    if not data.get("workflows"):
        parsed.add("workflows", "must be a list with at least one workflow")
        return parsed
    for place, entry in _objects(data["workflows"], "workflows", "workflow_id", WORKFLOW_KEYS | {foreach.KEY}, parsed):
        for one in _each(entry, place, parsed):
            _parse_workflow(one, place, parsed)
    return parsed


def _each(entry: Mapping[str, Any], place: str, parsed: ParsedFile) -> Iterator[Mapping[str, Any]]:
    """Yield the workflows that an entry stands for: itself, or one for each value of its list."""
    if foreach.KEY not in entry:
        yield entry
        return
    for index, one in enumerate(foreach.expanded(entry, parsed.places, lambda message: parsed.add(place, message))):
        if isinstance(one["workflow_id"], str) and one["workflow_id"]:
            yield one
        else:
            found = in_words(one["workflow_id"])
            parsed.add(place, f"foreach[{index}]: workflow_id becomes {found}; let it become text")


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
    parsed.rows.workflows.append(_columns(entry, WORKFLOW_KEYS, "tasks"))
    parsed.entries[row_name("workflows", "workflow_id", entry["workflow_id"])] = entry
    for task_place, task in _objects(entry.get("tasks", []), f"{place}: tasks", "task_id", TASK_KEYS, parsed):
        columns = _columns(task, TASK_KEYS, "depends_on")
        parsed.entries[row_name("tasks", "task_id", task["task_id"])] = task
        parsed.rows.tasks.append({**columns, "workflow_id": entry["workflow_id"]})
        parents = task.get("depends_on", [])
        if isinstance(parents, list) and all(isinstance(parent, str) for parent in parents):
            for parent in parents:
                parsed.rows.dependencies.append({"parent_id": parent, "child_id": task["task_id"]})
                parsed.entries[edge_name(parent, task["task_id"])] = task
        else:
            parsed.add(task_place, f"depends_on: must be a list of task ids, not {in_words(parents)}")


def _columns(entry: Mapping[str, Any], known: Set[str], nested: str) -> dict[str, Any]:
    """Return what of an entry are columns: its known keys, without the one that holds other rows."""
    return {key: value for key, value in entry.items() if key in known and key != nested}


def _tell_unknown(
    entry: Mapping[str, Any], known: Set[str], place: str, other_names: Mapping[str, str], parsed: ParsedFile
) -> None:
    for key in entry:
        if key not in known:
            parsed.add(place, f"unknown key {shorten(key)}; {other_key(key, known, other_names)}")


def _objects(value: Any, name: str, id_key: str, known: Set[str], parsed: ParsedFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """
    Yield the entries of a list that are objects with an id, each with its place in the file.

    Unknown keys are told first: one of them is often what is said to be missing.
    """
    if not isinstance(value, list):
        parsed.add(name, f"must be a list, not {in_words(value)}")
        return
    for index, entry in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(entry, dict):
            parsed.add(place, f"must be an object, not {in_words(entry)}")
            continue
        has_id = isinstance(entry.get(id_key), str) and entry[id_key]
        if has_id:
            place = f"{place} {shorten(entry[id_key])}"
        parsed.entries[place] = entry
        _tell_unknown(entry, known, place, _OTHER_NAMES[id_key], parsed)
        if id_key not in entry:
            if not any(_OTHER_NAMES[id_key].get(key) == id_key for key in entry):
                parsed.add(place, f"{id_key}: missing; add it")
        elif not has_id:
            parsed.add(place, f"{id_key}: must be text, not {in_words(entry[id_key])}")
        else:
            yield place, entry


def without_defaults(row: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return the columns of a row that say something else than the default."""
    fields = model.model_fields
    return {
        name: value
        for name, value in row.items()
        if fields[name].is_required() or (value not in (None, {}, []) and value != fields[name].default)
    }
