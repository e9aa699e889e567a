"""A clock that only moves when somebody sleeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


class Clock:
    """Stands in for the module ``time`` in the modules that it is given to; ``naps`` has the sleeps, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: Any) -> None:
        self.now = 1_000_000.0
        self.naps: list[float] = []
        for module in modules:
            monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: self.now, sleep=self.sleep))

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds
