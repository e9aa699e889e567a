"""What a command prints for a person: a pipe would get the form for programs."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
from collections.abc import Mapping, Sequence


def at_terminal(command: Sequence[str], environment: Mapping[str, str], columns: int) -> str:
    """
    Run a command whose output is a terminal.

    :param environment: all of it; how wide the terminal is and what it is called are added.
    :param columns: how wide the terminal is.
    :return: what it printed, with its colours.
    :raises subprocess.CalledProcessError: it did not end with 0; what it printed is in the exception.
    """
    master, slave = pty.openpty()
    try:
        known = {**environment, "COLUMNS": str(columns), "TERM": "xterm"}
        with subprocess.Popen(command, env=known, stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.STDOUT) as process:
            os.close(slave)
            printed = _all_of(master).decode(errors="replace").replace("\r\n", "\n")
    finally:
        os.close(master)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command), printed)
    return printed


def _all_of(master: int) -> bytes:
    """Read until nobody has the terminal open any more, which Linux tells by an error."""
    found = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                return found
            raise
        if not piece:
            return found
        found += piece
