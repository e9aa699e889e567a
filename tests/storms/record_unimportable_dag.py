"""A workflow that the dag-processor can import and no worker can."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from provider.operators.task_batch import ScopeGuard, StartBatchOperator

if Path("/proc/self/cmdline").read_bytes().startswith(b"airflow worker"):
    raise ImportError("no module named gone")

with DAG("record_unimportable", start_date=datetime(2026, 1, 1), schedule=None, default_args={"retries": 0}):
    start = StartBatchOperator(task_id="start_batch", edges={"first": []})
    start >> PythonOperator(task_id="first", python_callable=print, trigger_rule="none_failed", pre_execute=ScopeGuard())
