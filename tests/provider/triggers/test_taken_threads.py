"""
No trigger of ours waits for a thread that it shares with others.

An event loop has a few threads for ``asyncio.to_thread`` and for names that are resolved, and asgiref one for all of a triggerer.
Other triggers may hang in all of them.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.google.cloud.hooks.pubsub import PubSubHook
from asgiref.sync import sync_to_async
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import ServiceUnavailable

from provider.airflow_internals import supervisor
from provider.hooks.airflow_api import AirflowApiHook
from provider.hooks.pubsub import SubscriberAsyncHook
from provider.triggers.completion import TaskCompletionTrigger
from tests.provider.sensors.test_completion import tell
from tests.provider.triggers.conftest import PubSub
from tests.provider.triggers.inbox_trigger import GOOD, first_event, states
from tests.provider.triggers.test_remote_job import RUNNING, TASK, script

__all__ = ["script"]

SECONDS = 30.0

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def _no_free_threads() -> AsyncIterator[None]:
    loop, opened = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    taken = [loop.run_in_executor(None, opened.wait), asyncio.ensure_future(sync_to_async(opened.wait)())]
    await asyncio.sleep(0)
    yield
    assert not any(one.done() for one in taken)
    opened.set()
    await asyncio.gather(*taken)


@pytest.mark.usefixtures("workflow", "nothing_parked", "_no_free_threads")
async def test_messages_are_stored(pubsub: PubSub) -> None:
    pubsub.create_subscription()
    pubsub.publish(GOOD)
    event = await asyncio.wait_for(first_event(pubsub.subscription), SECONDS)
    assert event.payload == {"status": "waiting"}
    assert states() == {"received": 1}


@pytest.mark.usefixtures("workflow", "_no_free_threads")
async def test_the_end_of_a_task_elsewhere_is_seen() -> None:
    tell("1", "SUCCESS", task_id="stg_orders")
    waiting = TaskCompletionTrigger(workflow_id="daily_sales", batch_id="B1", task_id="stg_orders", poll_interval=0.05)
    event = await asyncio.wait_for(anext(aiter(waiting.run())), SECONDS)
    assert event.payload == {"status": "reported"}


@pytest.mark.usefixtures("_no_free_threads")
async def test_a_person_who_ends_a_task_ends_its_job(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: "failed")
    trigger, service = script([RUNNING])
    trigger.task_instance = SimpleNamespace(**vars(TASK))
    await asyncio.wait_for(trigger.cancel_if_task_ended(), SECONDS)
    assert service.cancelled == 1


@pytest.fixture
def anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    google = {"conn_type": "google_cloud_platform", "extra": {"project": "demo-project", "is_anonymous": True}}
    airflow = {
        "conn_type": "airflow_api",
        "host": "https://airflow.example.com",
        "extra": {"gcp_conn_id": "google_cloud_default"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(google))
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(airflow))
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)


@pytest.mark.usefixtures("anonymous", "_no_free_threads")
async def test_the_connection_to_pubsub_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PubSubHook, "get_client_options", lambda _hook: ClientOptions(api_endpoint="127.0.0.1:1"))
    hook = SubscriberAsyncHook("google_cloud_default")
    with pytest.raises(ServiceUnavailable):
        await asyncio.wait_for(hook.pull("projects/demo-project/subscriptions/none", 1, SECONDS), SECONDS)
    await hook.close()


@pytest.mark.usefixtures("anonymous", "_no_free_threads")
async def test_the_connection_to_airflow_is_opened() -> None:
    api = await asyncio.wait_for(AirflowApiHook().aget_conn(), SECONDS)
    assert api.settings.gcp_conn_id == "google_cloud_default"
