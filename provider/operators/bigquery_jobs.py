"""The life of a BigQuery job, whatever it does: one job per chain of tries, by its name."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from provider.links import BigQueryJobLink
from provider.operators.remote_job import RemoteJobOperator

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

    from provider.hooks.bigquery import BigQueryJobRequest
    from provider.hooks.remote_job import RemoteJob


class BigQueryJobOperator(RemoteJobOperator):
    """
    Base of the operators that run one BigQuery job; stands before an operator of the Google provider among the bases.

    The Google provider's operators make a new job in each try (``force_rerun=True``), or else take the name of a job that
    failed for good, so that no retry can succeed. Here the job's name is made of run, task and chain of tries, with a number
    that goes up only past a job that failed. BigQuery runs a name once: a retry attaches to the job that runs, takes the
    result of the one that succeeded, and starts another after one that failed. A person's clear starts a new chain, hence a
    new job.

    Parameters: see :class:`~provider.operators.remote_job.RemoteJobOperator` and the other base; ``job_id``,
    ``force_rerun``, ``reattach_states`` and ``durable`` of the latter have no effect.

    .. seealso:: https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid
    """

    service_name: ClassVar[str] = "bigquery"
    job_noun: ClassVar[str] = "BigQuery job"
    operator_extra_links: Sequence[BaseOperatorLink] = (BigQueryJobLink(),)
    # A text that ends in .sql is no file to read a template from.
    template_ext: Sequence[str] = ()

    # Of the Google provider's operators.
    project_id: str | None
    location: str | None
    gcp_conn_id: str
    impersonation_chain: str | Sequence[str] | None
    job_id: str | None

    @abstractmethod
    def make_configuration(self) -> dict[str, Any]:
        """
        Return the job's configuration, as BigQuery's API has it.

        :raises ConfigurationError: the parameters make none.
        """

    def request(self, context: Context, earlier: RemoteJob | None) -> BigQueryJobRequest:
        """Return the job to ask for, in the location where an earlier job of this task was, as BigQuery may have chosen that."""
        configuration = self.make_configuration()
        self.log.info("BigQuery job of this task: %s", json.dumps(configuration, default=str))
        return {
            "job_name": job_name(context),
            "configuration": configuration,
            "project_id": self.project_id,
            "location": self.location or (earlier or {}).get("location"),
        }

    def _remember(self, context: Context, job: RemoteJob | None) -> None:
        super()._remember(context, job)
        self.job_id = None if job is None else job["job_id"]  # read by the OpenLineage extractor of the other base


def job_name(context: Context) -> str:
    """Return the name of a task instance's jobs: the same in every try of a chain, another one after a clear."""
    ti = context["ti"]
    key = json.dumps([ti.dag_id, ti.run_id, ti.task_id, ti.map_index])
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", f"{ti.dag_id}_{ti.task_id}")
    return f"airflow_{readable}_{hashlib.sha256(key.encode()).hexdigest()[:24]}_{ti.max_tries or 0}"
