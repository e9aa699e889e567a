"""What the demo says beside its tables: why something failed or came twice, and what to do next."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from demo import __main__ as demo
from demo import expectations
from demo.world import WIDTH, World

ROOT = Path(__file__).parents[2]
LINK = "https://console.cloud.google.com/bigquery/dataform/" + "locations/" * 14 + "end"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what the demo prints into a file."""
    monkeypatch.setattr(demo, "wait_for_batches", lambda *_: None)
    monkeypatch.setattr(demo, "wait_for_quiet", lambda *_: (None, [], []))
    monkeypatch.setattr(demo, "check", lambda *_: None)
    world: Any = SimpleNamespace(
        imported="created    daily_sales (tasks: 3)",
        airflow=SimpleNamespace(url="http://127.0.0.1:1"),
        wait_for_dags=lambda _names: None,
        publish=lambda *_: None,
        accelerator_at_terminal=lambda *command, columns: f"\x1b[1m{' '.join(command)} in {columns}\x1b[0m\n    link  {LINK}\n",
    )
    file = io.StringIO()
    demo.run(Console(file=file, width=WIDTH, highlight=False), cast("World", world), 0.0)
    return file.getvalue()


def test_it_ends_with_why_a_batch_failed_and_what_is_next(said: str) -> None:
    last = said.splitlines()[-1]
    assert last.startswith(f"{expectations.FAILING[0]} failed on purpose: ")
    (page,) = re.findall(r"docs/\S+\.md", last)
    assert (ROOT / page).exists()


def test_a_message_that_is_published_twice_is_explained(said: str) -> None:
    (repeated,) = {line for line in said.splitlines() if line.startswith("published ") and said.count(line) > 1}
    after = said.rpartition(repeated)[2]
    assert "The first message twice" in after
    assert "stock_levels is to fail" in after


def test_addresses_are_not_broken(said: str) -> None:
    assert said.count(f"    link  {LINK}\n") == 1 + len(demo.SHOWN)
    assert f"batches in {WIDTH}" in said
