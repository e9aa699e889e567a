"""
What a task type is: a name, a model of its configuration and a function that makes the operator.

Each type is one module. Rows are checked without Airflow, and a task process imports only the operator it runs; so a module
imports neither Airflow nor a service's library at its top, and its ``build`` imports the operator. Other packages add types by
an entry point, see :mod:`dag_factory.task_types.registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict

from dag_factory.specs import TaskOptions
from dag_factory.templates import to_airflow

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.sdk import DAG, Asset, BaseOperator, TaskGroup

__all__ = ["BaseOperatorArguments", "OperatorBuilder", "TaskConfig", "TaskType", "Templated", "operator_arguments"]

T = TypeVar("T")


class _MayBeTemplate:
    """Mark of a field of a configuration whose texts may be templates."""


_MAY_BE_TEMPLATE = _MayBeTemplate()

#: Type of a field of a configuration whose texts may be templates: ``table: Templated[str]``. The operator must render it, so
#: it is one of the operator's ``template_fields``.
Templated = Annotated[T, _MAY_BE_TEMPLATE]


class TaskConfig(BaseModel):
    """Base of configuration models: the JSON in the column ``config``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@cache
def templated_keys(model: type[TaskConfig]) -> frozenset[str]:
    """Return the keys of a configuration whose texts may be templates: those of its :data:`Templated` fields."""
    return frozenset(info.alias or name for name, info in model.model_fields.items() if _MAY_BE_TEMPLATE in info.metadata)


class BaseOperatorArguments(TypedDict, total=False):
    """What the factory says about every task, in the words of ``BaseOperator``; a builder hands it on."""

    task_id: str
    dag: DAG
    owner: str
    doc_md: str
    trigger_rule: str
    pre_execute: Callable[[Any], None]
    retries: int
    retry_delay: timedelta
    retry_exponential_backoff: float
    max_retry_delay: timedelta
    execution_timeout: timedelta
    pool: str
    pool_slots: int
    priority_weight: int
    weight_rule: str
    queue: str
    executor: str
    depends_on_past: bool
    max_active_tis_per_dag: int
    max_active_tis_per_dagrun: int
    task_display_name: str
    task_group: TaskGroup
    outlets: list[Asset]


#: ``(config, arguments)`` → operator.
OperatorBuilder = Callable[[Any, BaseOperatorArguments], "BaseOperator"]


@dataclass(frozen=True)
class TaskType:
    """
    One kind of task.

    :param name: what the column ``task_type`` says.
    :param config_model: model of the column ``config``.
    :param build: makes the operator of a task. Only it may import Airflow, and the library of the type's service.
    :param defaults: options that hold where neither workflow nor task says another.
    """

    name: str
    config_model: type[TaskConfig]
    build: OperatorBuilder
    defaults: TaskOptions = field(default_factory=TaskOptions)


def operator_arguments(config: TaskConfig) -> dict[str, Any]:
    """Return what the row says, with templates in Airflow's names; the operator's defaults hold for the rest."""
    return dict(to_airflow(config.model_dump(mode="json", by_alias=True, exclude_none=True)))
