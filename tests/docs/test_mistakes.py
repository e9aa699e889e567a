"""What people are told of a typical mistake names the place and the remedy, at the first line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import mistakes_page
from tests.docs.mistakes_page import MISTAKES, Mistake, told


def test_the_good_file_is_good(tmp_path: Path) -> None:
    assert told(Mistake("none", "daily_sales", "daily_sales", ()), tmp_path) == "1 workflow, 2 tasks: no problems."


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_place_and_remedy_are_named(mistake: Mistake, tmp_path: Path) -> None:
    said = told(mistake, tmp_path)

    assert all(name in said for name in mistake.names), said
    if mistake.good is None:
        assert " row " in said
    else:
        assert said.startswith(("FILE:", "error: FILE, line ", "the file: "))


def test_the_page_is_what_is_said() -> None:
    """After a change of messages: ``make docs``, or ``python -m tests.docs.mistakes_page``."""
    assert len(MISTAKES) >= 30
    assert mistakes_page.PAGE.read_text(encoding="utf-8") == mistakes_page.page()
