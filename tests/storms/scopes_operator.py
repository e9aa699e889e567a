"""The operator of the task type ``scopes``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from tests.storms.scopes_task_type import FAILED_AS_PLANNED, RECORDS, ScopesConfig


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


class ScopesOperator(BaseOperator):
    """Takes its time, writes down when it began and ended, and ends as planned."""

    def __init__(self, *, outcomes: Iterable[str], seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outcomes = list(outcomes)
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        ti = context["ti"]
        file = EventFile(Path(os.environ[RECORDS]), ti.dag_id)
        before = [one for one in file.read() if (one.run_id, one.task_id, one.kind) == (ti.run_id, ti.task_id, "start")]
        outcome = self.outcomes[min(len(before), len(self.outcomes) - 1)]
        for kind in ("start", "end"):
            file.append(Event(ti.run_id, ti.task_id, ti.try_number, kind, outcome, time.time()))
            if kind == "start":
                time.sleep(self.seconds)  # the work, so that a child that does not wait is seen
        if outcome == "skip":
            raise AirflowSkipException("skips itself as planned")
        if outcome == "fail":
            raise RuntimeError(FAILED_AS_PLANNED)


def build(config: ScopesConfig, kwargs: dict[str, Any]) -> BaseOperator:
    """Make the operator of a row."""
    return ScopesOperator(outcomes=config.outcomes, seconds=config.seconds, **kwargs)
