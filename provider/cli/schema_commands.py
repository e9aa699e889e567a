"""``accelerator schema`` and ``accelerator task-types``: what a file of workflows may say, for editors and people."""

from __future__ import annotations

import argparse
import inspect
import sys

from dag_factory.file_schema import config_schema, file_schema
from dag_factory.specs import TaskOptions
from dag_factory.task_types.registry import TaskTypes, task_types
from provider.cli.output import write_json, write_table
from provider.texts import first_line


def schema(args: argparse.Namespace) -> int:  # noqa: ARG001 - every handler takes the arguments
    """Write the JSON Schema of a file of workflows."""
    write_json(file_schema(task_types()))
    return 0


def list_task_types(args: argparse.Namespace) -> int:
    """
    List the task types, or write the JSON Schema of the config of one; returns 1 where one cannot be loaded.

    :raises AcceleratorError: there is no such type.
    """
    types = task_types()
    if args.schema is not None:
        write_json(config_schema(types, args.schema))
        return 0
    rows, failed = [], False
    for name in types:
        try:
            rows.append(_cells(types, name))
        except ImportError as error:
            failed = True
            sys.stderr.write(f"error: task type {name} cannot be loaded: {error}\n")
    write_table(("type", "defaults", "config"), rows)
    return 1 if failed else 0


def _cells(types: TaskTypes, name: str) -> tuple[str, str, str]:
    found = types.get(name)
    assert found is not None, "the name is one of the types'"
    said = {option: getattr(found.defaults, option) for option in TaskOptions.model_fields}
    defaults = ", ".join(f"{option} {value}" for option, value in said.items() if value is not None)
    return name, defaults, first_line(inspect.getdoc(found.config_model) or "")
