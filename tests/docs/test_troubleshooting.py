"""Every failure message of the product is on the troubleshooting page, and what is on the page is a message."""

from __future__ import annotations

import ast
import itertools
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.messages import HOLE, ROOT, Message, Module, all_messages

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
#: A quoted piece that fits more messages than this says nothing about any of them.
TOO_MANY = 12
#: Messages that have one word of their own beside the name that they speak of.
BY_ONE_WORD = frozenset({"…: missing", "is no …: …"})


def rows() -> list[list[str]]:
    """Return the cells of every row of the page's tables."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| message")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def quoted(cell: str) -> list[str]:
    """Return the code spans of a cell, in one or two backticks."""
    return [two or one for two, one in re.findall(r"``\s?(.+?)\s?``(?!`)|`([^`]+)`", cell)]


@cache
def entries() -> dict[str, re.Pattern[str]]:
    """Return what the page quotes, and how it is found in a message: … fits everything, the rest stands there as it is."""
    found = [entry for row in rows() for entry in quoted(row[0])]
    return {entry: re.compile(".*".join(re.escape(piece) for piece in entry.split("…")), re.DOTALL) for entry in found}


def test_every_failure_message_is_on_the_page() -> None:
    messages = all_messages()
    assert len(messages) > 200
    missing = [str(message) for message in messages if not any(pattern.search(message.text) for pattern in entries().values())]
    assert missing == [], "write an entry for each into docs/troubleshooting.md"


def test_no_entry_fits_everything() -> None:
    """A quotation has two words of its own, and few messages have them."""
    texts = [message.text for message in all_messages()]
    for entry, pattern in entries().items():
        assert len(re.findall(r"[A-Za-z]{2,}", entry)) >= 2 or entry in BY_ONE_WORD, entry
        assert sum(pattern.search(text) is not None for text in texts) <= TOO_MANY, entry


def test_what_is_quoted_is_in_the_code() -> None:
    code = texts_of_the_code()
    pieces = {entry: [piece.strip(" .;:(){}") for piece in entry.split("…")] for entry in entries()}
    assert len(pieces) > 200
    assert [entry for entry, parts in pieces.items() if not all(part in code for part in parts)] == []


def texts_of_the_code() -> str:
    """Return every text in the code, with … for what is put in; parts of one f-string stay together."""
    found = []
    for file in itertools.chain((ROOT / "provider").rglob("*.py"), (ROOT / "dag_factory").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_every_row_has_a_meaning_and_something_to_do(row: list[str]) -> None:
    assert len(row) == 3
    assert all(row)
    assert len(" ".join(row[1:])) < 260, "too long for three o'clock in the morning"


def test_the_messages_are_found_however_an_error_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
HINT = "Set the hint."
def fail(name, parts):
    parts = [f"{name} failed.", HINT]
    if name:
        parts.append("Look it up.")
    raise RemoteJobError(" ".join(part for part in parts))
class One:
    def first(self):
        raise ConfigurationError(f"no file {name}: {self.error}" if name else "no name at all")
    def second(self):
        text = "It is late " + f"since {self.x}."
        return RemoteCallError(text, retryable=True)
class Two:
    def second(self):
        raise AirflowFailException(self._told(1))
    def _told(self, x):
        return f"Told {x} in time."
    def third(self):
        raise RemoteJobError(str(self))
"""
    file = tmp_path / "code.py"
    file.write_text(code, encoding="utf-8")
    monkeypatch.setattr("tests.docs.messages.ROOT", tmp_path)
    names = frozenset({"RemoteJobError", "ConfigurationError", "RemoteCallError", "AirflowFailException"})
    found = {message.text for message in Module(file).messages(names)}
    assert found == {
        f"{HOLE} failed.",
        "Set the hint.",
        "Look it up.",
        f"no file {HOLE}: {HOLE}",
        "no name at all",
        "It is late ",
        f"since {HOLE}.",
        f"Told {HOLE} in time.",
    }


def test_a_new_message_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Message("provider/hooks/new.py", 1, f"The moon is {HOLE} today.")
    assert not any(pattern.search(new.text) for pattern in entries().values())
