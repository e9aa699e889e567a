"""What the Google provider's operators do not call public, as our operators use it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from airflow.providers.google.cloud.transfers.gcs_to_gcs import GCSToGCSOperator

from provider.airflow_internals import google


def test_a_load_operator_makes_the_configuration_of_its_job() -> None:
    operator = GCSToBigQueryOperator(
        task_id="load",
        bucket="landing",
        source_objects="orders/*.csv",
        destination_project_dataset_table="p.sales.orders",
        schema_fields=[{"name": "id", "type": "INT64"}],
        write_disposition="WRITE_APPEND",
    )
    split = BigQueryHook.split_tablename
    nothing: Any = SimpleNamespace()
    hook: Any = SimpleNamespace(project_id="p", split_tablename=lambda **table: split(nothing, **table))

    load = google.load_configuration(operator, hook)["load"]

    assert load["sourceUris"] == ["gs://landing/orders/*.csv"]
    assert load["destinationTable"] == {"projectId": "p", "datasetId": "sales", "tableId": "orders"}
    assert load["writeDisposition"] == "WRITE_APPEND"
    assert load["schema"] == {"fields": [{"name": "id", "type": "INT64"}]}


def test_a_query_operator_labels_its_job() -> None:
    operator = BigQueryInsertJobOperator(task_id="Query.A", configuration={})
    hook = SimpleNamespace(labels={"team": "sales"})

    labelled = google.labelled(operator, hook, {"query": {}, "labels": {"own": "1"}})

    assert labelled["query"] == {}
    assert labelled["labels"] == {"own": "1", "team": "sales", "airflow-dag": "adhoc_airflow", "airflow-task": "query-a"}


def test_a_moving_operator_copies_and_deletes() -> None:
    calls: list[tuple[Any, ...]] = []

    class Hook(GCSHook):
        def __init__(self) -> None:
            """Reads no connection."""

        def rewrite(self, *args: Any, **kwargs: Any) -> None:
            calls.append(("rewrite", *args, *kwargs.values()))

        def delete(self, *args: Any, **kwargs: Any) -> None:
            calls.append(("delete", *args, *kwargs.values()))

    operator = GCSToGCSOperator(task_id="move", source_bucket="a", destination_bucket="b", move_object=True)

    assert google.move_object(operator, Hook(), "x", "y") == "gs://b/y"
    assert [(name, "x" in values) for name, *values in calls] == [("rewrite", True), ("delete", True)]


def test_a_client_of_bigquery_uses_our_adapter_and_tells_address_and_answer() -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client, QueryJob
    from requests.adapters import HTTPAdapter

    adapter = HTTPAdapter()
    client = Client("demo", AnonymousCredentials(), client_options={"api_endpoint": "http://localhost:1"})
    answer = {"jobReference": {"projectId": "demo", "jobId": "one"}, "status": {"state": "DONE"}, "configuration": {"query": {}}}

    assert google.bound_client(client, adapter) == "http://localhost:1"
    assert client._http.get_adapter("http://localhost:1") is client._http.get_adapter("https://x") is adapter
    assert client._http.max_redirects == 0
    assert google.job_resource(QueryJob.from_api_repr(answer, client))["status"] == {"state": "DONE"}
