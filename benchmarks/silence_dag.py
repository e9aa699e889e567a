"""
What waits in the triggerer of ``intake_beside_silence.py``; Airflow reads a copy of this file.

As a program it prints, in its last line, ``{task id: [trigger of each map index, as Airflow stores it]}``.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import Any

from airflow.sdk import DAG

from benchmarks.deferrals import Stored
from benchmarks.jobs import POLL_INTERVAL, models
from provider import settings
from provider.operators.powerbi import PowerBISemanticModelRefreshOperator
from provider.sensors.pubsub import PubSubBatchRequestSensor

#: The variable that says how many refreshes are waited for.
WAITS = "BENCHMARK_WAITS"
_COUNT = int(os.environ.get(WAITS, "1"))

with DAG("silence_intake", schedule=None, start_date=datetime(2026, 1, 1)):
    sensor = PubSubBatchRequestSensor(task_id="inbox", subscriptions=settings.get_list("pubsub_subscriptions"))

with DAG("silence_refreshes", schedule=None, start_date=datetime(2026, 1, 1)):
    common: dict[str, Any] = {"refresh": {"type": "full"}, "poll_interval": float(POLL_INTERVAL)}
    PowerBISemanticModelRefreshOperator.partial(task_id="refreshes", **common).expand_kwargs([*models()[:_COUNT]])


def intake() -> list[Stored]:
    """Return the trigger in which the sensor begins."""
    begins = sensor.start_trigger_args
    assert begins is not None
    return [(begins.trigger_cls, dict(begins.trigger_kwargs or {}))]


def refreshes() -> list[Stored]:
    """Return triggers as the operator hands them to the triggerer once its refresh has started."""
    from provider.triggers.remote_job import RemoteJobTrigger

    ids = {"workspace_id": "11111111-1111-4111-8111-111111111111", "item_id": "22222222-2222-4222-8222-222222222222"}
    job = {**ids, "url": "", "kind": "semantic_model", "enhanced": True, "started_at": None}
    return [
        RemoteJobTrigger(
            service="powerbi",
            connection={"powerbi_conn_id": "powerbi_default"},
            job={**job, "id": f"33333333-3333-4333-8333-{number:012}"},
            poll_interval=float(POLL_INTERVAL),
            cancel_on_kill=True,
            budget={},
        ).serialize()
        for number in range(_COUNT)
    ]


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps({'inbox': intake(), 'refreshes': refreshes()})}\n")
