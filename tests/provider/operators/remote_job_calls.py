"""What the emulators were asked for, whichever service it was."""

from __future__ import annotations

from typing import Any

#: Seconds for jobs that must still run when their start is polled for the first time, on a slow machine too.
LONG = 1.5


def starts(cloud: Any, service: Any) -> list[str]:
    return [entry.resource for entry in cloud.ledger.entries(operation=service.started) if entry.outcome == "ok"]


def cancels(cloud: Any, service: Any) -> list[str]:
    return [entry.resource for entry in cloud.ledger.entries(operation=service.cancel) if entry.outcome == "ok"]


def job_in(resource: str) -> str:
    return resource.rpartition("/")[2]
