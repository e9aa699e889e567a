"""
Move the files of a folder in Cloud Storage to an archive, under the day of the run.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/storage.objectAdmin`` on both buckets.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.gcs import GCSArchiveOperator

with DAG("example_gcs_archive", schedule="0 7 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    GCSArchiveOperator(
        task_id="archive_returns",
        source_bucket="landing",
        source_prefix="returns/",  # or one object: source_object and destination_object
        destination_bucket="archive",
        destination_prefix="returns/{{ ds }}/",
        match_glob="returns/**.csv",
        retries=2,  # a retry goes on where the try before it stopped
    )
