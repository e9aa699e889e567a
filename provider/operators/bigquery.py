# ruff: noqa: TID253 - a subclass of the Google provider's operator; only a task of its kind imports it
"""Operator that loads files into BigQuery once, however often it is tried."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator

from provider.airflow_internals import google
from provider.exceptions import ConfigurationError
from provider.operators.bigquery_jobs import BigQueryJobOperator
from provider.plain_data import as_list

__all__ = ["BigQueryLoadOperator"]


class BigQueryLoadOperator(BigQueryJobOperator, GCSToBigQueryOperator):  # type: ignore[misc]  # the first base wins
    """
    Loads files of Cloud Storage into a BigQuery table; a retry never loads them a second time.

    Returns ``{"job_id", "project_id", "location", "destination_table", "output_rows", "output_bytes", "input_files",
    "input_file_bytes"}``.

    Parameters: see :class:`~provider.operators.bigquery_jobs.BigQueryJobOperator` and
    :class:`airflow.providers.google.cloud.transfers.gcs_to_bigquery.GCSToBigQueryOperator`; its ``external_table``,
    ``force_delete`` and ``max_id_key`` are refused.

    :raises ConfigurationError: one of these three is given.
    :raises RemoteJobError: the job failed; AirflowFailException with the same text where a retry cannot help.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad
    """

    job_noun: ClassVar[str] = "BigQuery load job"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # One text stands for a list of one; the Google provider's operator would take it apart or send it as it is.
        self.cluster_fields = as_list(self.cluster_fields)
        self.schema_update_options = as_list(self.schema_update_options)
        if self.external_table or self.force_delete or self.max_id_key:
            raise ConfigurationError(
                f"Task {self.task_id}: external_table, force_delete and max_id_key are no parts of a load job; use the Google "
                "provider's GCSToBigQueryOperator for them."
            )

    def make_configuration(self) -> dict[str, Any]:
        """Let the Google provider's operator make the configuration, from rendered parameters."""
        if self.schema_object and not self.schema_fields:
            storage = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
            text = storage.download(self.schema_object_bucket or self.bucket, self.schema_object)
            self.schema_fields = json.loads(text)
        return google.load_configuration(self, self.service)
