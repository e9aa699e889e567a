"""
The task types of this installation: those of this package, and those that other packages add.

Another package adds a type by an entry point of the group :data:`ENTRY_POINT_GROUP` that names a
:class:`~dag_factory.task_types.TaskType`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from functools import cached_property

from dag_factory.task_types import TaskType

__all__ = ["ENTRY_POINT_GROUP"]

ENTRY_POINT_GROUP = "airflow_provider_cloud_accelerator.task_types"

#: Name of a type of this package → the module that has it.
BUILT_IN = {
    "bigquery_check": "bigquery_check",
    "bigquery_load": "bigquery",
    "bigquery_query": "bigquery_query",
    "dataform": "dataform",
    "external": "external",
    "gcs_archive": "gcs",
    "gcs_copy": "gcs_copy",
    "gcs_delete": "gcs_delete",
    "http": "http",
    "human_approval": "human_approval",
    "operator": "operator",
    "power_bi_refresh": "power_bi",
    "pubsub_publish": "pubsub_publish",
    "python": "python",
    "run_workflow": "run_workflow",
    "sql": "sql",
    "wait_for_workflow": "wait_for_workflow",
}

#: Types of this package whose operators are others' code, which may look at the whole DAG.
_OF_OTHERS = frozenset({"human_approval", "operator", "python"})


class TaskTypes:
    """
    Task types by name; each is loaded when a row asks for it, since a task process needs one alone.

    :param types: used besides those of this package and those of the entry points, or instead of one with the same name.
    """

    def __init__(self, *types: TaskType) -> None:
        self._types = {task_type.name: task_type for task_type in types}

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self._types, *BUILT_IN, *self._entry_points})

    def is_built_in(self, name: str) -> bool:
        """Tell whether the operators of a type come with this package."""
        return name in BUILT_IN and name not in _OF_OTHERS

    def are_built_in(self, names: Iterable[str]) -> bool:
        """Tell whether all operators of these types come with this package, which knows then what they do."""
        return all(self.is_built_in(name) for name in names)

    def get(self, name: str) -> TaskType | None:
        """
        Return a type, or None where nobody offers it.

        :raises ImportError: another package offers it and cannot be loaded, or offers something else.
        """
        if name in BUILT_IN and name not in self._types:
            self._types[name] = importlib.import_module(f"dag_factory.task_types.{BUILT_IN[name]}").TASK_TYPE
        if name in self._types or name not in self._entry_points:
            return self._types.get(name)
        if name not in self._loaded:
            self._loaded[name] = _load(self._entry_points[name])
        found = self._loaded[name]
        if isinstance(found, Exception):
            raise ImportError(str(found)) from found
        return found

    @cached_property
    def _loaded(self) -> dict[str, TaskType | Exception]:
        return {}

    @cached_property
    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _load(point: importlib.metadata.EntryPoint) -> TaskType | Exception:
    try:
        loaded = point.load()
    except Exception as error:  # noqa: BLE001 - whatever a foreign package raises while it is imported
        return ImportError(f"{type(error).__name__}: {error}")
    if not isinstance(loaded, TaskType) or loaded.name != point.name:
        return ImportError(f"the entry point {point.value} does not name a TaskType called {point.name}")
    return loaded


def task_types() -> TaskTypes:
    """Return the built-in task types, and those of the entry points."""
    return TaskTypes()
