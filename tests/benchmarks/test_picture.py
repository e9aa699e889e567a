"""The picture of a parse that README.md shows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.peers.environment import PeersEnvironment

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "picture.py"
FIGURES = {f"parsing.{kind}.{tasks}": 1.5 * tasks for kind in ("factory", "by_hand", "dag_factory") for tasks in (10, 100, 1000)}


@pytest.fixture(scope="module")
def peers() -> PeersEnvironment:
    return PeersEnvironment().ensure()


def draw(peers: PeersEnvironment, folder: Path, figures: dict[str, float]) -> Path:
    summary = folder / "summary.json"
    summary.write_text(json.dumps([{"name": name, "value": value} for name, value in figures.items()]))
    peers.run(str(SCRIPT), str(summary), str(folder / "parsing.svg"))
    return folder / "parsing.svg"


def test_it_has_a_line_for_each_kind(peers: PeersEnvironment, tmp_path: Path) -> None:
    drawn = draw(peers, tmp_path, {**FIGURES, "parsing.factory_to_by_hand.10": 1.0, "pages.list": 17.0}).read_text()
    assert [name for name in ("dag-factory", "a loop by hand", "this factory", "1,000", "tasks") if name not in drawn] == []
    assert draw(peers, tmp_path, FIGURES).read_text() == drawn


def test_without_figures_it_says_what_to_run(peers: PeersEnvironment, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        draw(peers, tmp_path, {"pages.list": 17.0})
    assert "python -m benchmarks parsing" in capfd.readouterr().err
