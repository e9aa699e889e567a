"""What a command of the command line is made of. Only the standard library is imported here, so that help answers at once."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

#: Does the work of one command and returns its exit code: 0, or 1 where it found problems.
Handler = Callable[[argparse.Namespace], int]


@dataclass(frozen=True)
class Argument:
    """
    One argument of a command.

    :param flags: option strings, or the one name of a positional argument.
    :param options: keyword arguments of :meth:`argparse.ArgumentParser.add_argument`.
    """

    flags: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """
    One command.

    :param help: one line for the list of commands; also the description of its own help page.
    :param handler: ``module:function`` of a :data:`Handler`, imported when the command runs.
    :param failed: exit code where it cannot do its work.
    """

    name: str
    help: str
    handler: str
    arguments: Sequence[Argument] = ()
    failed: int = 1

    def load(self) -> Handler:
        """Import the handler."""
        module, _, function = self.handler.partition(":")
        handler: Handler = getattr(importlib.import_module(module), function)
        return handler


@dataclass(frozen=True)
class Group:
    """Commands below a common word."""

    name: str
    help: str
    commands: Sequence[Command | Group]


def argument(*flags: str, **options: Any) -> Argument:
    """Return an argument; its parameters are those of :class:`argparse.ArgumentParser`."""
    return Argument(flags, options)


def positive(value: str) -> int:
    """Read a whole number above 0."""
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number above 0")
    return number


def pair(value: str) -> tuple[str, str]:
    """Read two words around an equals sign."""
    first, equals, second = value.partition("=")
    if not (first and equals and second):
        raise argparse.ArgumentTypeError(f"{value!r} is not two names with an = between them")
    return first, second


def day(value: str) -> datetime:
    """Read a day, in UTC."""
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day such as 2026-01-31") from None


def port(value: str) -> int:
    """Read a port; 0 stands for a free one."""
    number = 0 if value == "0" else positive(value)
    if number > 65_535:
        raise argparse.ArgumentTypeError(f"{value} is not a port; ports end at 65535")
    return number


#: How what is listed is written.
OUTPUT = argument(
    "-o", "--output", choices=("table", "json", "yaml", "csv"), default="table", help="table (default), json, yaml or csv"
)
