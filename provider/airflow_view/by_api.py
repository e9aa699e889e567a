"""Airflow as its REST API shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from provider.airflow_view.view import MOST, DagState, NextTry, TaskBefore, Waiting, occupying
from provider.hooks.airflow_api import AirflowApi, api_path


class ApiView:
    """By Airflow's REST API."""

    sees_all = True

    def __init__(self, api: AirflowApi, conn_id: str) -> None:
        self._api = api
        self.told = f"by its REST API (connection {conn_id})"

    def health(self) -> Mapping[str, Any]:
        """Ask the API."""
        return self._api.get("monitor/health")

    def dag(self, dag_id: str) -> DagState | None:
        """Ask the API, twice."""
        found = self._api.find(api_path("dags", dag_id))
        if found is None:
            return None
        runs = self._api.get(api_path("dags", dag_id, "dagRuns"), state="running", limit=1)
        most = found.get("max_active_runs")
        return DagState(
            paused=bool(found.get("is_paused")),
            stale=bool(found.get("is_stale")),
            running=int(runs.get("total_entries") or 0),
            max_active_runs=most if isinstance(most, int) else None,
        )

    def clock(self) -> datetime | None:
        """Read the header of an answer."""
        return self._api.clock()

    def run(self, dag_id: str, run_id: str) -> Mapping[str, Any] | None:
        """Ask the API."""
        return self._api.find(api_path("dags", dag_id, "dagRuns", run_id))

    def task_instances(self, dag_id: str, run_id: str) -> Sequence[Mapping[str, Any]]:
        """Ask the API, page by page."""
        return list(self._api.listed(api_path("dags", dag_id, "dagRuns", run_id, "taskInstances"), "task_instances"))

    def active_runs(self, dag_id: str) -> Sequence[str]:
        """Ask the API."""
        found = self._api.get(api_path("dags", dag_id, "dagRuns"), state="running", limit=MOST)
        return [str(one.get("dag_run_id")) for one in found.get("dag_runs") or ()]

    def pool(self, name: str) -> Mapping[str, Any] | None:
        """Ask the API."""
        return self._api.find(api_path("pools", name))

    def occupants(
        self,
        pool: str | None,
        *,
        deferred: bool,
        dag_id: str | None = None,
        run_id: str | None = None,
        task_id: str | None = None,
        most: int = MOST,
    ) -> Sequence[Mapping[str, Any]]:
        """Ask the API, page by page: a server may give fewer than are asked for."""
        path = api_path("dags", dag_id or "~", "dagRuns", run_id or "~", "taskInstances")
        found = self._api.listed(path, "task_instances", pool=pool, state=occupying(deferred), task_id=task_id)
        return list(islice(found, most))

    def task_before(self, dag_id: str, run_id: str, task_id: str, *, scheduled: bool) -> TaskBefore | None:
        """Ask the API for the runs before, then for the task in the last of them."""
        runs = api_path("dags", dag_id, "dagRuns")
        this = self._api.find(api_path("dags", dag_id, "dagRuns", run_id)) or {}
        at = this.get("logical_date")
        if not at or this.get("run_type") == "backfill":
            return None
        found = self._api.get(runs, logical_date_lt=at, order_by="-logical_date", limit=MOST if scheduled else 1)
        counted = [one for one in found.get("dag_runs") or () if not scheduled or one.get("run_type") != "manual"]
        if not counted:
            return None
        before = str(counted[0].get("dag_run_id"))
        path = api_path("dags", dag_id, "dagRuns", before, "taskInstances")
        there = list(self._api.listed(path, "task_instances", task_id=task_id))
        if not there:
            ever = api_path("dags", dag_id, "dagRuns", "~", "taskInstances")
            if not self._api.get(ever, task_id=task_id, logical_date_lt=at, limit=1).get("task_instances"):
                return None
        return TaskBefore(before, [one.get("state") for one in there])

    def reasons(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Sequence[str]:
        """Ask the API."""
        found = self._api.find(_instance_path(dag_id, run_id, task_id, map_index, "dependencies")) or {}
        return [str(each.get("reason")) for each in found.get("dependencies") or ()]

    def import_errors(self, dag_id: str) -> Sequence[Mapping[str, Any]]:
        """Ask the API for the DAG, then for its file."""
        dag = self._api.find(api_path("dags", dag_id)) or {}
        found = self._api.get(
            "importErrors", filename=dag.get("relative_fileloc"), bundle_name=dag.get("bundle_name"), limit=MOST
        )
        return list(found.get("import_errors") or ())

    def next_try(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> NextTry | None:
        """Ask the API when it has failed and for how long it pauses; it does not tell of the longest pause."""
        ended = _moment((self._api.find(_instance_path(dag_id, run_id, task_id, map_index)) or {}).get("end_date"))
        task = self._api.find(api_path("dags", dag_id, "tasks", task_id)) or {}
        delay = task.get("retry_delay")
        if ended is None or not isinstance(delay, Mapping):
            return None
        pause = timedelta(**{name: delay.get(name) or 0 for name in ("days", "seconds", "microseconds")})
        return NextTry(ended + pause, exact=task.get("retry_exponential_backoff") in (0, 1))

    def waiting(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> Waiting | None:  # noqa: ARG002
        """Nothing tells it."""
        return None


def _instance_path(dag_id: str, run_id: str, task_id: str, map_index: int, *more: str) -> str:
    one = (task_id,) if map_index < 0 else (task_id, map_index)
    return api_path("dags", dag_id, "dagRuns", run_id, "taskInstances", *one, *more)


def _moment(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
