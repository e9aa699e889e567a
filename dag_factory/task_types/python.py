"""
Task type ``python``: a function of the installed packages that ``[accelerator] allowed_callables`` allows.

The same as for the type ``operator``: a row names it and brings no code, and its arguments are checked against its signature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any

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
from dag_factory.templates import DATES
from provider.exceptions import DefinitionError
from provider.texts import quoted

_SETTING = "allowed_callables"
#: What Airflow's types name too, and no task that runs has: what callbacks get, or nobody. A function gets it from its row.
_OF_OTHERS = frozenset({"exception", "expanded_ti_count", "reason", "test_mode", "try_number"})
Function = Callable[..., Any]


def _function_path(value: str) -> str:
    if not is_dotted(value):
        raise ValueError(f"must be the path of a function, such as package.module.function, not {quoted(value)}")
    return value


class PythonConfig(TaskConfig):
    """
    Configuration of a call.

    :param callable: path of the function.
    :param op_kwargs: its arguments by name.
    """

    callable: Annotated[Text, AfterValidator(_function_path)]
    op_kwargs: Templated[Annotated[dict[str, Any], Field(max_length=100)]] = Field(default_factory=dict)


def operator(config: PythonConfig) -> OperatorCall:
    """
    Return Airflow's operator for a function, with its arguments as its signature wants them.

    :raises ConfigurationError: it is not allowed.
    :raises DefinitionError: there is no such function, or it does not take these arguments.
    """
    from airflow.providers.standard.operators.python import PythonOperator

    found = function_at(config.callable)
    given = operator_arguments(config)["op_kwargs"]
    if problems := list(_refused(found, given)):
        raise DefinitionError("; ".join(problems))
    name = found.__name__
    fitted = {key: fitting(_adapter(found, key), f"op_kwargs.{key}", value, name) for key, value in given.items()}
    # What it returns is in XCom, for who may read that; a log is read by more people.
    return PythonOperator, {"python_callable": found, "op_kwargs": fitted, "show_return_value_in_logs": False}


def function_at(path: str) -> Function:
    """
    Import an allowed function.

    :raises ConfigurationError: no pattern of ``[accelerator] allowed_callables`` matches it, or the place where it is defined.
    :raises DefinitionError: there is no such function, or its parameters cannot be told.
    """
    found = imported("callable", path, _SETTING)
    if not inspect.isroutine(found):
        raise DefinitionError(f"callable: {path} is not a function; write the path of one")
    check_allowed("callable", defined_at(found), _SETTING)
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"callable: {path} does not tell its parameters; name a function of Python") from error
    return found


def _refused(function: Function, given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names of arguments."""
    own, takes_all = _parameters(function)
    for name in given:
        if name in _names_of_airflow():
            yield f"op_kwargs.{name}: Airflow gives it, and a function that has a parameter of this name gets that; take it out"
        elif name not in own and not takes_all:
            yield f"op_kwargs.{name}: unknown key; {suggestion(name, own, f'{function.__name__} takes')}"
    for name, parameter in own.items():
        if parameter.default is parameter.empty and name not in given and name not in _names_of_airflow():
            yield f"op_kwargs.{name}: missing; add it"


def _parameters(function: Function) -> tuple[dict[str, inspect.Parameter], bool]:
    """
    Return what a function takes by name, and whether it takes any name.

    :raises DefinitionError: it needs a value that has no name.
    """
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise DefinitionError(f"callable: {function.__name__} takes {name} by its place alone; name a function without that")
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    own = {name: parameter for name, parameter in parameters.items() if parameter.kind in by_name}
    return own, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


@cache
def _names_of_airflow() -> frozenset[str]:
    """Return the names that a function gets from Airflow in every run; an argument would take their place in the whole task."""
    from airflow.sdk import Context

    return frozenset(name for name in Context.__annotations__ if name not in _OF_OTHERS and not name.startswith(DATES))


@cache
def _adapter(function: Function, name: str) -> TypeAdapter[Any] | None:
    """Return what checks an argument; None where its type is not told, or not made for that."""
    own, _ = _parameters(function)
    if name not in own or own[name].annotation is inspect.Parameter.empty:
        return None
    return adapter_of(annotation_of(own[name], getattr(inspect.unwrap(function), "__globals__", {})))


# Whether a function may be called again is for its package to say.
TASK_TYPE = TaskType("python", PythonConfig, operator)
