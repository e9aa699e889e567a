"""A terminal in which a reader works."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import subprocess
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

import pexpect
import psutil
from pexpect.fdpexpect import fdspawn

#: Colours and the like.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COLUMNS, _LINES = 80, 50
#: Seconds that a program is given to end after Ctrl-C.
_TO_END = 240


class Terminal:
    """
    A shell in a terminal of 80 columns.

    :param folder: where it begins.
    :param environment: variables, all of them.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        quiet = {**environment, "PS1": "", "PS2": "", "TERM": "dumb", "VIRTUAL_ENV_DISABLE_PROMPT": "1"}
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (_LINES, _COLUMNS))
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        # Not pexpect.spawn: it forks, and a process with the threads of other tests may die of that before it becomes a shell.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "bash", "--norc", "--noprofile", "--noediting"],
            cwd=folder,
            env=quiet,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self._shell = fdspawn(self._master, encoding="utf-8", maxread=100_000)
        self._marks = itertools.count(1)
        #: The program in the foreground that does not end by itself.
        self.serves: str | None = None
        self._reader: threading.Thread | None = None
        self._printed: list[str] = []

    def run(self, command: str, seconds: float) -> tuple[int, str]:
        """
        Carry a command out.

        :param seconds: the longest it may take.
        :return: its exit code, and what it printed.
        :raises pexpect.TIMEOUT: it took longer.
        """
        self._shell.sendline(command)
        return self._ended(seconds)

    def serve(self, command: str, ready: str, seconds: float) -> str:
        """
        Start a program that does not end by itself, and wait until it is ready.

        :param ready: pattern of what it prints then.
        :return: what it printed.
        :raises pexpect.TIMEOUT: it did not become ready in that time.
        """
        self._shell.sendline(command)
        self.serves = command
        self._shell.expect(ready, timeout=seconds)
        self._printed.clear()
        self._reader = threading.Thread(target=self._read_on, daemon=True)
        self._reader.start()
        return _plain(f"{self._shell.before}{self._shell.after}")

    def interrupt(self) -> str:
        """Press Ctrl-C; return what the program has printed since it was ready."""
        os.write(self._master, b"\x03")
        return self.ended()

    def ended(self) -> str:
        """Wait until the program in the foreground has ended; return what it has printed since it was ready."""
        self.serves = None
        assert self._reader is not None
        self._reader.join()
        try:
            _code, output = self._ended(_TO_END)
        except pexpect.TIMEOUT as error:
            printed = _plain("".join(self._printed) + (self._shell.before or ""))
            raise AssertionError(f"has not ended after {_TO_END} s:\n{self._processes()}\n{printed[-5000:]}") from error
        return _plain("".join(self._printed)) + output

    def _read_on(self) -> None:
        """Read what the program prints, which waits for nobody else to do so."""
        while self.serves is not None:
            with contextlib.suppress(pexpect.TIMEOUT):
                self._printed.append(self._shell.read_nonblocking(100_000, timeout=0.2))

    def close(self) -> None:
        """End the shell with all that it has started."""
        self.serves = None
        if self._reader is not None:
            self._reader.join()
        for process in self._children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.kill()
        self._process.wait()
        self._shell.close()

    def _children(self) -> list[psutil.Process]:
        """Return what the shell has started; nothing where it has ended itself."""
        return [] if self._process.poll() is not None else psutil.Process(self._process.pid).children(recursive=True)

    def _processes(self) -> str:
        """Return the processes of the terminal, a line each."""
        lines = []
        for process in self._children():
            with contextlib.suppress(psutil.NoSuchProcess):
                lines.append(f"{process.pid} of {process.ppid()}, {process.status()}: {' '.join(process.cmdline())[:200]}")
        return "\n".join(lines)

    def _ended(self, seconds: float) -> tuple[int, str]:
        mark = f"ended-{next(self._marks)}"
        self._shell.sendline(f"printf '\\n%s %s\\n' {mark} $?")
        # It comes last; after each piece of a long output all of it would be searched again.
        try:
            self._shell.expect(rf"\r\n{mark} (\d+)\r\n", timeout=seconds, searchwindowsize=500)
        except pexpect.EOF as error:
            raise AssertionError(f"the shell has ended with {self._process.wait(_TO_END)}:\n{self._shell.before}") from error
        assert isinstance(self._shell.match, re.Match)
        return int(self._shell.match[1]), _plain(self._shell.before or "")


def _plain(text: str) -> str:
    return _ESCAPES.sub("", text).replace("\r\n", "\n")
