"""The group ``airflow accelerator``: our commands in the words of Airflow's command line, which imports this module."""

from __future__ import annotations

import argparse
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

from provider.airflow_internals.processes import find_connections_of_database
from provider.cli.command import Command, Group
from provider.cli.main import run
from provider.cli.parser import COMMANDS, PROGRAM_HELP


def get_accelerator_cli_commands() -> list[CLICommand]:
    """Return the group ``airflow accelerator``; named in the provider info's ``cli``."""
    return [GroupCommand("accelerator", PROGRAM_HELP, [_for_airflow(command) for command in COMMANDS])]


def _for_airflow(command: Command | Group) -> ActionCommand | GroupCommand:
    if isinstance(command, Group):
        return GroupCommand(command.name, command.help, [_for_airflow(subcommand) for subcommand in command.commands])

    make_argument: Any = Arg  # untyped in Airflow

    def call(args: argparse.Namespace) -> None:
        find_connections_of_database()
        # Airflow ignores what a command returns; only SystemExit sets the exit code.
        if exit_code := run(command, args):
            raise SystemExit(exit_code)

    return ActionCommand(
        command.name, command.help, call, [make_argument(argument.flags, **argument.options) for argument in command.arguments]
    )
