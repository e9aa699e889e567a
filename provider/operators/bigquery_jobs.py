"""The life of a BigQuery job, whatever it does: one job per chain of tries, by its name."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from provider.exceptions import RemoteJobError
from provider.hooks.remote_job import JobNotFoundError
from provider.links.bigquery import BigQueryJobLink
from provider.operators.external_job import ExternalJobOperator

if TYPE_CHECKING:
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryJob
    from airflow.sdk import BaseOperatorLink, Context

    from provider.hooks.bigquery import BigQueryJobHook
    from provider.hooks.remote_job import JobStatus, RemoteJob
    from provider.operators.job_ledger import JobLedger
    from provider.triggers.bigquery import BigQueryJobTrigger


class BigQueryJobOperator(ExternalJobOperator):
    """
    Base of the operators that run one BigQuery job; stands before an operator of the Google provider among the bases.

    The Google provider's operators make a new job in each try (``force_rerun=True``), or else take the name of a job that
    failed for good, so that no retry can succeed. Here the job's name is made of run, task and chain of tries, with a number
    that goes up only past a job that failed. BigQuery runs a name once: a retry attaches to the job that runs, takes the
    result of the one that succeeded, and starts another after one that failed. A person's clear starts a new chain, hence a
    new job.

    Parameters: see :class:`~provider.operators.remote_service.RemoteServiceOperator` and the other base; ``job_id``,
    ``force_rerun``, ``reattach_states`` and ``durable`` of the latter have no effect.

    .. seealso:: https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid
    """

    job_noun: ClassVar[str] = "BigQuery job"
    operator_extra_links: Sequence[BaseOperatorLink] = (BigQueryJobLink(),)
    # A text that ends in .sql is no file to read a template from.
    template_ext: Sequence[str] = ()

    # Of the Google provider's operators.
    configuration: dict[str, Any]
    project_id: str | None
    location: str | None
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None
    hook: Any
    job_id: str | None
    if TYPE_CHECKING:

        def _submit_job(self, hook: BigQueryJobHook, job_id: str) -> BigQueryJob: ...

    @abstractmethod
    def configure_job(self) -> None:
        """
        Set :attr:`configuration` to the job's configuration, as BigQuery's API has it.

        :raises ConfigurationError: the parameters make none.
        """

    @cached_property
    def job_hook(self) -> BigQueryJobHook:
        """The hook for this task's connection."""
        from provider.hooks.bigquery import BigQueryJobHook

        return BigQueryJobHook(
            gcp_conn_id=self.gcp_conn_id,
            location=self.location,
            impersonation_chain=self.impersonation_chain,
            http_timeout=self.http_timeout,
        )

    def _opened(self, context: Context, ledger: JobLedger) -> None:
        self._job_name = job_name(context)
        if self.location is None and ledger.job is not None:
            self.location = ledger.job.get("location")  # BigQuery chose it, and names a job by it

    def prepare_job(self) -> dict[str, Any]:
        """Return the name of the first job of this chain that has not failed: a new one, or one without a record."""
        place = {"project_id": self.project_id or self.job_hook.project_id, "location": self.location or self.job_hook.location}
        for number in itertools.count(1):
            intent = {**place, "job_id": f"{self._job_name}_{number}"}
            try:
                status = self.job_hook.get_job_status(intent)
            except JobNotFoundError:
                return intent
            if status.state != "failed":
                return intent
        raise AssertionError("unreachable: the loop has no end")

    def start_job(self, intent: dict[str, Any]) -> RemoteJob:
        """Insert the job; one that has the name already is this task's own."""
        from google.api_core.exceptions import Conflict

        from provider.hooks.bigquery import job_handle, translated

        self.hook = self.job_hook
        self.configure_job()
        self.log.info("Starting BigQuery job %s: %s", intent["job_id"], json.dumps(self.configuration, default=str))
        with translated(f"Start of BigQuery job {intent['job_id']}", changes=True):
            try:
                return job_handle(self._submit_job(self.job_hook, intent["job_id"]))
            except Conflict as conflict:
                error = conflict
        if (job := self.find_job(intent)) is None:
            raise RemoteJobError(
                f"BigQuery has a job {intent['job_id']} and does not show it in location {intent['location']}: set `location` "
                "to that of the dataset, and clear the task."
            ) from error
        self.log.info("An earlier try started %s %s.", self.job_noun, job["id"])
        return job

    def find_job(self, intent: dict[str, Any]) -> RemoteJob | None:
        """Look the job up by its name."""
        return self.job_hook.find_job(intent)

    def poll_job(self, job: RemoteJob) -> JobStatus:
        """Ask BigQuery."""
        return self.job_hook.get_job_status(job)

    def cancel_job(self, job: RemoteJob) -> None:
        """Cancel the job."""
        self.job_hook.cancel_by_name(job)

    def make_trigger(self, **waiting: Any) -> BigQueryJobTrigger:
        """Return the trigger that waits for a job."""
        from provider.triggers.bigquery import BigQueryJobTrigger

        return BigQueryJobTrigger(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain, **waiting)

    def _remember(self, context: Context, job: RemoteJob | None) -> None:
        super()._remember(context, job)
        self.job_id = None if job is None else job["job_id"]  # read by the OpenLineage extractor of the other base


def job_name(context: Context) -> str:
    """Return the name of a task instance's jobs: the same in every try of a chain, another one after a clear."""
    ti = context["ti"]
    key = json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", f"{ti.dag_id}_{ti.task_id}")
    return f"airflow_{readable}_{hashlib.sha256(key.encode()).hexdigest()[:24]}_{ti.max_tries or 0}"
