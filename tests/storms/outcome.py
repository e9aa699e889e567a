"""What comes of a storm, and how people are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
