"""Tables of README.md that a run writes anew, each between two comments."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).with_name("README.md")
_END = "<!-- end of table -->"


def write_table(name: str, table: str) -> None:
    """
    Replace a table.

    :param name: as in ``<!-- table of NAME -->``.
    :raises ValueError: README.md has no place for it.
    """
    begin = f"<!-- table of {name} -->"
    head, found, rest = README.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise ValueError(f"{README.name} has no {begin}.")
    tail = rest.partition(_END)[2]
    README.write_text(f"{head}{begin}\n{table}\n{_END}{tail}", encoding="utf-8")
