"""Starting runs without a task, by Airflow's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provider.airflow_internals.supervisor import AirflowRefusedError, FoundRun
from provider.hooks.airflow_api import AirflowApi, api_path
from provider.hooks.remote_job import RemoteCallError

if TYPE_CHECKING:
    import httpx

#: Statuses by which Airflow says something of the run that it was asked for.
_REFUSALS = (400, 404, 422)
#: What it says of a DAG whose file cannot be imported.
_IMPORT_ERRORS = "has import errors"


class ApiRuns:
    """
    :class:`provider.dispatch.outcomes.DagRuns` by the REST API.

    :param api: of a user who may start DAG runs.
    :param concurrency: how many runs may be started at a time.
    """

    def __init__(self, api: AirflowApi, concurrency: int = 8) -> None:
        self._api = api
        self.concurrency = concurrency
        #: Why the user may not start runs; None as long as that is not known.
        self.forbidden: str | None = None

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
        """Start a run; see :class:`~provider.dispatch.outcomes.DagRuns`."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        with self._refusals():
            response = self._api.post(api_path("dags", dag_id, "dagRuns"), body, also=(409, *_REFUSALS))
        if response.status_code in _REFUSALS:
            said = _said(response)
            reason = "import_errors" if _IMPORT_ERRORS in said else None
            raise AirflowRefusedError(said, status=response.status_code, reason=reason)
        return response.status_code != 409

    def find(self, dag_id: str, run_id: str) -> FoundRun:
        """Return a run; see :class:`~provider.dispatch.outcomes.DagRuns`."""
        with self._refusals():
            found = self._api.get(api_path("dags", dag_id, "dagRuns", run_id))
        conf = found.get("conf")
        return FoundRun(conf if isinstance(conf, dict) else {}, str(found.get("run_type")), str(found.get("state")))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except RemoteCallError as error:
            if error.status_code in (401, 403):
                self.forbidden = str(error)
                # Nothing can be started at all: for the requests that is an outage.
                raise AirflowRefusedError(str(error), status=None, reason=None) from error
            raise AirflowRefusedError(str(error), status=error.status_code, reason=None) from error


def _said(response: httpx.Response) -> str:
    """Return what Airflow says of a refusal; of one that its validation found it says more than one thing."""
    try:
        said = response.json()["detail"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return response.text
    return said if isinstance(said, str) else str(said)
