"""Alerts: sends what the rules of the table alert_rules ask for. No DAG where [accelerator] notifiers is not set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from provider import settings

if notifiers := settings.get_list("notifiers"):
    from provider.operators.alerts import SendAlertsOperator

    with DAG(
        dag_id="accelerator_alerts",
        description="Tells people what the rules of the table alert_rules ask for",
        schedule="@continuous",
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        tags=["accelerator"],
        default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    ) as alerts:
        SendAlertsOperator(task_id="send", notifiers=notifiers, gcp_conn_id=settings.get("gcp_conn_id"))
