"""What the console blocks of a page say: commands, and what they print."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_HEREDOC = re.compile(r"<<'(\w+)'")

#: A line that stands for any others.
LEFT_OUT = "…"

#: What differs from one time to another, and what stands for it.
_VARYING = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"\b\d+\.\ds\b": r"\d+\.\ds",
    r"/home/you/": r"/\S*/",
    r"as message 1\b": r"as message \d+",
    r"\(message 1\)": r"\(message \d+\)",
    "…": r"[\s\S]*?",
}
_PIECES = re.compile(f"({'|'.join(_VARYING)})")


@dataclass(frozen=True)
class Step:
    """
    A command.

    :param command: as a shell takes it; of several lines where it goes on.
    :param said: what it prints, as the page has it; empty where the page does not tell.
    """

    command: str
    said: str

    def printed(self, output: str) -> bool:
        """
        Tell whether an output is the one of the page, but for times, ids, line breaks, and what the page leaves out.

        Tasks beside each other may come in another order, so each line counts alone, with those that are indented below it.
        """
        left = [_joined(record) for record in _records(output)]
        for record in (records := _records(self.said)):
            if record == LEFT_OUT:
                continue
            found = next((one for one in left if re.fullmatch(_pattern(record), one)), None)
            if found is None:
                return False
            left.remove(found)
        return not left or not records or LEFT_OUT in records


@dataclass(frozen=True)
class Block:
    """
    A console block.

    :param page: file name.
    :param line: of its first line in the page.
    """

    page: str
    line: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def console_blocks(page: Path) -> list[Block]:
    """Return the console blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        if fence[1] == "console":
            steps = tuple(_steps(textwrap.dedent(fence[2]).splitlines()))
            found.append(Block(page.name, text.count("\n", 0, fence.start()) + 2, steps))
    return found


def files_of(page: Path) -> dict[str, str]:
    """Return name → text of the files that a page has the reader save."""
    text = page.read_text(encoding="utf-8")
    found = {}
    for fence in _FENCE.finditer(text):
        if named := re.search(r"Save this(?: workflow)? as `(\S+)`:\s*$", text[: fence.start()]):
            found[named[1]] = fence[2]
    return found


def _steps(lines: list[str]) -> Iterator[Step]:
    pending = list(reversed(lines))
    while pending:
        line = pending.pop()
        assert line.startswith("$ "), f"output without a command: {line}"
        command = [line.removeprefix("$ ")]
        if here := _HEREDOC.search(command[0]):
            while command[-1] != here[1]:
                command.append(pending.pop())
        while command[-1].endswith("\\"):
            command.append(pending.pop())
        said = []
        while pending and not pending[-1].startswith("$ "):
            said.append(pending.pop())
        yield Step("\n".join(command), "\n".join(said))


def _records(text: str) -> list[str]:
    """Return the lines of a text, each with those that are indented below it."""
    return re.findall(r"^\S.*(?:\n[ \t]+\S.*)*", text, re.MULTILINE)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _pattern(said: str) -> str:
    pieces = _PIECES.split(_joined(said))
    return "".join(
        next((pattern for known, pattern in _VARYING.items() if re.fullmatch(known, piece)), re.escape(piece)) for piece in pieces
    )
