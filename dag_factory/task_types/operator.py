"""
Task type ``operator``: any operator of the installed packages that ``[accelerator] allowed_operators`` allows.

Rows are data, so they name a class and never bring code: the name is matched before anything is imported, and again by where the
class is defined, since a module also has what it imports. The arguments are checked against the class's own signature.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from dag_factory.problems import shorten, suggestion
from dag_factory.task_types import OperatorCall, TaskConfig, TaskType, Templated, operator_arguments
from dag_factory.task_types.common import Text
from dag_factory.templates import contains_template
from provider import settings
from provider.exceptions import ConfigurationError, DefinitionError
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


def _class_path(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value, re.ASCII):
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
    return found, {name: _typed(found, name, value) for name, value in given.items()}


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

    from provider.airflow_internals.dags import no_dags_registered

    _check_allowed(path)
    module_name, _, name = path.rpartition(".")
    try:
        with no_dags_registered():
            found = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise DefinitionError(
            f"operator: {module_name} cannot be imported here ({shorten(error, 200)}); install the package that has it"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, BaseOperator)):
        raise DefinitionError(f"operator: {path} is not an operator; write the path of a class that is one")
    if (defined := f"{found.__module__}.{found.__qualname__}") != path:
        _check_allowed(defined)
    return found


def _check_allowed(path: str) -> None:
    if not any(fnmatchcase(path, pattern) for pattern in settings.get_list("allowed_operators")):
        raise ConfigurationError(
            f"operator: rows may not use {path}; who looks after Airflow allows it in [accelerator] allowed_operators"
        )


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
            own.setdefault(parameter.name, parameter.replace(annotation=_annotation(part, parameter)))
            if number == 0 and parameter.default is parameter.empty:
                required.append(parameter.name)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return own, required


def _annotation(part: type, parameter: inspect.Parameter) -> Any:
    """Return the type of a parameter; ``Any`` where its module has it for type checkers alone."""
    holder: Any = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(holder, vars(sys.modules[part.__module__]))[parameter.name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def _typed(operator: type[BaseOperator], name: str, value: Any) -> Any:
    """
    Return a value as the signature wants it; seconds as a ``timedelta``, ``PT10M`` and ``2026-11-29`` as what they say.

    :raises DefinitionError: it does not fit. What is rendered later, and types that a model cannot check, pass.
    """
    adapter = None if contains_template(value) else _adapter(operator, name)
    if adapter is None:
        return value
    try:
        found = adapter.validate_python(value, strict=True)
    except ValidationError as error:
        found = _converted(adapter, value)
        if found is None:
            reason = shorten(error.errors(include_url=False, include_input=False)[0]["msg"].replace("Input should", "must"), 200)
            text = f"arguments.{name}: {reason[:1].lower()}{reason[1:]}, as {operator.__name__} has it"
            raise DefinitionError(text) from None
    # Lists and objects stay as they are: of some types a model makes something of its own, such as an iterator.
    return value if isinstance(value, list | dict) else found


def _converted(adapter: TypeAdapter[Any], value: Any) -> Any:
    """Return what JSON has no type for, made of what it has; None for every other conversion, which would only guess."""
    try:
        found = adapter.validate_python(value)
    except ValidationError:
        return None
    if isinstance(value, list | dict):
        return value
    if isinstance(value, str):
        # A number in quotes would be seconds since 1970, and 10:00 a duration.
        dated = isinstance(found, date | time) and not value.replace(".", "").isdigit()
        return found if dated or isinstance(found, Enum) or (isinstance(found, timedelta) and "P" in value) else None
    return found if isinstance(found, timedelta) and not isinstance(value, bool) else None


@cache
def _adapter(operator: type[BaseOperator], name: str) -> TypeAdapter[Any] | None:
    """Return what checks an argument; None where its type is not made for that."""
    own, _ = own_parameters(operator)
    try:
        return TypeAdapter(own[name].annotation) if name in own else None
    except Exception:  # noqa: BLE001 - whatever a type of another package raises
        return None


TASK_TYPE = TaskType("operator", OperatorConfig, operator, finish=_finish)
