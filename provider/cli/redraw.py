"""Showing something anew until a person has seen enough."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from provider.cli.output import say, utc
from provider.exceptions import AcceleratorError

#: Time between two looks, in seconds.
PAUSE = 2.0

T = TypeVar("T")


def redraw(read: Callable[[], T], write: Callable[[T], None], pause: float = PAUSE) -> int:
    """
    Clear the terminal and write, again and again, until Ctrl-C.

    :param read: asked before the terminal is cleared, which would flicker otherwise.
    :param pause: between two looks, in seconds.
    :return: the exit code, 0.
    :raises AcceleratorError: there is no terminal.
    """
    if not sys.stdout.isatty():
        raise AcceleratorError("--watch needs a terminal; leave it out, or give --output json to a program.")
    from rich.console import Console

    console = Console(file=sys.stdout)
    try:
        while True:
            found = read()
            console.clear()
            write(found)
            say(f"As of {utc(datetime.now(UTC))}, shown anew every {pause:g} s. End with Ctrl-C.")
            sys.stdout.flush()
            time.sleep(pause)
    except KeyboardInterrupt:
        return 0
