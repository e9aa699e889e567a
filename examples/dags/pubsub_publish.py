"""
Publish a message to a topic of Pub/Sub.

Connection ``google_cloud_default`` (type Google Cloud), which is not looked up where ``PUBSUB_EMULATOR_HOST`` is set; its account
needs ``roles/pubsub.publisher`` on the topic.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.pubsub import PubSubPublishOperator

with DAG("example_pubsub_publish", schedule="0 7 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    PubSubPublishOperator(
        task_id="tell_of_orders",
        topic="projects/demo-project/topics/task-batches",
        messages=[{"data": {"task_id": "stg_orders", "batch_id": "told_{{ ds }}"}, "attributes": {"kind": "start"}}],
        retries=2,
    )
