"""
Task type ``operator``: any operator of the installed packages that ``[accelerator] allowed_operators`` allows.

Rows are data, so they name a class and never bring code: the name is matched before anything is imported, and again by where the
class is defined, since a module also has what it imports. The arguments are checked against the class's own signature.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter

from dag_factory.problems import suggestion
from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import Text
from dag_factory.task_types.signatures import (
    adapter_of,
    annotation_of,
    check_allowed,
    defined_at,
    fitting,
    imported,
    is_dotted,
)
from dag_factory.templates import contains_template
from provider.exceptions import DefinitionError
from provider.texts import quoted

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

#: What every operator takes and a row says in a column of its own, under these names.
COLUMNS: Mapping[str, str] = {
    "depends_on_past": "depends_on_past",
    "doc_md": "doc",
    "execution_timeout": "timeout_seconds",
    "executor": "executor",
    "max_active_tis_per_dag": "max_active_tis_per_dag",
    "max_active_tis_per_dagrun": "max_active_tis_per_dagrun",
    "max_retry_delay": "max_retry_delay_seconds",
    "outlets": "outlets",
    "owner": "owner",
    "pool": "pool",
    "pool_slots": "pool_slots",
    "priority_weight": "priority",
    "queue": "queue",
    "retries": "retries",
    "retry_delay": "retry_delay_seconds",
    "retry_exponential_backoff": "retry_backoff",
    "task_display_name": "display_name",
    "task_group": "task_group",
    "task_id": "task_id",
    "weight_rule": "weight_rule",
}
#: What every operator takes and a row may say among the arguments.
_SHARED = frozenset({"do_xcom_push"})
_SETTING = "allowed_operators"


def _class_path(value: str) -> str:
    if not is_dotted(value):
        raise ValueError(f"must be the path of a class, such as airflow.providers.X.operators.Y.ZOperator, not {quoted(value)}")
    return value


def _arguments(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if name in COLUMNS:
            raise ValueError(f"{name} is an option of every task; write it beside config, as {COLUMNS[name]}")
    return value


Arguments = Annotated[dict[str, Any], Field(max_length=100), AfterValidator(_arguments)]


class OperatorConfig(TaskConfig):
    """
    Configuration of an operator of another package.

    :param operator: path of the class.
    :param arguments: its own arguments by name. Those among its ``template_fields`` may be templates.
    """

    operator: Annotated[Text, AfterValidator(_class_path)]
    arguments: Templated[Arguments] = Field(default_factory=dict)


def operator(config: OperatorConfig) -> OperatorCall:
    """
    Return the class, and its arguments as its signature wants them.

    :raises ConfigurationError: it is not allowed.
    :raises DefinitionError: there is no such class, or it does not take these arguments.
    """
    found = operator_class(config.operator)
    given = operator_arguments(config)["arguments"]
    if problems := list(_refused(found, given)):
        raise DefinitionError("; ".join(problems))
    return found, {
        name: fitting(_adapter(found, name), f"arguments.{name}", value, found.__name__) for name, value in given.items()
    }


def _finish(config: OperatorConfig, made: Any) -> None:
    """
    Let an operator take what the row says as a value.

    :raises DefinitionError: an argument that it does not render has a template.
    """
    for name, value in config.arguments.items():
        if contains_template(value) and name not in made.template_fields:
            kind = config.operator.rpartition(".")[2]
            raise DefinitionError(f"arguments.{name}: {kind} renders no template here; write a plain value")
    # A row has values. A text that ends in .sql or .json would be the name of a file, read at each parse and rendered unchecked.
    made.template_ext = ()
    made.prepare_template = _reads_no_file


def _reads_no_file() -> None:
    """Stand in the place of what some operators do with texts that name a file."""


def operator_class(path: str) -> type[BaseOperator]:
    """
    Import an allowed class.

    :raises ConfigurationError: no pattern of ``[accelerator] allowed_operators`` matches it, or the place where it is defined.
    :raises DefinitionError: there is no such class, or it is no operator.
    """
    from airflow.sdk import BaseOperator

    found = imported("operator", path, _SETTING)
    if not (inspect.isclass(found) and issubclass(found, BaseOperator)):
        raise DefinitionError(f"operator: {path} is not an operator; write the path of a class that is one")
    check_allowed("operator", defined_at(found), _SETTING)
    return found


def _refused(operator: type[BaseOperator], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names of arguments."""
    own, required = own_parameters(operator)
    known = {*own, *_SHARED}
    for name in given:
        if name not in known:
            yield f"arguments.{name}: unknown key; {suggestion(name, known, f'{operator.__name__} takes')}"
    for name in required:
        if name not in given:
            yield f"arguments.{name}: missing; add it"


@cache
def own_parameters(operator: type[BaseOperator]) -> tuple[dict[str, inspect.Parameter], list[str]]:
    """
    Return what a class takes beyond every operator, by name, and the names of what it cannot do without.

    A class hands what it does not name on to the one above it; so those are asked in their order, down to the common base.
    """
    from airflow.sdk import BaseOperator

    common = {*inspect.signature(BaseOperator.__init__).parameters}
    own: dict[str, inspect.Parameter] = {}
    required: list[str] = []
    for number, part in enumerate(one for one in operator.__mro__ if "__init__" in vars(one)):
        if issubclass(BaseOperator, part):
            break
        parameters = inspect.signature(vars(part)["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in common:
                continue
            own.setdefault(
                parameter.name, parameter.replace(annotation=annotation_of(parameter, vars(sys.modules[part.__module__])))
            )
            if number == 0 and parameter.default is parameter.empty:
                required.append(parameter.name)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return own, required


@cache
def _adapter(operator: type[BaseOperator], name: str) -> TypeAdapter[Any] | None:
    """Return what checks an argument; None where its type is not made for that."""
    own, _ = own_parameters(operator)
    return adapter_of(own[name].annotation) if name in own else None


TASK_TYPE = TaskType("operator", OperatorConfig, operator, finish=_finish)
