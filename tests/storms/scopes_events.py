"""What the tasks of the scopes write down themselves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Event:
    """
    One line of a workflow's file: an execution began or ended. The order of the lines is that of the events.

    :param at: seconds since the epoch, for people.
    """

    run_id: str
    task_id: str
    try_number: int
    kind: Literal["start", "end"]
    outcome: str
    at: float


class EventFile:
    """The file of one workflow. Every process appends whole lines, which the kernel keeps apart."""

    def __init__(self, folder: Path, workflow_id: str) -> None:
        self.path = folder / f"{workflow_id}.jsonl"

    def append(self, event: Event) -> None:
        """Add an event."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, (json.dumps(asdict(event)) + "\n").encode())
        finally:
            os.close(file)

    def read(self) -> list[Event]:
        """Return all events."""
        if not self.path.exists():
            return []
        return [Event(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines()]
