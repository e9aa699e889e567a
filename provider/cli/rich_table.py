"""A table on a terminal. Only what is shown to a person at a terminal pays for the import of rich."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def write_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, str]) -> None:
    """
    Write a table in which long cells wrap.

    :param rows: cells that are printable as they are; none is read as markup.
    :param styles: cell → its colour.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
    Console(file=sys.stdout, highlight=False).print(table)
