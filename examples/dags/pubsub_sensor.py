"""
Wait for the morning's first message that starts a workflow, then start a DAG run for each request that is due.

Connection ``google_cloud_default`` (type Google Cloud); its account needs ``roles/pubsub.subscriber`` on the subscription. The
application database has to be configured, with the workflows that messages may start.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.dispatch import DispatchDueRequestsOperator
from provider.sensors.pubsub import PubSubBatchRequestSensor

with DAG("example_pubsub_sensor", schedule="0 5 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    wait = PubSubBatchRequestSensor(
        task_id="wait_for_a_request",
        subscriptions=["projects/demo-project/subscriptions/task-batches-airflow"],
        timeout=3600,  # seconds; then the task fails
    )
    wait >> DispatchDueRequestsOperator(task_id="start_what_is_due")
