"""
What a task type is: a name, a model of its configuration and a function that says which operator it is, and with what.

Each type is one module. Rows are checked without Airflow, and a task process imports only the operator it runs; so a module
imports neither Airflow nor a service's library at its top, and its ``operator`` imports the class. Other packages add types by
an entry point, see :mod:`dag_factory.task_types.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from dag_factory.specs import TaskOptions
from dag_factory.templates import to_airflow

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

__all__ = ["OperatorCall", "TaskConfig", "TaskType", "Templated", "operator_arguments"]

T = TypeVar("T")


class _MayBeTemplate:
    """Mark of a field of a configuration whose texts may be templates."""


_MAY_BE_TEMPLATE = _MayBeTemplate()

#: Type of a field of a configuration whose texts may be templates: ``table: Templated[str]``. The operator must render it, so
#: it is one of the operator's ``template_fields``.
Templated = Annotated[T, _MAY_BE_TEMPLATE]


class TaskConfig(BaseModel):
    """Base of configuration models: the JSON in the column ``config``."""

    # Its schema is made when it is first used; those of the classes in between never are.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


@cache
def templated_keys(model: type[TaskConfig]) -> frozenset[str]:
    """Return the keys of a configuration whose texts may be templates: those of its :data:`Templated` fields."""
    return frozenset(info.alias or name for name, info in model.model_fields.items() if _MAY_BE_TEMPLATE in info.metadata)


#: The class of an operator, and its own arguments.
OperatorCall = tuple[type["BaseOperator"], dict[str, Any]]


@dataclass(frozen=True)
class TaskType:
    """
    One kind of task.

    :param name: what the column ``task_type`` says.
    :param config_model: model of the column ``config``.
    :param operator: configuration → what to call for it; what every operator takes, such as ``task_id``, is added by the factory.
        Only it may import Airflow, and the library of the type's service.
    :param defaults: options that hold where neither workflow nor task says another.
    :param finish: looks at an operator that was made of a configuration, and may change it; of an expanded task at the mapped
        one, by its first configuration, and at each instance in its process.
    :param can_expand: whether one task may have many instances.
    :param keeps_templates: its operators have what they render as they were given it, and conclude no more from it than what
        of it is given; so one may be made like another, see :class:`dag_factory.prototypes.Prototypes`.
    :param other_names: what other systems call a key of the configuration → what it is called here, for who mistakes it.
    """

    name: str
    config_model: type[TaskConfig]
    operator: Callable[[Any], OperatorCall]
    defaults: TaskOptions = field(default_factory=TaskOptions)
    finish: Callable[[Any, Any], None] | None = None
    can_expand: bool = True
    keeps_templates: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)


def operator_arguments(config: TaskConfig) -> dict[str, Any]:
    """Return what the row says, with templates in Airflow's names; the operator's defaults hold for the rest."""
    return dict(to_airflow(config.model_dump(mode="json", by_alias=True, exclude_none=True)))
