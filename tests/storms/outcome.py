"""What comes of a storm, and how people are told."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: How many faults of a kind are told, and how much of each.
TOLD, LONGEST = 5, 600


@dataclass(frozen=True)
class Outcome:
    """What came of a storm: figures for people, and everything that is not as it was intended."""

    figures: dict[str, Any]
    wrong: list[str]

    def tell(self) -> int:
        """Print it; return the exit status."""
        width = max(map(len, self.figures), default=0)
        for name, value in self.figures.items():
            print(f"{name:>{width}}: {value}")
        for line in self.wrong:
            print(f"WRONG: {line}")
        print("All as intended." if not self.wrong else f"{len(self.wrong)} things are not as intended.")
        return 1 if self.wrong else 0


@dataclass
class Findings:
    """What is counted while random data are tried, and what must not have come of them, by its kind."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)

    def wrong(self, kind: str, what: str) -> None:
        """Keep a fault; of many of a kind the first ones are told."""
        self.counts["faults"] += 1
        told = self.faults.setdefault(kind, [])
        if len(told) < TOLD and what[:LONGEST] not in told:
            told.append(what[:LONGEST])

    def outcome(self, seed: int) -> Outcome:
        """Return all of it."""
        figures = {name: self.counts[name] for name in sorted(self.counts)}
        wrong = [f"{kind}: {what}" for kind, faults in self.faults.items() for what in faults]
        return Outcome({"seed": seed, **figures}, wrong)


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: of a hundred thousand refusals nobody wants to read."""
    import structlog

    level, configured = logging.root.manager.disable, structlog.get_config()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**configured)
        logging.disable(level)
