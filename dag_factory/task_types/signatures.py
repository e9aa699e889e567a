"""
What rows name of the installed packages: whether they may, what it is, and whether values fit its signature.

Rows are data, so they name something and never bring code: the name is matched before anything is imported, and again by where
the thing is defined, since a module also has what it imports.
"""

from __future__ import annotations

import importlib
import inspect
import re
from datetime import date, time, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from dag_factory.problems import shorten
from dag_factory.templates import contains_template
from provider import settings
from provider.exceptions import ConfigurationError, DefinitionError


def is_dotted(path: str) -> bool:
    """Tell whether a text is a path of names such as ``package.module.name``."""
    return re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", path, re.ASCII) is not None


def imported(key: str, path: str, setting: str) -> Any:
    """
    Import what a path names, if it is allowed; None where its module has no such thing.

    :param key: key of the configuration, for messages.
    :param setting: of ``[accelerator]``: the patterns of what is allowed.
    :raises ConfigurationError: none of them matches.
    :raises DefinitionError: the module cannot be imported.
    """
    from provider.airflow_internals.dags import no_dags_registered

    check_allowed(key, path, setting)
    module_name, _, name = path.rpartition(".")
    try:
        with no_dags_registered():
            return getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise DefinitionError(
            f"{key}: {module_name} cannot be imported here ({shorten(error, 200)}); install the package that has it"
        ) from error


def defined_at(found: Any) -> str:
    """Return the path of the place where a class or a function is defined."""
    return f"{found.__module__}.{found.__qualname__}"


def check_allowed(key: str, path: str, setting: str) -> None:
    """
    Raise an error unless rows may name something.

    :raises ConfigurationError: no pattern of the setting matches its path.
    """
    if not any(fnmatchcase(path, pattern) for pattern in settings.get_list(setting)):
        raise ConfigurationError(f"{key}: rows may not use {path}; who looks after Airflow allows it in [accelerator] {setting}")


def annotation_of(parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    """
    Return the type of a parameter; ``Any`` where its module has it for type checkers alone.

    :param names: what there is in the module of the signature.
    """
    holder: Any = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(holder, names)[parameter.name]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def adapter_of(annotation: Any) -> TypeAdapter[Any] | None:
    """Return what checks a value of a type; None where the type is not made for that."""
    try:
        return TypeAdapter(annotation)
    except Exception:  # noqa: BLE001 - whatever a type of another package raises
        return None


def fitting(adapter: TypeAdapter[Any] | None, key: str, value: Any, owner: str) -> Any:
    """
    Return a value as the signature wants it; seconds as a ``timedelta``, ``PT10M`` and ``2026-11-29`` as what they say.

    :param adapter: checks it, see :func:`adapter_of`.
    :param key: where the value stands, for messages.
    :param owner: whose signature it is.

    :raises DefinitionError: it does not fit. What is rendered later, and types that a model cannot check, pass.
    """
    if adapter is None or contains_template(value):
        return value
    try:
        found = adapter.validate_python(value, strict=True)
    except ValidationError as error:
        found = _converted(adapter, value)
        if found is None:
            reason = shorten(error.errors(include_url=False, include_input=False)[0]["msg"].replace("Input should", "must"), 200)
            text = f"{key}: {reason[:1].lower()}{reason[1:]}, as {owner} has it"
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
