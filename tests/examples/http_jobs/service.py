"""
How to add a remote service, in full: one that takes jobs by HTTP. This module and ``task_type.py`` are all that is written.

Retries, re-attaching, waiting in the triggerer, the search for lost starts, cancels by a person and the TaskLog are inherited.

1. Models of intent and handle. Tasks write both to the task state store, so the reconciler checks them as foreign data.
2. The service: five calls, which block and are not repeated here. Their asynchronous forms are inherited.
3. What bounds a call, and what its answers mean.
4. The operator: its parameters, and the request they make.
5. The task type, in ``task_type.py``: rows are checked without Airflow.
6. Two entry points, in the ``pyproject.toml`` of the package::

    [project.entry-points."airflow_provider_cloud_accelerator.remote_services"]
    http_jobs = "tests.examples.http_jobs.service:HttpJobsHook"
    [project.entry-points."airflow_provider_cloud_accelerator.task_types"]
    http_job = "tests.examples.http_jobs.task_type:TASK_TYPE"
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from airflow.sdk import BaseHook, Context
from pydantic import Field, ValidationError

from provider.hooks.http_call import http_call
from provider.hooks.remote_job import Intent, JobBusyError, JobNotFoundError, JobStatus, RemoteCallError, RemoteJob
from provider.hooks.remote_service import ForeignHandle, RemoteService
from provider.hooks.wait_budget import WaitBudget
from provider.operators.remote_job import RemoteJobOperator


class HttpJobIntent(ForeignHandle):
    """Step 1. The service runs a key once. For a service without keys, note what it lists before the start."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class HttpJobHandle(ForeignHandle):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]  # It becomes a part of addresses.
    url: Annotated[str, Field(pattern=r"^(https?://[!-~]{1,2000})?$")]


class HttpJob(HttpJobIntent, HttpJobHandle):
    """A job as the service shows it."""

    state: str
    error: str = ""
    result: dict[str, Any] = Field(default_factory=dict)


class HttpJobsHook(BaseHook, RemoteService[dict[str, Any]]):
    """Step 2. The host of the connection is the address of the service, the password a token."""

    name = "http_jobs"
    noun = "HTTP job"
    connection_fields = ("http_jobs_conn_id",)
    default_conn_name = "http_jobs_default"
    job_model = HttpJobHandle
    intent_model = HttpJobIntent

    def __init__(self, http_jobs_conn_id: str = "http_jobs_default", *, budget: WaitBudget | None = None) -> None:
        super().__init__()
        self.http_jobs_conn_id = http_jobs_conn_id
        self.budget = budget or WaitBudget()

    def connect(self) -> None:
        self._connection = self.get_connection(self.http_jobs_conn_id)

    def prepare(self, request: dict[str, Any]) -> Intent:
        return {"key": uuid.uuid4().hex}

    def start(self, request: dict[str, Any], intent: Intent) -> RemoteJob:
        job = self._ask("POST", "/jobs", {**request, "key": intent["key"]})
        if job.key != intent["key"]:
            raise JobBusyError(f"HTTP job {job.id} has the same name and still runs.", other=self.check_job(job.model_dump()))
        return self.check_job(job.model_dump())

    def find(self, intent: Intent) -> RemoteJob | None:
        try:
            return self.check_job(self._ask("GET", f"/jobs?key={intent['key']}").model_dump())
        except JobNotFoundError:
            return None

    def status(self, job: RemoteJob) -> JobStatus:
        seen = self._ask("GET", f"/jobs/{job['id']}")
        if seen.state == "succeeded":
            return JobStatus("done", seen.state, result={"id": seen.id, **seen.result})
        if seen.state in ("failed", "cancelled"):
            error = f"HTTP job {seen.id} {seen.state}: {' '.join(seen.error.split())[:400]} See {seen.url}"
            return JobStatus("failed", seen.state, error)
        return JobStatus("running", seen.state)  # Whatever else: a new word must not end a wait.

    def cancel(self, job: RemoteJob) -> None:
        self._ask("POST", f"/jobs/{job['id']}/cancel")

    def _ask(self, method: str, path: str, body: Any = None) -> HttpJob:
        """Step 3. A call that fails raises RemoteCallError, which says whether the service may have done it nevertheless."""
        address, headers = f"{self._connection.host}{path}", {"Authorization": f"Bearer {self._connection.password}"}
        answer = http_call(method, address, self.budget, name=self.name, also=(409,), headers=headers, json=body)
        try:
            return HttpJob.model_validate_json(answer.content)
        except ValidationError as error:
            reason = f"{self.name} {method} {path} answered {answer.status_code} without a job."
            raise RemoteCallError(reason, maybe_done=method != "GET") from error


class HttpJobOperator(RemoteJobOperator):
    """Step 4. Fields of the connection are templated ones: there the reconciler looks for them."""

    service_name = HttpJobsHook.name
    job_noun = HttpJobsHook.noun
    template_fields = ("job_name", "arguments", "http_jobs_conn_id")

    def __init__(
        self, *, job_name: str, arguments: Any = None, http_jobs_conn_id: str = "http_jobs_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.arguments = arguments
        self.http_jobs_conn_id = http_jobs_conn_id

    def request(self, context: Context, earlier: RemoteJob | None) -> dict[str, Any]:
        return {"name": self.job_name, "arguments": self.arguments}
