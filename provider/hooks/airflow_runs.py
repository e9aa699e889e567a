"""Batches of other workflows as jobs of a remote service, which is this Airflow itself, by its public REST API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, ClassVar, TypedDict

from airflow.sdk import conf
from pydantic import Field

from provider.batch_ids import MAX_LENGTH, check_batch_id
from provider.exceptions import MessageError, RemoteJobError
from provider.hooks.airflow_api import AirflowApi, AirflowApiHook, api_path
from provider.hooks.paths import PathPart
from provider.hooks.remote_job import CannotCancelError, Intent, JobNotFoundError, JobStatus, RemoteCallError, RemoteJob
from provider.hooks.remote_service import ForeignHandle, RemoteService
from provider.hooks.wait_budget import WaitBudget
from provider.plain_data import objects_among
from provider.run_conf import Parent, conf_of_run, starter_of
from provider.texts import one_line, storable

__all__ = ["AirflowRunsHook"]

#: Batches that one task of one batch starts, one after the other.
MOST_RUNS = 100
#: How many failed tasks an error names.
_NAMED = 5
#: Airflow's longest note.
_LONGEST_NOTE = 1000


class RunRequest(TypedDict):
    """
    What a batch is asked for with.

    :param workflow_id: DAG id of the workflow to start.
    :param name: what its batch id begins with: names task and batch that start it.
    :param started_by: DAG id, run id, task id and map index of the task.
    :param params: values for the workflow's parameters.
    :param start_task_ids: where it starts; None for the whole workflow.
    :param scope: how much of the workflow runs from there.
    :param chain: DAG ids of the workflows that started one another, this task's last.
    """

    workflow_id: str
    name: str
    started_by: list[str | int]
    params: Mapping[str, Any]
    start_task_ids: list[str] | None
    scope: str
    chain: list[str]


class RunIntent(ForeignHandle):
    """Which run it is, and whose: Airflow creates an id once, and somebody else may have taken it."""

    workflow_id: PathPart
    batch_id: PathPart
    started_by: list[str | int]


class RunHandle(ForeignHandle):
    """
    Handle of a run.

    :param awaited: somebody else starts it, perhaps later.
    """

    workflow_id: PathPart
    batch_id: PathPart
    id: str
    url: Annotated[str, Field(pattern=r"^(https?://[!-~]{1,2000})?$")] = ""
    awaited: bool = False


class AirflowRunsHook(AirflowApiHook, RemoteService[RunRequest]):
    """
    Airflow's REST API as the remote service ``airflow``: its jobs are runs of DAGs that the factory made.

    A run's id is made of the names of the task and the batch that start it, with a number from the second one on.

    :param airflow_conn_id: connection of type ``airflow_api``, whose user may start and change DAG runs.
    :param budget: bounds of waits, calls and answers.

    .. seealso:: https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
    """

    name: ClassVar[str] = "airflow"
    noun: ClassVar[str] = "batch of another workflow"
    connection_fields: ClassVar[tuple[str, ...]] = ("airflow_conn_id",)
    job_model: ClassVar[type[ForeignHandle]] = RunHandle
    intent_model: ClassVar[type[ForeignHandle]] = RunIntent

    def __init__(self, airflow_conn_id: str = AirflowApiHook.default_conn_name, *, budget: WaitBudget | None = None) -> None:
        super().__init__(airflow_conn_id)
        self.budget = budget or WaitBudget()
        self._api: AirflowApi

    def connect(self) -> None:
        """Read the connection."""
        self._api = self.get_conn(self.budget)

    def prepare(self, request: RunRequest) -> Intent:
        """Return the first id of this task's runs that Airflow does not have."""
        for batch_id in _batch_ids(request["name"]):
            intent: Intent = {
                "workflow_id": request["workflow_id"],
                "batch_id": batch_id,
                "started_by": request["started_by"],
            }
            if self._api.find(_path(intent)) is None:
                return intent
        raise RemoteJobError(
            f"this task has started {MOST_RUNS} batches of {request['workflow_id']} in one batch; see them in Airflow.",
            retryable=False,
        )

    def start(self, request: RunRequest, intent: Intent) -> RemoteJob:
        """Start the run; one that has the id already may be this task's own."""
        workflow_id, batch_id = intent["workflow_id"], intent["batch_id"]
        parent = Parent(workflow_id, batch_id, tuple(request["started_by"]), tuple(request["chain"]))
        body = {
            "dag_run_id": batch_id,
            "logical_date": None,
            "conf": conf_of_run(
                request["params"], scope=request["scope"], start_task_ids=request["start_task_ids"], origin=parent
            ),
            "note": storable(f"Started by {request['name']}, of the workflow {request['chain'][-1]}.", _LONGEST_NOTE),
        }
        response = self._api.post(api_path("dags", workflow_id, "dagRuns"), body, also=(409,))
        if response.status_code == 409 and self.find(intent) is None:
            raise RemoteCallError(f"batch {batch_id} of {workflow_id} was started by somebody else at the same time.")
        return self._handle(intent)

    def find(self, intent: Intent) -> RemoteJob | None:
        """Return the run of this id; None where Airflow has none, or another task's or person's."""
        found = self._api.find(_path(intent)) or {}
        ours = starter_of(found.get("conf"), intent["workflow_id"], intent["batch_id"]) == tuple(intent["started_by"])
        return self._handle(intent) if ours else None

    def awaited(self, workflow_id: str, batch_id: str) -> RemoteJob:
        """Return the handle of a run that somebody else starts, whether or not it is there yet."""
        return {**self._handle({"workflow_id": workflow_id, "batch_id": batch_id}), "awaited": True, "adopted": True}

    def status(self, job: RemoteJob) -> JobStatus:
        """Ask for the state of the run; of a failed one, for the tasks that failed too."""
        found = self._api.find(_path(job))
        if found is None and job.get("awaited"):
            return JobStatus("running", "there is no such batch yet")
        if found is None:
            raise JobNotFoundError(f"Airflow has no run {job['batch_id']} of {job['workflow_id']} any more.")
        state = str(found.get("state"))
        names = {"workflow_id": job["workflow_id"], "batch_id": job["batch_id"]}
        if state == "success":
            return JobStatus("done", state, result=names)
        if state == "failed":
            # Its tasks have had their tries, so another batch would fail likewise.
            failed = f"batch {job['batch_id']} of the workflow {job['workflow_id']} failed{self._failed_tasks(job)}"
            error = f"{failed}; restart it there and mark this task a success, or clear this task, which runs all of it again."
            if job.get("awaited"):
                error = f"{failed}; restart it there, and clear this task."
            return JobStatus("failed", state, error, retryable=False)
        return JobStatus("running", state)

    def cancel(self, job: RemoteJob) -> None:
        """Mark the run failed, which ends its tasks and their remote jobs; not one that somebody else started."""
        if job.get("awaited"):
            raise CannotCancelError(
                f"batch {job['batch_id']} of the workflow {job['workflow_id']} is waited for alone; who started it ends it."
            )
        found = self._api.find(_path(job))
        # It may have ended, and a success is not to become a failure.
        if found is not None and found.get("state") not in ("success", "failed"):
            self._api.patch(_path(job), {"state": "failed"})

    def _failed_tasks(self, job: RemoteJob) -> str:
        with suppress(RemoteCallError):
            answer = self._api.get(f"{_path(job)}/taskInstances", state="failed", limit=_NAMED)
            ids = [one.get("task_id") for one in objects_among(answer.get("task_instances"), _NAMED)]
            if names := [one_line(one, 250) for one in ids if isinstance(one, str)]:
                return f" in {', '.join(names)}"
        return ""

    def _handle(self, intent: Intent) -> RemoteJob:
        workflow_id, batch_id = intent["workflow_id"], intent["batch_id"]
        address = conf.get("api", "base_url", fallback="") or self._api.settings.address
        url = f"{address.rstrip('/')}/{api_path('dags', workflow_id, 'runs', batch_id)}"
        return {"id": f"{workflow_id}/{batch_id}", "url": url, "workflow_id": workflow_id, "batch_id": batch_id}


def _path(intent: Mapping[str, Any]) -> str:
    return api_path("dags", intent["workflow_id"], "dagRuns", intent["batch_id"])


def _batch_ids(name: str) -> Iterator[str]:
    """Yield the ids of a task's batches: readable ones, unless such an id could not be one."""
    for number in range(1, MOST_RUNS + 1):
        readable = name if number == 1 else f"{name}.{number}"
        try:
            yield check_batch_id(readable)
        except MessageError:
            yield f"by_task_{hashlib.sha256(readable.encode()).hexdigest()[: MAX_LENGTH // 5]}"
