"""The dispatcher: Pub/Sub messages → batches. No DAG where [accelerator] pubsub_subscriptions is not set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from provider import settings
from provider.operators.dispatch import DispatchBatchRequestsOperator

subscriptions = settings.get_list("pubsub_subscriptions")

if subscriptions:
    with DAG(
        dag_id="accelerator_dispatcher",
        description="Takes messages into the inbox and starts a DAG run for each request",
        schedule="@continuous",
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        tags=["accelerator"],
    ) as dag:
        DispatchBatchRequestsOperator(
            task_id="dispatch",
            subscriptions=subscriptions,
            gcp_conn_id=settings.get("gcp_conn_id"),
            retries=3,
            retry_delay=timedelta(seconds=10),
        )
