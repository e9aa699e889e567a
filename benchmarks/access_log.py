"""The requests that an API server of Airflow has answered, by its own log."""

from __future__ import annotations

from pathlib import Path

#: What Airflow logs when the answer to a request is complete; nothing for those that ask for its health.
_ANSWERED, _LOGGER = "request finished", "http.access"


def answered(log: Path) -> int:
    """Return how many requests were answered so far."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return sum(_ANSWERED in line and _LOGGER in line for line in lines)
