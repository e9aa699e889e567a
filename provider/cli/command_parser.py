"""A parser that shows its commands to who names none, and a near one to who mistypes one."""

from __future__ import annotations

import argparse
import sys
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """A parser of commands, whose own options come before the command and take no value; or that of one command."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: Name of each command, and its parser; empty for one command.
        self.commands: dict[str, CommandParser] = {}

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse a command line; one without a command, or with one that is not known, ends the process with exit code 2."""
        words = sys.argv[1:] if args is None else list(args)
        parser = self
        for word in words:
            if not parser.commands or word.startswith("-"):
                break
            if word not in parser.commands:
                # Imports what validates definitions, which only who has mistyped a command waits for.
                from dag_factory.problems import suggestion

                parser.error(f"there is no command {word}; {suggestion(word, parser.commands, 'commands are')}.")
            parser = parser.commands[word]
        else:
            if parser.commands:
                parser.print_help(sys.stderr)
                parser.exit(2)
        return super().parse_args(words, namespace)
