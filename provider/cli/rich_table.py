"""A table on a terminal. Only what is shown to a person at a terminal pays for the import of rich."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_GAP = 2
_INDENT = 4


def write_rich_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, str], below: Collection[str] = ()
) -> None:
    """
    Write a table in which nothing is cut and no word is broken, so that an id can be copied; a longer one overflows.

    From the first column on that does not fit beside the others, cells stand below their row, each behind its column's name.

    :param rows: cells that are printable as they are; none is read as markup.
    :param styles: cell → its colour.
    :param below: columns of texts, which stand below and wrap between words.
    """
    console = Console(file=sys.stdout, highlight=False)
    used = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    widths = {index: max(map(cell_len, [columns[index], *(row[index] for row in rows)])) for index in used}
    beside = _beside([index for index in used if columns[index] not in below], widths, console.width)
    under = [index for index in used if index not in beside]
    label = max((cell_len(columns[index]) for index in under), default=0) + _GAP
    gap = Text(" " * _GAP)

    def line(cells: Sequence[str], style: str) -> Text:
        parts = []
        for index in beside:
            part = Text(cells[index], style=styles.get(cells[index], style))
            part.pad_right(widths[index] - part.cell_len)
            parts.append(part)
        return gap.join(parts)

    def write(text: Text) -> None:
        text.rstrip()
        console.print(text, soft_wrap=True)  # the terminal's own line break is none in what is copied

    write(line(columns, "bold"))
    for row in rows:
        write(line(row, ""))
        for index in (index for index in under if row[index]):
            room = max(console.width - _INDENT - label, 1)
            name = columns[index]
            # rich breaks a word that is too long, or does not wrap at all.
            for part in textwrap.wrap(row[index], room, break_long_words=False, break_on_hyphens=False):
                write(Text.assemble(" " * _INDENT, (name.ljust(label), "dim"), part))
                name = ""


def _beside(indexes: Sequence[int], widths: Mapping[int, int], room: int) -> list[int]:
    """Return the columns that fit beside each other, and the first one in any case."""
    found: list[int] = []
    for index in indexes:
        if found and sum(widths[one] + _GAP for one in found) + widths[index] > room:
            break
        found.append(index)
    return found
