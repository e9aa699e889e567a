"""
Refresh a Power BI semantic model, and wait for the end of the refresh.

Connection ``powerbi_default`` (type Power BI): client id, client secret and tenant of an Entra application that is Contributor
of the workspace.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from provider.operators.powerbi import PowerBISemanticModelRefreshOperator

with DAG(
    "example_powerbi_semantic_model", schedule="0 6 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False
) as dag:
    PowerBISemanticModelRefreshOperator(
        task_id="refresh_daily_sales",
        workspace="Sales",  # name or id
        semantic_model="Daily Sales",  # name or id; or: report
        refresh={"type": "full", "retryCount": 1},  # an enhanced refresh; left out: a classic one, also on shared capacity
        if_running="wait",  # or: adopt, skip, fail, cancel
        retries=2,
        execution_timeout=timedelta(hours=2),
    )
