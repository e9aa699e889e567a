"""What people do to a run of the record's chaos: the calls that Airflow's UI makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from demo.airflow_client import AirflowClient

ANN, BOB = "ann", "bob"
_PATIENCE = 120.0


class Person:
    """
    Somebody with one run before their eyes.

    :param home: of Airflow, where tasks look whether they may go on.
    :param year: that this person fills in with a backfill.
    :param jobs: gives how many remote jobs the run has started.
    :param command: begins an ``airflow`` command on this machine.
    :param wait_for: waits until something is so, for that many seconds at most, and starts again meanwhile what ends.
    """

    def __init__(
        self,
        client: AirflowClient,
        name: str,
        dag_id: str,
        run_id: str,
        *,
        home: Path,
        year: int,
        jobs: Callable[[], int],
        command: Callable[..., None],
        wait_for: Callable[[Callable[[], bool], float], bool],
    ) -> None:
        self.name = name
        self.dag_id = dag_id
        self.run_id = run_id
        self._client = client
        self._home = home
        self._year = year
        self._jobs = jobs
        self._command = command
        self._wait_for = wait_for

    @property
    def is_here(self) -> bool:
        """Whether the run's task waits for this person."""
        return self._file("here").exists()

    def let_go(self) -> None:
        """Let the task that waits go on."""
        self._file("go").touch()

    def trigger(self, conf: Mapping[str, Any] | None = None) -> None:
        """Start the run."""
        body = {"dag_run_id": self.run_id, "logical_date": None, "conf": dict(conf or {})}
        self._rest("POST", f"/dags/{self.dag_id}/dagRuns", body)

    def backfill(self) -> None:
        """Start a backfill, and look at its run from then on."""
        day = f"{self._year}-01-01T00:00:00Z"
        self._rest("POST", "/backfills", {"dag_id": self.dag_id, "from_date": day, "to_date": day})
        self._take_the_run_of(day)

    def test(self) -> None:
        """Begin ``airflow dags test``, and ``airflow tasks test``, which leaves nothing."""
        # Without a date of its own Airflow makes room for its temporary run by deleting one of the DAG's that has none.
        day = date(2026, 2, 1) + timedelta(days=self._year - 2000)  # the DAGs begin in January
        self._command("tasks", "test", self.dag_id, "first", f"{day + timedelta(days=100)}")
        self._command("dags", "test", self.dag_id, f"{day}")
        self._take_the_run_of(f"{day}T00:00:00Z")

    def _take_the_run_of(self, logical_date: str) -> None:
        """Wait until Airflow has a run of this date, and look at that one from then on."""

        def found() -> list[dict[str, Any]]:
            dates = {"logical_date_gte": logical_date, "logical_date_lte": logical_date}
            path = f"/dags/{self.dag_id}/dagRuns"
            try:
                runs: list[dict[str, Any]] = self._client.rest("GET", path, params=dates, person=self.name)["dag_runs"]
            except httpx.HTTPStatusError as error:
                if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                return []  # Airflow's own query fails now and then while a backfill is made
            return runs

        if not self._wait_for(lambda: bool(found()), _PATIENCE):
            raise AssertionError(f"there is no run of {self.dag_id} of {logical_date} after {_PATIENCE:.0f} s")
        self.run_id = str(found()[0]["dag_run_id"])

    def patch_run(self, **body: Any) -> None:
        """Mark the run, or write a note on it."""
        self._rest("PATCH", self._path, body)

    def patch_runs(self, **body: Any) -> None:
        """Mark it as one of several chosen runs."""
        action = {"action": "update", "entities": [{"dag_run_id": self.run_id, **body}]}
        self._rest("PATCH", f"/dags/{self.dag_id}/dagRuns", {"actions": [action]})

    def patch_task(self, task_id: str, **body: Any) -> None:
        """Mark a task, or write a note on it."""
        self._rest("PATCH", f"{self._path}/taskInstances/{task_id}", body)

    def clear(self, task_id: str) -> None:
        """Clear a task and what comes after it."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": [task_id], "only_failed": False}
        self._rest("POST", f"/dags/{self.dag_id}/clearTaskInstances", {**body, "include_downstream": True})

    def delete_run(self) -> None:
        """Delete the run, which has ended."""
        self._rest("DELETE", self._path)

    def mark_and_delete_run(self) -> None:
        """Delete the run as the UI wants it: it has to end first."""
        self.patch_run(state="failed")
        self.delete_run()

    def delete_open_run(self) -> None:
        """Delete the run in the moment in which it waits for its turn: nobody has marked anything then."""

        def is_deleted() -> bool:
            self.patch_run(state="queued")
            try:
                self.delete_run()
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.CONFLICT:
                    raise
                return False  # the scheduler was quicker
            return True

        if not self._wait_for(is_deleted, _PATIENCE):
            raise AssertionError(f"run {self.run_id} of {self.dag_id} cannot be deleted")

    def mark_next_job(self) -> None:
        """Mark the task failed when its second job runs; where Airflow has lost the cleared task before that, clear it again."""

        def is_started() -> bool:
            if self._jobs() >= 2:
                return True
            if self._rest("GET", f"{self._path}/taskInstances/job")["state"] in ("failed", "up_for_retry"):
                self.clear("job")
            return False

        if not self._wait_for(is_started, 2 * _PATIENCE):
            raise AssertionError(f"the cleared task of {self.run_id} has not started its job again")
        self.patch_task("job", new_state="failed")

    @property
    def _path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def _rest(self, method: str, path: str, body: Any = None) -> Any:
        return self._client.rest(method, path, json=body, person=self.name)

    def _file(self, folder: str) -> Path:
        path = self._home / folder
        path.mkdir(exist_ok=True)
        return path / self.run_id
