"""
Check data by a statement in BigQuery: the task fails, with the row, unless each value of the first row is true.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/bigquery.jobUser``, and
``roles/bigquery.dataViewer`` on the datasets it reads.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.bigquery_check import BigQueryDataCheckOperator

with DAG("example_bigquery_check", schedule="0 5 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    BigQueryDataCheckOperator(
        task_id="check_countries",
        sql="SELECT COUNT(*) > 0 AS not_empty, COUNTIF(country IS NULL) = 0 AS complete FROM `demo-project.raw.checked`",
        location="europe-west3",
        retries=2,
    )
