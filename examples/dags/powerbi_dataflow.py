"""
Refresh a Power BI dataflow (Gen1), then the semantic model that reads from it.

Connection ``powerbi_default`` (type Power BI): client id, client secret and tenant of an Entra application that is Contributor
of the workspace.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.powerbi import PowerBIDataflowRefreshOperator, PowerBISemanticModelRefreshOperator

with DAG("example_powerbi_dataflow", schedule="0 6 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    dataflow = PowerBIDataflowRefreshOperator(task_id="refresh_staging", workspace="Sales", dataflow="Staging", retries=2)
    model = PowerBISemanticModelRefreshOperator(
        task_id="refresh_daily_sales", workspace="Sales", semantic_model="Daily Sales", retries=2
    )
    dataflow >> model
