"""
Load the data of the night, then run a workflow of the tables as a batch of its own, and wait for its end.

Connection ``airflow_api`` (type Airflow REST API): this Airflow's own API, and a user of the role User. An API server and a
scheduler have to run, also for ``airflow dags test``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.run_workflow import RunWorkflowOperator

with DAG("example_run_workflow", schedule="0 2 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    RunWorkflowOperator(
        task_id="run_daily_sales",
        workflow_id="daily_sales",  # its batch is run_daily_sales.<id of this run>
        start_task_ids=["stg_orders"],  # leave it out for the whole workflow
        conf={"country": "de"},
        retries=2,  # a retry waits for the batch that runs already
    )
