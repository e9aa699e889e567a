"""
What the Google provider's operators and Google's clients do not call public.

Only tasks of these operators import this module.
"""

from __future__ import annotations

from typing import Any, cast


def load_configuration(operator: Any, hook: Any) -> dict[str, Any]:
    """
    Return the configuration of the load job that a ``GCSToBigQueryOperator`` would start, from its rendered parameters.

    Stands on
    ``airflow.providers.google.cloud.transfers.gcs_to_bigquery.GCSToBigQueryOperator._use_existing_table``, which reads
    ``hook``, ``source_uris``, ``src_fmt_configs`` and ``schema_fields`` beside the constructor's parameters (3.3.2, provider
    22.8.0).
    """
    objects = [operator.source_objects] if isinstance(operator.source_objects, str) else list(operator.source_objects)
    operator.hook = hook
    operator.source_uris = [f"gs://{operator.bucket}/{name}" for name in objects]
    operator.src_fmt_configs = operator.src_fmt_configs or {}
    return cast("dict[str, Any]", operator._use_existing_table())


def labelled(operator: Any, hook: Any, configuration: dict[str, Any]) -> dict[str, Any]:
    """
    Return a job's configuration with the labels of the connection, the DAG and the task.

    Stands on ``airflow.providers.google.cloud.operators.bigquery.BigQueryInsertJobOperator._add_job_labels``, which changes
    ``operator.configuration`` (3.3.2, provider 22.8.0).
    """
    operator.configuration = configuration
    operator._add_job_labels(hook)
    return cast("dict[str, Any]", operator.configuration)


def move_object(operator: Any, hook: Any, source: str, destination: str) -> str | None:
    """
    Copy one object as a ``GCSToGCSOperator`` does, and delete it in its old place where the operator moves.

    Stands on ``airflow.providers.google.cloud.transfers.gcs_to_gcs.GCSToGCSOperator._copy_single_object`` (3.3.2, provider
    22.8.0).

    :return: address of the object in its new place, ``gs://bucket/object``.
    """
    address = operator._copy_single_object(hook=hook, source_object=source, destination_object=destination)
    return cast("str | None", address)


def bound_client(client: Any, adapter: Any) -> str:
    """
    Let a client of Google that speaks HTTP use an adapter of requests, and follow no redirect.

    :return: the address that it talks to.

    Stands on ``google.cloud.client.Client._http``, a session of requests, and ``_connection.API_BASE_URL`` of its subclasses
    (google-cloud-core 2).
    """
    for scheme in ("https://", "http://"):
        client._http.mount(scheme, adapter)
    client._http.max_redirects = 0
    return str(client._connection.API_BASE_URL)


def job_resource(job: Any) -> Any:
    """
    Return what BigQuery answered about a job.

    Stands on the ``_properties`` of ``google.cloud.bigquery.job.base._AsyncJob`` (google-cloud-bigquery 3); ``to_api_repr``
    leaves status and figures out.
    """
    return job._properties
