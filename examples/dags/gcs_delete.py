"""
Delete the files of a folder in Cloud Storage.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/storage.objectAdmin`` on the bucket.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.gcs import GCSDeleteOperator

with DAG("example_gcs_delete", schedule="0 7 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    GCSDeleteOperator(
        task_id="delete_leftovers",
        bucket_name="landing",
        prefix="leftovers/",  # or one object: object_name
        match_glob="leftovers/**.tmp",
        retries=2,  # a retry goes on where the try before it stopped
    )
