"""What takes seconds is told at a terminal, on stderr, and nowhere else."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provider.cli import workflow_commands
from provider.cli.output import busy, visible_errors


class Terminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        written = super().write(text)
        if "Looking …" in text:
            self.told.set()
        return written


def test_at_a_terminal_it_is_shown_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with visible_errors(), busy("Looking"):
        assert terminal.told.wait(60)
    assert terminal.getvalue().endswith("\x1b[2K"), "the line is empty again"
    assert "\\x1b" not in terminal.getvalue(), "the terminal understands it"


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize("command", ["import", "validate"])
def test_commands_tell_it(
    accelerator, workflows_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    told = []

    @contextmanager
    def telling(text: str) -> Iterator[None]:
        told.append(text)
        yield
        assert capsys.readouterr() == ("", ""), "rich would send it to the other stream"

    monkeypatch.setattr(workflow_commands, "busy", telling)
    result = accelerator(command, workflows_file)
    assert (result.code, len(told)) == (0, 1)
    assert result.out


def test_elsewhere_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with visible_errors(), busy("Looking"):
        pass
    assert capsys.readouterr() == ("", "")
