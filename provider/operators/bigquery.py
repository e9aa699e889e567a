# ruff: noqa: TID253 - a subclass of the Google provider's operator; only a task of its kind imports it
"""Operator that loads files into BigQuery once, however often it is tried."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator

from provider.operators.job_ledger import JobLedger

if TYPE_CHECKING:
    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook, BigQueryJob
    from airflow.sdk import Context


class BigQueryLoadOperator(GCSToBigQueryOperator):
    """
    Loads files of Cloud Storage into a BigQuery table; a retry never loads them a second time.

    The Google provider's operator makes a new job in each try (``force_rerun=True``), or else takes the name of a job that
    failed for good, so that no retry can succeed. Here the job's name is made of run, task and chain of tries, with a number
    that goes up only past a job that failed: a retry attaches to the job that runs, takes the result of the one that
    succeeded, and starts another after one that failed. A person's clear starts a new chain, hence a new load.

    Parameters: see :class:`airflow.providers.google.cloud.transfers.gcs_to_bigquery.GCSToBigQueryOperator`; ``job_id``,
    ``force_rerun`` and ``reattach_states`` have no effect. A file name that ends in ``.sql`` is no template file.

    .. seealso:: https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid
    """

    template_ext: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.external_job: dict[str, str] | None = None
        self._ledger: JobLedger | None = None
        self._job_name = ""

    def execute(self, context: Context) -> Any:
        """Attach to this task's load job or start it, and wait for its end."""
        self._ledger = JobLedger.from_context(context)
        if not self._ledger.same_chain:
            self._ledger.open_chain()
        self._job_name = job_name(context)
        result = super().execute(context)
        self._ledger.record_outcome("success")
        return result

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Resume after the wait in the triggerer."""
        result = super().execute_complete(context, event)
        JobLedger.from_context(context).record_outcome("success")
        return result

    def _submit_job(self, hook: BigQueryHook, job_id: str) -> BigQueryJob:  # noqa: ARG002 - the caller's name differs in each run
        from google.api_core.exceptions import Conflict

        for number in itertools.count(1):
            name = f"{self._job_name}_{number}"
            try:
                job = super()._submit_job(hook, name)
            except Conflict:
                project_id = self.project_id or hook.project_id
                job = cast("BigQueryJob", hook.get_job(project_id=project_id, location=self.location, job_id=name))
                if job.state == "DONE" and job.error_result:
                    self.log.info("Load job %s failed in an earlier try: %s", name, job.error_result)
                    continue
                self.log.info("Attaching to load job %s, state %s.", name, job.state)
            break
        self._remember(job)
        return job

    def _remember(self, job: BigQueryJob) -> None:
        """Record the job before the wait for it, for the task's log and for listeners."""
        place = f"{job.project}:{job.location}.{job.job_id}"
        url = (
            f"https://console.cloud.google.com/bigquery?project={quote(job.project, safe='')}"
            f"&j={quote(f'bq:{job.location}:{job.job_id}', safe=':')}&page=queryresults"
        )
        self.external_job = {"id": place, "url": url}
        if self._ledger is not None:
            self._ledger.record_job({"id": place, "url": url})


def job_name(context: Context) -> str:
    """Return the name of a task instance's load jobs: the same in every try of a chain, another one after a clear."""
    ti = context["ti"]
    key = json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", f"{ti.dag_id}_{ti.task_id}")
    return f"airflow_{readable}_{hashlib.sha256(key.encode()).hexdigest()[:24]}_{ti.max_tries or 0}"
