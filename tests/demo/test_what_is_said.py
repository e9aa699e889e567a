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


@pytest.fixture(params=[False, True], ids=["into a file", "for the picture"])
def recorded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, recorded: bool) -> str:
    """Return what the demo prints."""
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
    demo.run(Console(file=file, width=WIDTH, highlight=False, record=recorded), cast("World", world), 0.0)
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


def test_addresses_are_broken_in_a_picture_alone(said: str, recorded: bool) -> None:
    whole = f"    link  {LINK}"
    shown = f"{whole[:WIDTH]}\n{whole[WIDTH:]}\n" if recorded else f"{whole}\n"
    assert said.count(shown) == 1 + len(demo.SHOWN)
    assert f"batches in {WIDTH}\n" in said


def test_of_an_error_the_progress_shows_what_fits() -> None:
    logs = [
        {"workflow_id": name, "batch_id": "B1", "task_id": "t", "try_number": 1, "status": "ERROR", "error_message": "late " * 60}
        for name in expectations.EXPECTED_BATCH
    ]
    batches = [{"workflow_id": name, "batch_id": "B1", "status": "ERROR"} for name in expectations.EXPECTED_BATCH]
    file = io.StringIO()
    world: Any = SimpleNamespace(rows=lambda *_: (batches, logs))
    demo.wait_for_batches(Console(file=file, width=WIDTH, highlight=False), cast("World", world))
    lines = file.getvalue().splitlines()
    assert len(lines) == len(logs) + len(batches)
    assert {len(line) for line in lines[: len(logs)]} <= {WIDTH, WIDTH - 1}, "cut at the end, perhaps at a blank"
    assert all(line.endswith("  ERROR") or " ERROR  late" in line for line in lines)
