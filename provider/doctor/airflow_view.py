"""What the doctor sees of Airflow: by its REST API, or by its database where this process has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from provider import settings
from provider.doctor.examination import UnseenError
from provider.texts import first_line
from provider.threads import in_thread

if TYPE_CHECKING:
    from provider.hooks.airflow_api import AirflowApi

T = TypeVar("T")


@dataclass(frozen=True)
class DagState:
    """
    What Airflow knows of a DAG.

    :param stale: no file defines it any more.
    """

    paused: bool
    stale: bool
    running: int


class AirflowView(Protocol):
    """What is asked of Airflow."""

    #: For people: how it is asked.
    told: str

    def health(self) -> Mapping[str, Any]:
        """Return what ``GET /api/v2/monitor/health`` says."""

    def dag(self, dag_id: str) -> DagState | None:
        """Return what Airflow knows of a DAG; None where it knows none."""

    def clock(self) -> datetime | None:
        """Return Airflow's time, cut to seconds; None where it is not told."""


class ApiView:
    """By Airflow's REST API."""

    def __init__(self, api: AirflowApi, conn_id: str) -> None:
        self._api = api
        self.told = f"by its REST API (connection {conn_id})"

    def health(self) -> Mapping[str, Any]:
        """Ask the API."""
        return self._api.get("monitor/health")

    def dag(self, dag_id: str) -> DagState | None:
        """Ask the API, twice."""
        from provider.hooks.airflow_api import api_path

        found = self._api.find(api_path("dags", dag_id))
        if found is None:
            return None
        runs = self._api.get(api_path("dags", dag_id, "dagRuns"), state="running", limit=1)
        return DagState(bool(found.get("is_paused")), bool(found.get("is_stale")), int(runs.get("total_entries") or 0))

    def clock(self) -> datetime | None:
        """Read the header of an answer."""
        return self._api.clock()


class DatabaseView:
    """By Airflow's own database."""

    told = "by its database"

    def health(self) -> Mapping[str, Any]:
        """Read the heartbeats."""
        from provider.airflow_internals.health import airflow_health

        return airflow_health()

    def dag(self, dag_id: str) -> DagState | None:
        """Read the DAG and its running runs."""
        from sqlalchemy import func, select

        from provider.airflow_internals.database import DagModel, DagRun, airflow_session

        with airflow_session() as session:
            found = session.execute(select(DagModel.is_paused, DagModel.is_stale).where(DagModel.dag_id == dag_id)).one_or_none()
            running = select(func.count()).select_from(DagRun).where(DagRun.dag_id == dag_id, DagRun.state == "running")
            return None if found is None else DagState(found.is_paused, found.is_stale, session.scalar(running) or 0)

    def clock(self) -> datetime | None:
        """Nothing tells it."""
        return None


class Shared(Generic[T]):
    """
    What several checks need and one of them gets; the others wait for it.

    :param make: gets it. What it raises all of them raise.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Future[T] | None = None

    def get(self) -> T:
        """Return it."""
        with self._lock:
            if self._made is None:
                self._made = in_thread(self._make, "accelerator-doctor-airflow")
        return self._made.result()


def open_view() -> AirflowView:
    """
    Return the way to see Airflow: its API where ``[accelerator] airflow_conn_id`` is set, else its database.

    :raises UnseenError: neither is at hand.
    """
    if conn_id := settings.get("airflow_conn_id"):
        from provider.hooks.airflow_api import AirflowApiHook

        return ApiView(AirflowApiHook(conn_id).get_conn(), conn_id)
    view = DatabaseView()
    try:
        view.dag("")
    except Exception as error:
        raise UnseenError(
            f"there is no Airflow database here ({type(error).__name__}: {first_line(error, 200)})",
            "Set [accelerator] airflow_conn_id to a connection of type airflow_api, or run this where Airflow's scheduler runs.",
        ) from error
    return view
