"""
The file format of ``accelerator import`` and ``export``: the columns of the tables, with tasks below their workflow.

Only the shape is checked here: known keys, their types, ids given once. What the values mean is checked by
:mod:`dag_factory.validation`, for rows from a file and from the tables alike.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from provider.metadata.definitions import DefinitionRows

Id = Annotated[str, StringConstraints(min_length=1, max_length=250)]
_Number = Annotated[int, Field(ge=0, le=2_147_483_647)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TaskEntry(_Entry):
    """A row of ``tasks``, with the ids of its parents from ``task_dependencies``."""

    task_id: Id
    task_type: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    config: dict[str, Any] = {}
    enabled: bool = True
    on_parent_skip: Annotated[str, StringConstraints(max_length=10)] = "skip"
    retries: _Number | None = None
    retry_delay_seconds: _Number | None = None
    timeout_seconds: _Number | None = None
    pool: Annotated[str, StringConstraints(max_length=256)] | None = None
    priority: Annotated[int, Field(ge=-2_147_483_648, le=2_147_483_647)] | None = None
    doc: str | None = None
    depends_on: list[Id] = []


class WorkflowEntry(_Entry):
    """A row of ``workflows``, with its tasks."""

    workflow_id: Id
    description: str | None = None
    schedule: Annotated[str, StringConstraints(max_length=200)] | None = None
    timezone: Annotated[str, StringConstraints(max_length=64)] = "UTC"
    start_date: Annotated[str, StringConstraints(max_length=40)] | None = None
    catchup: bool = False
    enabled: bool = True
    max_active_batches: _Number = 16
    default_args: dict[str, Any] = {}
    params: list[Any] = []
    tags: list[Any] = []
    owner: Annotated[str, StringConstraints(max_length=200)] | None = None
    file_pattern: Annotated[str, StringConstraints(max_length=1000)] | None = None
    tasks: list[TaskEntry] = []


class DefinitionFile(_Entry):
    """A whole file."""

    workflows: Annotated[list[WorkflowEntry], Field(min_length=1)]


@dataclass(frozen=True)
class ParsedFile:
    """
    What a file says.

    :param rows: every column of every row; empty where there are problems.
    :param problems: one line each, with the row it is about.
    """

    rows: DefinitionRows = field(default_factory=DefinitionRows)
    problems: list[str] = field(default_factory=list)


def parse(data: Any) -> ParsedFile:
    """Turn the plain data of a file into rows, or into every problem that keeps it from being rows."""
    try:
        file = DefinitionFile.model_validate(data)
    except ValidationError as error:
        return ParsedFile(problems=[_describe(detail, data) for detail in error.errors()])
    problems = list(_repeated_ids(file))
    return ParsedFile(problems=problems) if problems else ParsedFile(rows=_rows(file))


def to_data(rows: DefinitionRows) -> dict[str, Any]:
    """Return the plain data of a file with these rows; columns that have their default are left out."""
    parents: dict[str, list[str]] = {}
    for edge in rows.dependencies:
        parents.setdefault(edge["child_id"], []).append(edge["parent_id"])
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in rows.tasks:
        columns = {name: value for name, value in row.items() if name != "workflow_id"}
        entry = {**columns, "depends_on": sorted(parents.get(row["task_id"], []))}
        tasks.setdefault(row["workflow_id"], []).append(_without_defaults(entry, TaskEntry))
    return {
        "workflows": [
            _without_defaults({**row, "tasks": tasks.get(row["workflow_id"], [])}, WorkflowEntry) for row in rows.workflows
        ]
    }


def _without_defaults(entry: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields
    return {name: value for name, value in entry.items() if fields[name].is_required() or value != fields[name].default}


def _rows(file: DefinitionFile) -> DefinitionRows:
    rows = DefinitionRows()
    for workflow in file.workflows:
        rows.workflows.append(workflow.model_dump(exclude={"tasks"}))
        for task in workflow.tasks:
            rows.tasks.append({"workflow_id": workflow.workflow_id, **task.model_dump(exclude={"depends_on"})})
            rows.dependencies.extend({"parent_id": parent, "child_id": task.task_id} for parent in task.depends_on)
    return rows


def _repeated_ids(file: DefinitionFile) -> Iterator[str]:
    for workflow_id, count in Counter(workflow.workflow_id for workflow in file.workflows).items():
        if count > 1:
            yield f"workflow {workflow_id}: given {count} times; give each workflow once."
    owners: dict[str, list[str]] = {}
    for workflow in file.workflows:
        for task in workflow.tasks:
            owners.setdefault(task.task_id, []).append(workflow.workflow_id)
            for parent, count in Counter(task.depends_on).items():
                if count > 1:
                    yield f'workflow {workflow.workflow_id}: task {task.task_id}: depends_on names "{parent}" {count} times.'
    for task_id, workflow_ids in owners.items():
        if len(workflow_ids) > 1:
            places = ", ".join(workflow_ids)
            yield f"task {task_id}: given {len(workflow_ids)} times, in {places}; a task_id is unique over all workflows."


def _describe(detail: Mapping[str, Any], data: Any) -> str:
    """Return a problem that pydantic found, said in the words of the file: ``workflows[0] daily_sales: tasks[2] refresh: …``."""
    location = list(detail["loc"])
    model: type[BaseModel] = DefinitionFile
    parts: list[str] = []
    value = data
    while len(location) >= 2 and location[0] in ("workflows", "tasks") and isinstance(location[1], int):
        kind, index = location[0], location[1]
        value = value[kind][index]
        model = WorkflowEntry if kind == "workflows" else TaskEntry
        name = value.get("workflow_id" if kind == "workflows" else "task_id") if isinstance(value, dict) else None
        parts.append(f"{kind}[{index}]{f' {name}' if isinstance(name, str) and name else ''}")
        location = location[2:]
    key = ".".join(str(step) for step in location)
    return ": ".join([*parts, _message(detail, key, model)])


def _message(detail: Mapping[str, Any], key: str, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, model.model_fields, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(model.model_fields)}."
        return f'unknown key "{key}"; {hint}'
    if detail["type"] == "missing":
        return f'the key "{key}" is missing; add it.'
    if detail["type"] in ("model_type", "dict_type"):
        return f"{key + ' ' if key else ''}must be a map of keys and values, not {_shown(detail['input'])}."
    if key == "workflows" and detail["type"] == "too_short":
        return "workflows is empty; give at least one."
    message = detail["msg"].removeprefix("Input ")
    return f"{key} {message[0].lower()}{message[1:]}, not {_shown(detail['input'])}."


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
