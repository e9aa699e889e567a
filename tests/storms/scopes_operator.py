"""The operator of the task type ``scopes``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from tests.storms.scopes_events import Event, EventFile
from tests.storms.scopes_task_type import FAILED_AS_PLANNED, RECORDS


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
