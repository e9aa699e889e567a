"""The sensor waits as the dispatcher does, with a limit of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from provider.exceptions import ConfigurationError
from provider.sensors.pubsub import PubSubBatchRequestSensor

SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"


def test_the_serialized_sensor_starts_in_the_triggerer() -> None:
    with DAG("mine", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        PubSubBatchRequestSensor(task_id="wait", subscriptions=[SUBSCRIPTION], timeout=60, poke_interval=2.0, max_messages=7)
    task = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag)))).get_task("wait")
    assert task.start_from_trigger is True
    assert task.start_trigger_args is not None
    assert task.start_trigger_args.trigger_cls == "provider.triggers.pubsub.PubSubInboxTrigger"
    assert (task.start_trigger_args.next_method, task.start_trigger_args.next_kwargs) == ("execute_complete", None)
    assert task.start_trigger_args.timeout == timedelta(seconds=60)
    kwargs = DagSerialization.deserialize(task.start_trigger_args.trigger_kwargs)
    assert kwargs["subscriptions"] == [SUBSCRIPTION]
    assert (kwargs["poll_interval"], kwargs["max_messages"], kwargs["first_event_after"]) == (2.0, 7, 0.0)


def test_out_of_a_worker_it_defers() -> None:
    sensor = PubSubBatchRequestSensor(task_id="wait", subscriptions=[SUBSCRIPTION], timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    assert deferred.value.timeout == timedelta(seconds=60)
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.trigger.first_event_after == 5.0
    assert sensor.execute_complete({}, {"status": "waiting"}) is None


def test_no_subscription_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="pubsub_subscriptions"):
        PubSubBatchRequestSensor(task_id="wait", subscriptions=[])
