"""What a service asks for with ``Retry-After``, from a real answer: obeyed up to a limit, and never a reason to fall over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from provider.exceptions import RemoteJobError
from provider.hooks.remote_job import RemoteCallError
from tests.provider.defects.hostile_world import JOB, hook
from tests.provider.defects.raw_server import http
from tests.provider.operators.dataform_world import disturb as disturb_dataform
from tests.provider.operators.dataform_world import of_main, one_action
from tests.provider.operators.powerbi_world import LONG, disturb, enhanced, hits, posted, powerbi, workspace
from tests.provider.operators.waits import SHORT_WAITS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TOO_LONG = ["31536000", "Fri, 01 Jan 2100 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400]
MALFORMED = [
    "\xb2",
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2100 00:00:00 +99999999",
    "-1",
    "1e99",
    "inf",
    "nan",
    "soon",
    "Mon, 01 Jan 0000 00:00:00 GMT",
    "Mon, 99 Jan 2100 99:99:99 GMT",
]
CUT = replace(SHORT_WAITS, retry_after=0.2)


def name(value: str) -> str:
    return ascii(value)[:40]


@pytest.mark.parametrize("value", TOO_LONG, ids=name)
def test_worker_gives_the_slot_back_and_the_trigger_cuts_the_pause(start_cloud, life, capsys, value):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    disturb(cloud, "GET */refreshes/*", http_status=429, headers={"Retry-After": value}, times=2)
    task = life(lambda: enhanced(initial_wait=600.0))

    deferral = task.begin()  # long before its initial wait is over
    assert isinstance(deferral, TaskDeferred)
    assert hits(cloud) == 1

    trigger = task.trigger(deferral)
    trigger.budget = replace(trigger.budget, retry_after=0.2)
    event = asyncio.run(anext(aiter(trigger.run())))
    assert event.payload["status"] == "ended"
    assert hits(cloud) == 2
    assert "it is asked again after 0 s" in capsys.readouterr().out
    assert task.resume(deferral, event.payload)["status"] == "Completed"


@pytest.mark.parametrize("value", TOO_LONG, ids=name)
def test_wait_that_holds_its_slot_cuts_the_pause(start_cloud, life, value):
    cloud = start_cloud(**powerbi(workspace(seconds=0.3)))
    disturb(cloud, "GET */refreshes/*", http_status=429, headers={"Retry-After": value}, times=2)

    assert life(lambda: enhanced(deferrable=False, budget=CUT)).run()["status"] == "Completed"

    assert hits(cloud) == 2


@pytest.mark.parametrize("value", TOO_LONG, ids=name)
@pytest.mark.parametrize("call", ["POST */refreshes", "GET */refreshes"])
def test_start_that_is_put_off_for_a_year_fails_the_try(start_cloud, life, value, call):
    cloud = start_cloud(**powerbi())
    disturb(cloud, call, http_status=429, headers={"Retry-After": value}, times=None)

    with pytest.raises(RemoteJobError, match="The service asks to wait for .* s: raise retry_delay, or try later"):
        life(enhanced).run()

    assert hits(cloud) == 1
    assert posted(cloud) == []


@pytest.mark.parametrize("value", MALFORMED, ids=name)
def test_malformed_one_is_none(start_cloud, life, value):
    cloud = start_cloud(**powerbi(workspace(seconds=0.3)))
    for call in ("GET */refreshes", "POST */refreshes", "GET */refreshes/*"):
        disturb(cloud, call, http_status=429, headers={"Retry-After": value})

    assert life(enhanced).run()["status"] == "Completed"

    assert hits(cloud) == 3


def test_trigger_cuts_the_pause_that_dataform_asks_for(start_cloud, life, capsys):
    """It comes in the trailing metadata there."""
    cloud = start_cloud(**one_action(seconds=0.3))
    task = life(lambda: of_main(budget=CUT))
    deferral: Any = task.begin()
    disturb_dataform(cloud, "GetWorkflowInvocation", grpc_status="RESOURCE_EXHAUSTED", retry_after=31_536_000, times=2)

    event = task.event(deferral)

    assert event["status"] == "ended"
    assert "The service asks to wait for 31536000 s; it is asked again after 0 s" in capsys.readouterr().out
    assert task.resume(deferral, event)["state"] == "SUCCEEDED"


def test_service_that_asks_to_wait_is_asked_nothing_else(power_bi):
    """The history would be a second call of each poll, to a service that says it has too many of them."""
    server = power_bi(lambda method, path, headers: http(429, b"{}", Retry_After="60"))

    with pytest.raises(RemoteCallError) as raised:
        hook().status(JOB)

    assert raised.value.retry_after == 60.0
    assert server.count("GET") == 1
