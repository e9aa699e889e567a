"""
The picture of ``parsing`` that README.md shows: what a parse takes with the factory, with dag-factory, and by hand.

Drawn by the peers' Python, which has matplotlib, after a run of the benchmark; by itself::

    .venv-peers/bin/python benchmarks/picture.py benchmarks/results/summary.json docs/images/parsing.svg
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

#: Kind → its colour and its name.
_LINES = {
    "dag_factory": ("#b35900", "dag-factory"),
    "by_hand": ("#5b6470", "a loop by hand"),
    "factory": ("#017cee", "this factory"),
}
_FIGURE = re.compile(r"parsing\.(\w+)\.(\d+)")


def points(summary: Path) -> dict[str, list[tuple[int, float]]]:
    """
    Return kind → tasks and milliseconds, fewest tasks first.

    :raises ValueError: the summary has no figures of ``parsing``.
    """
    found: dict[str, list[tuple[int, float]]] = {kind: [] for kind in _LINES}
    for figure in json.loads(summary.read_text(encoding="utf-8")):
        if (name := _FIGURE.fullmatch(figure["name"])) and name[1] in found:
            found[name[1]].append((int(name[2]), float(figure["value"])))
    if not all(found.values()):
        raise ValueError(f"{summary} has no figures of a parse; run `python -m benchmarks parsing`.")
    return {kind: sorted(measured) for kind, measured in found.items()}


def draw(summary: Path, picture: Path) -> None:
    """Draw the figures of a summary as SVG: less is better."""
    # Texts stay texts, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "parsing", "font.family": "sans-serif", "font.size": 11})
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for kind, measured in points(summary).items():
        colour, label = _LINES[kind]
        axes.plot(*zip(*measured, strict=True), color=colour, label=label, marker="o", linewidth=2)
    axes.set(xscale="log", yscale="log", xlabel="tasks", ylabel="milliseconds of a parse")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False)
    axes.grid(color="#d9dde3", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, format="svg", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
