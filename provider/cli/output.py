"""
What a command shows: a table that can be read on a terminal, plain columns for a pipe, or JSON, YAML and CSV for programs.

Cells hold what messages, rows and services said, so they are never read as markup and cannot steer the terminal.
"""

from __future__ import annotations

import contextlib
import json
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from provider.texts import escaped

_STATUS_STYLES = {"SUCCESS": "green", "ERROR": "red", "BLOCKED": "red", "PROCESSING": "cyan", "SKIPPED": "dim", "NEW": "dim"}
_STATUS_STYLES |= {"ok": "green", "warning": "yellow", "error": "red", "unknown": "dim"}


def write_data(data: Any, output: str, rows: Iterable[Mapping[str, Any]] | None = None) -> None:
    """
    Write data for programs.

    :param output: ``json``, ``yaml`` or ``csv``.
    :param rows: of the table that CSV is, where the data are no list of such rows.
    """
    if output == "csv":
        _write_csv(list(data if rows is None else rows))
    elif output == "yaml":
        import yaml

        plain = json.loads(json.dumps(data, default=_to_json))
        sys.stdout.write(visible(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=130)))
    else:
        write_json(data)


def _write_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    import csv

    if not rows:
        return
    writer = csv.DictWriter(sys.stdout, list(dict.fromkeys(column for row in rows for column in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _csv_cell(value) for column, value in row.items()} for row in rows)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _to_json(value)
    if isinstance(value, (list, tuple, dict)):
        value = json.dumps(value, ensure_ascii=False, default=_to_json)
    if not isinstance(value, str):
        return value
    # What a spreadsheet would take for a formula is a text: it can come from a message or a service.
    return visible(f"'{value}" if value.startswith(("=", "+", "-", "@")) else value)


def write_json(data: Any) -> None:
    """Write data as JSON; timestamps become ISO 8601 in UTC with all their digits."""
    sys.stdout.write(json_text(data) + "\n")


def json_text(data: Any) -> str:
    """Return data as JSON that is pleasant to read, and in which no character steers a terminal."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=_to_json)
    return "".join(json.dumps(character)[1:-1] if _steers(character) else character for character in text)


def say(text: str) -> None:
    """Write a line to people, which may hold foreign texts."""
    sys.stdout.write(f"{visible(text)}\n")


def visible(text: str) -> str:
    """Return text in which control characters, but line breaks, are shown instead of obeyed."""
    return "".join(escaped(character) if _steers(character) else character for character in text)


class VisibleStream:
    """
    A text stream that shows control characters, for whatever is written: errors hold foreign texts.

    :param stream: where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text."""
        return self._stream.write(visible(text))

    @property
    def unguarded(self) -> TextIO:
        """The stream behind, for what is ours alone and steers the terminal."""
        return self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def visible_errors() -> Iterator[None]:
    """Let everything that goes to stderr be visible, a parser's complaint about an argument as well."""
    with contextlib.redirect_stderr(cast("TextIO", VisibleStream(sys.stderr))):
        yield


@contextlib.contextmanager
def busy(text: str) -> Iterator[None]:
    """
    Show at a terminal that something goes on which may take seconds; elsewhere nothing. Nothing else is written meanwhile.

    :param text: what goes on, in words of ours.
    """
    stream = sys.stderr.unguarded if isinstance(sys.stderr, VisibleStream) else sys.stderr
    if not stream.isatty():
        yield
        return
    from rich.console import Console

    with Console(file=stream).status(f"{text} …"):
        yield


def _steers(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]], below: Collection[str] = ()) -> None:
    """
    Write a table: nothing is ever cut off. On a terminal what does not fit stands below its row; in a pipe each row is one line.

    :param columns: headings, short columns first, then ids.
    :param rows: cells, in the order of the columns.
    :param below: columns of texts, which stand below their row in any case.
    """
    if not sys.stdout.isatty():
        _write_plain([columns, *rows])
        return
    from provider.cli.rich_table import write_rich_table

    write_rich_table(columns, [[printable(cell) for cell in row] for row in rows], _STATUS_STYLES, below)


def write_fields(fields: Mapping[str, str]) -> None:
    """Write names and values, one a line; those without a value are left out."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if value:
            sys.stdout.write(f"{name:<{width}}  {printable(value)}\n")


def printable(text: str) -> str:
    """Return text on one line in which control characters are shown instead of obeyed."""
    return visible(" ".join(text.split()))


def utc(moment: datetime | None) -> str:
    """Return a timestamp as ``2026-01-31T05:00:00Z``; empty where there is none."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(started: datetime | None, ended: datetime | None) -> str:
    """Return how long something took, as ``1h 02m 03s`` or ``4.5s``; empty where it has not ended."""
    if started is None or ended is None:
        return ""
    seconds = round(max(0.0, (ended - started).total_seconds()), 1)
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m {rest:02}s" if hours else f"{minutes}m {rest:02}s"


def _write_plain(rows: Sequence[Sequence[str]]) -> None:
    cells = [[printable(cell) or "-" for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    for row in cells:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _to_json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
