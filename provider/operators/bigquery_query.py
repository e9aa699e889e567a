# ruff: noqa: TID253 - a subclass of the Google provider's operator; only a task of its kind imports it
"""Operator that runs a statement in BigQuery once, however often it is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from provider.airflow_internals import google
from provider.exceptions import ConfigurationError
from provider.operators.bigquery_jobs import BigQueryJobOperator
from provider.plain_data import as_list

__all__ = ["BigQueryQueryOperator"]


class BigQueryQueryOperator(BigQueryJobOperator, BigQueryInsertJobOperator):  # type: ignore[misc]  # the first base wins
    """
    Runs a statement of GoogleSQL, or a script of them, in BigQuery; a retry never runs it a second time.

    The statement itself is no template: values come in as query parameters, so that no value can become SQL.

    Returns ``{"job_id", "project_id", "location", "destination_table", "statement_type", "num_dml_affected_rows",
    "total_bytes_processed", "total_bytes_billed", "cache_hit"}``, as far as BigQuery tells them.

    :param sql: the statement; ``@name`` stands for a parameter.
    :param destination_table: ``project.dataset.table`` or ``dataset.table`` that gets the result. (templated)
    :param write_disposition: what to do with rows that are there: ``WRITE_EMPTY`` (BigQuery's default: fail),
        ``WRITE_APPEND`` or ``WRITE_TRUNCATE``. With a destination table only.
    :param create_disposition: ``CREATE_IF_NEEDED`` (BigQuery's default) or ``CREATE_NEVER``. With a destination table only.
    :param query_parameters: ``{"name", "type", "value"}``, or with ``values`` for an array, with BigQuery's names of scalar
        types. (templated)
    :param priority: ``INTERACTIVE`` or ``BATCH``.
    :param maximum_bytes_billed: a job that would read more bytes fails and costs nothing.
    :param labels: labels of the job; ``airflow-dag`` and ``airflow-task`` are added.
    :param project_id: project that runs the job; default: the connection's.
    :param location: location of the job; needed where no dataset in ``US`` or ``EU`` is queried.
    :param gcp_conn_id: connection to Google Cloud. (templated)
    :param impersonation_chain: service account to act as, or a chain of them. (templated)
    :raises ConfigurationError: a disposition is given without a table.
    :raises RemoteJobError: the job failed; AirflowFailException with the same text where a retry cannot help.

    Other parameters: see :class:`~provider.operators.bigquery_jobs.BigQueryJobOperator`.

    .. seealso:: https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationQuery
    """

    job_noun: ClassVar[str] = "BigQuery query job"
    template_fields: Sequence[str] = ("destination_table", "query_parameters", "gcp_conn_id", "impersonation_chain")
    template_fields_renderers: ClassVar[dict[str, str]] = {"query_parameters": "json"}

    def __init__(
        self,
        *,
        sql: str,
        destination_table: str | None = None,
        write_disposition: Literal["WRITE_EMPTY", "WRITE_APPEND", "WRITE_TRUNCATE"] | None = None,
        create_disposition: Literal["CREATE_IF_NEEDED", "CREATE_NEVER"] | None = None,
        query_parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        priority: Literal["INTERACTIVE", "BATCH"] | None = None,
        maximum_bytes_billed: int | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(configuration={}, **kwargs)
        self.sql = sql
        self.destination_table = destination_table
        self.write_disposition = write_disposition
        self.create_disposition = create_disposition
        self.query_parameters = query_parameters
        self.priority = priority
        self.maximum_bytes_billed = maximum_bytes_billed
        self.labels = labels
        if destination_table is None and (write_disposition or create_disposition):
            raise ConfigurationError(f"Task {self.task_id}: a disposition says what happens to destination_table; name one.")

    def make_configuration(self) -> dict[str, Any]:
        """Make the configuration from rendered parameters."""
        query: dict[str, Any] = {
            "query": self.sql,
            "useLegacySql": False,
            "writeDisposition": self.write_disposition,
            "createDisposition": self.create_disposition,
            "priority": self.priority,
            # 64-bit numbers are texts in JSON.
            "maximumBytesBilled": None if self.maximum_bytes_billed is None else str(self.maximum_bytes_billed),
        }
        hook: Any = self.service
        if self.destination_table is not None:
            project, dataset, table = hook.split_tablename(self.destination_table, hook.project_id, "destination_table")
            query["destinationTable"] = {"projectId": project, "datasetId": dataset, "tableId": table}
        if self.query_parameters:
            query |= {"parameterMode": "NAMED", "queryParameters": [_parameter(spec) for spec in as_list(self.query_parameters)]}
        configuration: dict[str, Any] = {"query": {key: value for key, value in query.items() if value is not None}}
        if self.labels:
            configuration["labels"] = dict(self.labels)
        return google.labelled(self, hook, configuration)


def _parameter(spec: Mapping[str, Any]) -> dict[str, Any]:
    name, kind = spec["name"], spec["type"]
    if "values" in spec:
        return dict(ArrayQueryParameter(name, kind, list(as_list(spec["values"]))).to_api_repr())
    return dict(ScalarQueryParameter(name, kind, spec.get("value")).to_api_repr())
