"""
Wait for the end of a batch of a workflow of the tables.

Connection ``airflow_api`` (type Airflow REST API) to this Airflow itself, whose user may read DAG runs.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.wait_for_workflow import WaitForWorkflowOperator

with DAG("example_wait_for_workflow", schedule="0 3 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    WaitForWorkflowOperator(
        task_id="wait_for_daily_sales",
        workflow_id="daily_sales",
        batch_id="Batch_{{ ds_nodash }}_001",
        wait_timeout=14_400,
        retries=2,
    )
