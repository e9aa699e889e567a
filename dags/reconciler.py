"""
The reconciler where the scheduler cannot host it: keeps batches and task logs equal to Airflow's state by its REST API.

No DAG where [accelerator] airflow_conn_id is not set.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from provider import settings

if airflow_conn_id := settings.get("airflow_conn_id"):
    from provider.reconciler.operator import ReconcileOperator

    with DAG(
        dag_id="accelerator_reconciler",
        description="Keeps batches and task logs equal to what Airflow has done",
        schedule="@continuous",
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        tags=["accelerator"],
        default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    ) as reconciler:
        ReconcileOperator(task_id="reconcile", airflow_conn_id=airflow_conn_id, interval=settings.get_float("reconcile_interval"))
