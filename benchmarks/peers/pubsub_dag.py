# ruff: noqa: TID253 - Airflow reads a copy of this file; what it costs to import is part of what is measured
"""
The Google provider's way from a message to a DAG run, at its best settings.

The pull waits at the service instead of returning at once, as the provider's warning advises, so that ``poke_interval`` is
but the pause between two pulls that found nothing. A callback turns the messages into runs, as the sensor's documentation
advises; the run's id is the batch id, as with ours.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from airflow.providers.google.cloud.sensors.pubsub import PubSubPullSensor
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG


def runs(messages: list[Any], context: Any) -> list[dict[str, Any]]:  # noqa: ARG001 - the sensor calls it so
    """Return the arguments of one TriggerDagRunOperator for each message."""
    read = [json.loads(received.message.data) for received in messages]
    return [
        {"trigger_run_id": item["batch_id"], "conf": {"start_task_id": [item["task_id"]], "scope": item["scope"]}}
        for item in read
    ]


with DAG(
    dag_id="google_dispatcher",
    schedule="@continuous",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
):
    pull = PubSubPullSensor(
        task_id="pull",
        project_id="demo-project",
        subscription="peer-batches-airflow",
        max_messages=100,
        return_immediately=False,
        poke_interval=0.1,
        ack_messages=True,
        messages_callback=runs,
        deferrable=True,
    )
    TriggerDagRunOperator.partial(task_id="start", trigger_dag_id="intake_google", wait_for_completion=False).expand_kwargs(
        pull.output
    )
