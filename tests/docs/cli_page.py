"""Writes docs/cli.md from the parser: ``python -m tests.docs.cli_page``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from provider.cli.parser import build_parser

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# Commands

Every command, made from the code by `make docs`. `airflow accelerator …` has the same ones. `-h` after a command shows its help.

The exit code is 0; 1 where a command has found problems, or could not do what it was asked; 2 where its arguments are wrong.

The tab key completes commands and options in a shell that has run `eval "$(register-python-argcomplete accelerator)"`.
"""


def page() -> str:
    """Return the page."""
    parser = build_parser()
    return "\n".join([HEAD, *_table(parser), *(line for command in _commands(parser) for line in _section(command))])


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands below a parser, with their help; of a group, those in it."""
    for action in _subparsers(parser):
        for command in action.choices.values():
            if _subparsers(command):
                yield from _commands(command)
            else:
                yield command.prog, command


def _subparsers(parser: argparse.ArgumentParser) -> list[argparse._SubParsersAction[argparse.ArgumentParser]]:
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def _section(named: tuple[str, argparse.ArgumentParser]) -> list[str]:
    name, command = named
    return [f"## {name}", "", f"{command.description}.", "", *_table(command)]


def _table(command: argparse.ArgumentParser) -> list[str]:
    """Return the arguments of a command as a table, which is empty where it has none."""
    arguments = [
        action for action in command._actions if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]
    if not arguments:
        return []
    expand = command._get_formatter()._expand_help
    rows = [f"| {_name(action)} | {_cell(expand(action))} |" for action in arguments]
    return ["| argument | meaning |", "|---|---|", *rows, ""]


def _name(action: argparse.Action) -> str:
    """Return how an argument is written: ``FILE``, ``[FILE]``, ``NAME …`` or ``--limit N``."""
    value = str(action.metavar or "")
    if not value and action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if action.option_strings:
        flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
        required = ", required" if action.required else ""
        return _cell(flags[:-1] + (f" {value}" if action.nargs != 0 else "") + "`" + required)
    return _cell({"?": f"`[{value}]`", "*": f"`[{value} …]`", "+": f"`{value} …`"}.get(str(action.nargs), f"`{value}`"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
