"""
Running a command: errors become one line and an exit code, in the console script and under ``airflow`` alike.

Exit codes: 0 done, 1 problems found or not done, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from provider.airflow_internals.processes import find_connections_of_database
from provider.cli.command import Command
from provider.cli.errors import describe
from provider.cli.output import visible, visible_errors
from provider.cli.parser import build_parser


def script() -> int:
    """Run the console script in a process of its own; see :func:`console`."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks, at each press of the tab key
        import argcomplete

        argcomplete.autocomplete(build_parser())  # ends the process
    find_connections_of_database()
    return console()


def console(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command line of ``accelerator``.

    :param arguments: the command line without the program's name; by default that of the process.
    :return: exit code. Wrong usage raises ``SystemExit(2)``, as argparse does.
    """
    with visible_errors():
        args = build_parser().parse_args(arguments)
    return run(args.command_definition, args)


def run(command: Command, args: argparse.Namespace) -> int:
    """
    Run one command.

    An error that a person can do something about is one line on stderr; anything else is a defect of this package and
    keeps its traceback.
    """
    try:
        with visible_errors():
            exit_code = command.load()(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        message = describe(error)
        if message is None:
            raise
        sys.stderr.write(f"error: {visible(message)}\n")
        return command.failed
    return exit_code
