"""
The kinds of tasks that rows may ask for.

A task type is a name, a model of its configuration and a function that makes the operator. Model and function are apart:
rows are checked without Airflow, and a task process imports only the operator it runs. Other packages add types by an entry
point of the group :data:`ENTRY_POINT_GROUP` that names a :class:`TaskType`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict

from dag_factory.specs import TaskOptions

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

ENTRY_POINT_GROUP = "airflow_provider_cloud_accelerator.task_types"


class TaskConfig(BaseModel):
    """Base of configuration models: the JSON in the column ``config``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    templated: ClassVar[frozenset[str]] = frozenset()
    """Fields whose texts may be templates: those that the operator's ``template_fields`` render."""


OperatorBuilder = Callable[[Any, dict[str, Any]], "BaseOperator"]
"""``(config, kwargs)`` → operator; ``kwargs`` are those of ``BaseOperator``."""


@dataclass(frozen=True)
class TaskType:
    """
    One kind of task.

    :param name: what the column ``task_type`` says.
    :param config_model: model of the column ``config``. Its module imports neither Airflow nor a service's library.
    :param build: ``module:function``, an :data:`OperatorBuilder`; imported when the first operator is made.
    :param defaults: options that hold where neither workflow nor task says another.
    """

    name: str
    config_model: type[TaskConfig]
    build: str
    defaults: TaskOptions = field(default_factory=TaskOptions)

    def operator(self, config: TaskConfig, kwargs: dict[str, Any]) -> BaseOperator:
        """Make the operator of a task."""
        module, _, function = self.build.partition(":")
        builder = cast("OperatorBuilder", getattr(importlib.import_module(module), function))
        return builder(config, kwargs)


class TaskTypes:
    """The task types of this installation; those of other packages are loaded when a row asks for one."""

    def __init__(self, *types: TaskType) -> None:
        self._types = {task_type.name: task_type for task_type in types}

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self._types, *self._entry_points})

    def is_built_in(self, name: str) -> bool:
        """Tell whether a type comes with this package."""
        return name in self._types

    def get(self, name: str) -> TaskType | None:
        """
        Return a type, or None where nobody offers it.

        :raises ImportError: another package offers it and cannot be loaded, or offers something else.
        """
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
    from dag_factory.task_types import bigquery, bigquery_query, dataform, external, gcs, power_bi

    modules = (dataform, power_bi, bigquery, bigquery_query, gcs, external)
    return TaskTypes(*(module.TASK_TYPE for module in modules))
