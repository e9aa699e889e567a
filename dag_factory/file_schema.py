"""
The JSON Schema of a file of workflows, for editors: what :mod:`dag_factory.validation` says of keys, types and bounds.

It is made of the same models. What rows say of each other, such as a parent that is missing, a schema cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from dag_factory import foreach
from dag_factory.problems import suggestion
from dag_factory.specs import TaskId, TaskSpec, WorkflowOptions
from dag_factory.task_types.registry import TaskTypes
from provider.exceptions import AcceleratorError
from provider.texts import quoted

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def file_schema(types: TaskTypes) -> dict[str, Any]:
    """
    Return the schema of a file of workflows.

    :param types: task types that may be used.
    """
    known = {name: model for name in types if (model := _config_model(types, name)) is not None}
    models: list[type[BaseModel]] = [WorkflowOptions, TaskSpec, *known.values()]
    references, schema = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = schema["$defs"]
    workflow, task = definitions.pop(WorkflowOptions.__name__), definitions.pop(TaskSpec.__name__)
    _complete_task(task, {name: references[(model, "validation")] for name, model in known.items()}, list(types))
    workflow["properties"]["tasks"] = {"type": "array", "items": {"$ref": "#/$defs/task"}}
    workflow["properties"][foreach.KEY] = {"type": "array", "minItems": 1, "maxItems": foreach.MOST, "items": {"type": "object"}}
    whole = {
        "$schema": _DIALECT,
        "title": "Workflows for accelerator import",
        "type": "object",
        "additionalProperties": False,
        "required": ["workflows"],
        "properties": {"workflows": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/workflow"}}},
        "$defs": {**definitions, "task": task, "workflow": workflow},
    }
    found: dict[str, Any] = _without_titles(whole)
    return found


def config_schema(types: TaskTypes, name: str) -> dict[str, Any]:
    """
    Return the schema of the column ``config`` of a task type.

    :raises AcceleratorError: there is no such type.
    """
    found = types.get(name)
    if found is None:
        raise AcceleratorError(f"there is no task type {quoted(name)}; {suggestion(name, list(types), 'types are')}.")
    schema: dict[str, Any] = _without_titles({"$schema": _DIALECT, **found.config_model.model_json_schema()})
    return schema


def _config_model(types: TaskTypes, name: str) -> type[BaseModel] | None:
    """Return the model of a type's config; None for a type of another package that cannot be loaded."""
    try:
        found = types.get(name)
    except ImportError:
        return None
    return found.config_model if found is not None else None


def _complete_task(task: dict[str, Any], configs: Mapping[str, Mapping[str, Any]], names: list[str]) -> None:
    """Make of the row of a task what stands in a file: its parents beside it, no workflow, and a config by its type."""
    del task["properties"]["workflow_id"]
    task["required"] = [name for name in task["required"] if name != "workflow_id"]
    task["properties"] |= {
        "task_type": {"enum": names},
        "config": {"type": "object"},
        "depends_on": TypeAdapter(list[TaskId]).json_schema(),
    }
    task["allOf"] = [
        {
            "if": {"properties": {"task_type": {"const": name}}},
            "then": {"properties": {"config": config}},
        }
        for name, config in configs.items()
    ]


def _without_titles(schema: Any) -> Any:
    """Leave out what Pydantic makes of names, which says nothing, and how models describe themselves to who reads their code."""
    if isinstance(schema, list):
        return [_without_titles(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made_up = {name for name in ("title", "description") if isinstance(schema.get(name), str)}
    keep = "$schema" in schema
    return {
        name: {key: _without_titles(value) for key, value in inner.items()}
        if name in ("properties", "$defs") and isinstance(inner, dict)
        else _without_titles(inner)
        for name, inner in schema.items()
        if keep or name not in made_up
    }
