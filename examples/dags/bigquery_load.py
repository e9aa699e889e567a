"""
Load the day's files from Cloud Storage into a BigQuery table, once, however often the task is tried.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/bigquery.jobUser``,
``roles/bigquery.dataEditor`` on the dataset and ``roles/storage.objectViewer`` on the bucket.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.bigquery import BigQueryLoadOperator

with DAG("example_bigquery_load", schedule="0 4 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    BigQueryLoadOperator(
        task_id="load_orders",
        bucket="landing",
        source_objects=["orders/*.csv"],
        destination_project_dataset_table="demo-project.raw.orders",
        schema_fields=[{"name": "id", "type": "INTEGER"}, {"name": "country", "type": "STRING"}],
        skip_leading_rows=1,
        write_disposition="WRITE_APPEND",
        location="europe-west3",
        retries=2,
    )
