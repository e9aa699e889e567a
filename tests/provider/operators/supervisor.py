"""The other end of a task process's socket, as far as dispatching needs it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import DagRunState, DagRunType
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
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

from provider.metadata.rows import ClaimedRequest

ALREADY_EXISTS = ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)


def refusal(status: int | None, reason: str | None = None, message: str = "because") -> AirflowRuntimeError:
    """An error as the supervisor of a task reports it."""
    detail: dict[str, Any] = {"status_code": status, "message": f"HTTP {status}"}
    if reason:
        detail["detail"] = {"detail": {"reason": reason, "message": message}}
    return AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


def run_of(request: ClaimedRequest, conf: dict[str, Any] | None) -> DagRunResult:
    """Return what Airflow says of the run that a request has, or would have, if its conf is this."""
    return DagRunResult(
        dag_id=request.workflow_id,
        run_id=request.batch_id,
        logical_date=None,
        data_interval_start=None,
        data_interval_end=None,
        run_after=datetime.now(UTC),
        start_date=None,
        end_date=None,
        run_type=DagRunType.MANUAL,
        state=DagRunState.RUNNING,
        conf=conf,
        consumed_asset_events=[],
        partition_key=None,
    )


def claimed_request(**changes: Any) -> ClaimedRequest:
    """Return a claimed request."""
    values = {
        "id": 7,
        "kind": "start",
        "message_id": "m7",
        "workflow_id": "daily_sales",
        "batch_id": "B1",
        "task_id": "stg_orders",
        "start_task_ids": ["stg_orders"],
        "scope": "workflow",
        "params": {"day": "{{ ds }}"},
    }
    return ClaimedRequest(**{**values, **changes})


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
