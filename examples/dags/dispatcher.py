"""
A dispatcher of one's own, for a subscription in a project with a connection of its own.

The DAG ``accelerator_dispatcher`` that ``accelerator init`` writes listens to the subscriptions of the settings. Have one
dispatcher for each subscription. Connection ``google_cloud_default`` (type Google Cloud); its account needs
``roles/pubsub.subscriber``. The application database has to be configured, with the workflows that messages may start.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from provider.operators.dispatch import DispatchBatchRequestsOperator

with DAG(
    "example_dispatcher", schedule="@continuous", max_active_runs=1, start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False
) as dag:
    DispatchBatchRequestsOperator(
        task_id="dispatch",
        subscriptions=["projects/demo-project/subscriptions/task-batches-airflow"],
        gcp_conn_id="google_cloud_default",
        retries=3,
        retry_delay=timedelta(seconds=10),
    )
