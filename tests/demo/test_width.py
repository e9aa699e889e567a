"""How wide the demo shows its tables."""

from __future__ import annotations

import sys

import pytest

from demo.__main__ import width_of_output
from demo.world import WIDTH


@pytest.mark.parametrize(
    ("terminal", "columns", "width"), [(False, None, WIDTH), (False, "200", None), (True, None, None), (True, "200", None)]
)
def test_in_a_file_the_tables_are_wider_than_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, columns: str | None, width: int | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert width_of_output() == width
