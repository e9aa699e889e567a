"""The other end of a task process's socket, as far as dispatching needs it."""

from __future__ import annotations

from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import DagRunResult, ErrorResponse, GetDagRun, OKResponse, TriggerDagRun


class Supervisor:
    """Takes the messages that a task process sends; answers by batch id."""

    def __init__(self) -> None:
        self.sent: list[TriggerDagRun | GetDagRun] = []
        self.answers: dict[str, Any] = {}
        self.runs: dict[str, DagRunResult | ErrorResponse | AirflowRuntimeError] = {}

    def send(self, message: TriggerDagRun | GetDagRun) -> Any:
        self.sent.append(message)
        answers = self.answers if isinstance(message, TriggerDagRun) else self.runs
        answer = answers.get(message.run_id, OKResponse(ok=True))
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def started(self) -> list[str]:
        return [message.run_id for message in self.sent if isinstance(message, TriggerDagRun)]
