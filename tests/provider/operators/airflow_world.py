"""Airflow's REST API with runs of DAGs, for tasks that have to do with other workflows."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from tests.provider.hooks.airflow_api_server import Answer, Server


class Airflow:
    """Runs of DAGs, as the REST API tells of them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.runs: dict[str, dict[str, Any]] = {}
        self.failed_tasks: list[str] = []
        #: Statuses that the next starts answer with, after Airflow has done them.
        self.lost: list[int] = []
        server.answer = self._answer

    def _answer(self, path: str, _query: Any) -> Answer:
        method, _, _, _, body = self.server.asked[-1]
        dag_id, _, rest = path.removeprefix("/api/v2/dags/").partition("/dagRuns")
        run_id, _, below = unquote(rest.strip("/")).partition("/")
        if method == "POST":
            if body["dag_run_id"] in self.runs:
                return 409, {"detail": "exists"}
            if dag_id == "unknown":
                return 404, {"detail": "DAG with dag_id: 'unknown' not found"}
            self.runs[body["dag_run_id"]] = {"dag_run_id": body["dag_run_id"], "state": "running", **body}
            return (self.lost.pop(), {}) if self.lost else (200, self.runs[body["dag_run_id"]])
        if run_id not in self.runs:
            return 404, {"detail": f"The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"}
        if method == "PATCH":
            self.runs[run_id] |= body
        return 200, {"task_instances": [{"task_id": one} for one in self.failed_tasks]} if below else self.runs[run_id]

    def end(self, run_id: str, state: str = "success") -> None:
        self.runs[run_id]["state"] = state

    def starts(self) -> int:
        return sum(asked[0] == "POST" for asked in self.server.asked)
