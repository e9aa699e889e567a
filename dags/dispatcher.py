"""The dispatcher: Pub/Sub messages → batches. No DAG where [accelerator] pubsub_subscriptions is not set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from provider import settings
from provider.operators.dispatch import DispatchBatchRequestsOperator, DispatchDueRequestsOperator

subscriptions = settings.get_list("pubsub_subscriptions")
helpers = settings.get_count("burst_helpers") if subscriptions else 0

common: dict[str, Any] = {
    "start_date": datetime(2024, 1, 1, tzinfo=UTC),
    "catchup": False,
    "is_paused_upon_creation": False,
    "tags": ["accelerator"],
    "default_args": {"retries": 3, "retry_delay": timedelta(seconds=10)},
}

if subscriptions:
    with DAG(
        dag_id="accelerator_dispatcher",
        description="Takes messages into the inbox and starts a DAG run for each request",
        schedule="@continuous",
        max_active_runs=1,
        **common,
    ) as dispatcher:
        DispatchBatchRequestsOperator(
            task_id="dispatch",
            subscriptions=subscriptions,
            gcp_conn_id=settings.get("gcp_conn_id"),
            airflow_conn_id=settings.get("airflow_conn_id") or None,
            burst_dag_id="accelerator_burst" if helpers else None,
            burst_helpers=helpers,
        )

if helpers:
    with DAG(
        dag_id="accelerator_burst",
        description="Helps the dispatcher when many requests come at once; it starts this DAG itself",
        schedule=None,
        max_active_runs=helpers,
        **common,
    ) as burst:
        DispatchDueRequestsOperator(task_id="dispatch")
