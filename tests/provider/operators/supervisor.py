"""The other end of a task process's socket, as far as dispatching needs it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import msgspec
from airflow.sdk.api.client import Client
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import (
    DagRunResult,
    DRCount,
    ErrorResponse,
    GetDagRun,
    GetDRCount,
    OKResponse,
    TriggerDagRun,
    _RequestFrame,
)


class Supervisor:
    """Takes the messages that a task process sends; answers by batch id, and by DAG id to the question how many runs it has."""

    def __init__(self) -> None:
        self.sent: list[TriggerDagRun | GetDagRun | GetDRCount] = []
        self.answers: dict[str, Any] = {}
        self.runs: dict[str, DagRunResult | ErrorResponse | AirflowRuntimeError] = {}
        self.active_runs: Counter[str] = Counter()
        self.answer_of_dag: dict[str, Any] = {}

    def send(self, message: TriggerDagRun | GetDagRun | GetDRCount) -> Any:
        self.sent.append(message)
        if isinstance(message, GetDRCount):
            return DRCount(count=self.active_runs[message.dag_id])
        answers = self.answers if isinstance(message, TriggerDagRun) else self.runs
        answer = answers.get(message.run_id) or self.answer_of_dag.get(message.dag_id, OKResponse(ok=True))
        if isinstance(answer, Exception):
            raise answer
        answer = answer() if callable(answer) else answer
        if isinstance(message, TriggerDagRun) and isinstance(answer, OKResponse):
            self.active_runs[message.dag_id] += 1
        return answer

    def started(self) -> list[str]:
        return [message.run_id for message in self.sent if isinstance(message, TriggerDagRun)]


class WireSupervisor(Supervisor):
    """
    Does with a start what Airflow's does: takes it from the socket's frame, and makes Airflow's own client send it.

    ``requests`` are the requests that would reach the API server.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx.Request] = []
        transport = httpx.MockTransport(self._take)
        self._client = Client(base_url="http://server/execution/", token="of a task", transport=transport)

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200)

    def send(self, message: TriggerDagRun | GetDagRun | GetDRCount) -> Any:
        length, frame = 4, _RequestFrame(id=1, body=message.model_dump()).as_bytes()
        received = TriggerDagRun.model_validate(msgspec.msgpack.decode(frame[length:], type=_RequestFrame).body)
        self._client.dag_runs.trigger(received.dag_id, received.run_id, received.conf)
        return super().send(received)
