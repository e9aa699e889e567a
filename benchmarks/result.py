"""What a benchmark yields, and the files it ends up in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
SIGNIFICANT_DIGITS = 4

Statistic = Literal["median", "minimum", "maximum", "p95"]
_STATISTICS: Mapping[Statistic, Callable[[Sequence[float]], float]] = {
    "median": median,
    "minimum": min,
    "maximum": max,
    "p95": lambda samples: quantiles(samples, n=20, method="inclusive")[-1],
}


@dataclass(frozen=True)
class AtMost:
    """A goal: the value is not above *limit*."""

    limit: float

    def __str__(self) -> str:
        return f"<= {self.limit:g}"

    def holds(self, value: float) -> bool:
        """Whether a value reaches the goal."""
        return value <= self.limit


@dataclass(frozen=True)
class Result:
    """
    One figure.

    :param samples: its measurements, in the order in which they were taken.
    :param goal: what was promised of the value; None for a figure that is only reported.
    :param statistic: which one of the samples is the value: the maximum where something was promised of each of them.
    """

    name: str
    unit: str
    samples: Sequence[float]
    goal: AtMost | None = None
    statistic: Statistic = "median"

    @property
    def value(self) -> float:
        """The figure itself."""
        return _STATISTICS[self.statistic](self.samples)

    @property
    def holds(self) -> bool | None:
        """Whether the value reaches the goal; None without one."""
        return None if self.goal is None else self.goal.holds(self.value)

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"  goal {self.goal}: {'holds' if self.holds else 'FAILS'}"
        return f"{self.name:80} {self.value:12.4g} {self.unit}{goal}"

    def as_json(self) -> dict[str, Any]:
        """Return the entry of ``summary.json``."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "statistic": self.statistic,
            "goal": None if self.goal is None else str(self.goal),
            "holds": self.holds,
            "samples": [_rounded(sample) for sample in self.samples],
        }


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def write_json(name: str, content: Any) -> Path:
    """Write a file of the results folder, and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def merge(old: Iterable[dict[str, Any]], new: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the entries of a run; those of benchmarks that this run left out stay as they were."""
    entries = {entry["name"]: entry for entry in old}
    entries.update({result.name: result.as_json() for result in new})
    return list(entries.values())
