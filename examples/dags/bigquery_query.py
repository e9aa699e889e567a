"""
Run a statement in BigQuery and keep its result in a table, once, however often the task is tried.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/bigquery.jobUser``, and
``roles/bigquery.dataEditor`` on the datasets it reads and writes.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.bigquery_query import BigQueryQueryOperator

with DAG("example_bigquery_query", schedule="0 5 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    BigQueryQueryOperator(
        task_id="count_customers",
        # No template: values come in as query parameters, so that none of them can become SQL.
        sql="SELECT country, COUNT(*) AS customers FROM `demo-project.raw.customers` WHERE country = @country GROUP BY country",
        query_parameters=[{"name": "country", "type": "STRING", "value": "{{ params.country }}"}],
        destination_table="demo-project.raw.customers_by_country",
        write_disposition="WRITE_TRUNCATE",
        maximum_bytes_billed=10**12,
        location="europe-west3",
        params={"country": "de"},
        retries=2,
    )
