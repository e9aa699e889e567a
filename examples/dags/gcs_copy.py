"""
Copy the files of a folder in Cloud Storage to another bucket.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/storage.objectViewer`` on the first bucket and
``roles/storage.objectAdmin`` on the second.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.gcs import GCSCopyOperator

with DAG("example_gcs_copy", schedule="0 7 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    GCSCopyOperator(
        task_id="copy_prices",
        source_bucket="landing",
        source_prefix="prices/",  # or one object: source_object and destination_object
        destination_bucket="partners",
        destination_prefix="prices/{{ ds }}/",
        retries=2,
    )
