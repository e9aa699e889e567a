"""
Ask an HTTP service for the orders of a day, and tell it that they are loaded.

Connection ``shop`` (type HTTP): host ``https://shop.example.com``, and what the service knows us by: login and password, or a
header in the extra, ``{"X-Api-Key": "…"}``.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from provider.operators.http import HttpRequestOperator

with DAG("example_http_request", schedule="0 7 * * *", start_date=datetime(2024, 1, 1, tzinfo=UTC), catchup=False) as dag:
    count_orders = HttpRequestOperator(
        task_id="count_orders",
        http_conn_id="shop",
        endpoint="v1/shops/{shop}/orders/count",
        path_parameters={"shop": "berlin"},
        query_parameters={"until": "{{ run_id }}"},
        keep_answer=True,
        retries=2,
    )
    orders_are_loaded = HttpRequestOperator(
        task_id="orders_are_loaded",
        http_conn_id="shop",
        endpoint="v1/loads",
        method="POST",
        json={"counted": "{{ ti.xcom_pull('count_orders')['body']['orders'] }}"},
        expected_status=[201, 409],
    )
    count_orders >> orders_are_loaded
