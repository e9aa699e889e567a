"""The public REST API of an Airflow of one's own, as its people use it, and waiting for what it tells."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from demo.airflow_users import AirflowUsers

Result = TypeVar("Result")
#: How long Airflow may find its database busy.
_BUSY_SECONDS = 15.0


class AirflowClient:
    """
    One Airflow, seen from outside.

    :param url: address of its api-server.
    :param users: who may ask; the first one is who :meth:`rest` asks as.
    """

    def __init__(self, url: str, users: AirflowUsers) -> None:
        self.url = url
        self.users = users
        self._clients: dict[str | None, httpx.Client] = {}

    def close(self) -> None:
        """Close all connections."""
        while self._clients:
            self._clients.popitem()[1].close()

    def gave_up(self) -> list[str]:
        """Return the names of processes without which nothing is worth waiting for."""
        return []

    def log_ends(self) -> str:
        """Return what the message of a failure ends with."""
        return ""

    def api_connection(self, person: str) -> str:
        """Return the connection of type ``airflow_api`` of one of the users, as JSON."""
        return self.users.connection(self.url, person)

    def rest(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None, person: str | None = None
    ) -> Any:
        """
        Call the public REST API v2. What Airflow's database was too busy for, as SQLite may be, is asked for again.

        :param path: below ``/api/v2``, such as ``/dags/x/dagRuns``; quote what you put in.
        :param person: who does it, of *people*.
        :return: the decoded answer, None for an empty one.
        :raises httpx.HTTPStatusError: the answer is an error; its text is in the exception.
        """
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            response = self.client(person).request(method, f"/api/v2{path}", json=json, params=params)
            busy = response.status_code == httpx.codes.INTERNAL_SERVER_ERROR and "Database error" in response.text
            if not busy or time.monotonic() > until:
                break
            time.sleep(0.5)
        if response.is_error:
            message = f"{method} {path}: {response.status_code} {response.text}"
            raise httpx.HTTPStatusError(message, request=response.request, response=response)
        return response.json() if response.content else None

    def client(self, person: str | None = None) -> httpx.Client:
        """Return a client of the api-server that is authorised as a person (its base URL has no ``/api/v2``)."""
        if person not in self._clients:
            self._clients[person] = self.users.client(self.url, person)
        return self._clients[person]

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Start a run without a logical date, as a message would."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        answer: dict[str, Any] = self.rest("POST", f"/dags/{quote(dag_id, safe='')}/dagRuns", json=body)
        return answer

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        run = self.rest("GET", f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}")
        return str(run["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run as the API describes them."""
        path = f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}/taskInstances"
        instances: list[dict[str, Any]] = self.rest("GET", path, params={"limit": 1000})["task_instances"]
        return instances

    # --- waiting

    def are_healthy(self, parts: Iterable[str]) -> bool:
        """Tell whether parts of Airflow, by their names in its health report, are healthy; False where it does not answer."""
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=10, trust_env=False)
        except httpx.TransportError:
            return False
        if health.is_error:
            return False
        states = health.json()
        return all((states.get(part) or {}).get("status") == "healthy" for part in parts)

    def wait_for_dag(self, dag_id: str, timeout: float = 120.0) -> None:
        """Wait until a DAG can be triggered."""

        def known() -> bool:
            response = self.client().get(f"/api/v2/dags/{quote(dag_id, safe='')}")
            return response.status_code == httpx.codes.OK and not response.json()["is_stale"]

        self.wait_for(known, timeout, f"DAG {dag_id}", explain=lambda: jsonlib.dumps(self.rest("GET", "/importErrors")))

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 180.0) -> str:
        """Wait until a run has ended and return its state."""

        def ended() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in ("success", "failed") else None

        def explain() -> str:
            return ", ".join(f"{row['task_id']} {row['state']}" for row in self.task_instances(dag_id, run_id))

        return self.wait_for(ended, timeout, f"the end of run {run_id} of {dag_id}", explain=explain) or ""

    def wait_for(
        self,
        ready: Callable[[], Result],
        timeout: float,
        what: str,
        *,
        explain: Callable[[], str] = str,
    ) -> Result:
        """
        Poll until *ready* returns something true, and return it.

        The pause follows the time of a look, so that those who wait leave a busy machine to what they wait for.

        :param timeout: seconds.
        :param explain: called for the message of the failure.
        :raises AssertionError: time is up, or a component has ended meanwhile; with the ends of the logs.
        """
        deadline = time.monotonic() + timeout
        while True:
            begun = time.monotonic()
            if result := ready():
                return result
            gone = self.gave_up()
            if gone or time.monotonic() > deadline:
                why = f"{', '.join(gone)} ended" if gone else f"nothing after {timeout:.0f} s"
                raise AssertionError(f"waiting for {what}: {why}. {explain()}\n{self.log_ends()}")
            time.sleep(max(0.4, 3 * (time.monotonic() - begun)))
