"""
Defects of the other Power BI providers, and what none of them does: the same scenarios with ours.

The first part has a test for each defect of the Microsoft Azure provider's operator that was reproduced, the second one
for each of the fourteen points that no provider has. The emulator's ledger is the judge.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from provider.exceptions import RemoteJobError
from provider.hooks.powerbi.hook import PowerBIHook
from tests.provider.operators.powerbi_world import (
    LONG,
    MODEL_ID,
    TOKEN_EXPIRED,
    cancelled,
    disturb,
    enhanced,
    hits,
    model,
    posted,
    powerbi,
    start_foreign_refresh,
    workspace,
)

pytestmark = pytest.mark.slow  # real lives of tasks, with their waits


# Defects of the Microsoft Azure provider.


def test_defect_cancelled_is_not_terminal(start_cloud, life):
    """Somebody cancels the refresh in the service: the task fails as soon as that is seen."""
    start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(enhanced)
    deferral = task.begin()
    PowerBIHook().cancel(task.entry["job"])

    with pytest.raises(RemoteJobError, match="ended as Cancelled"):
        task.resume(deferral, task.event(deferral))


def test_defect_three_failed_polls_delete_a_healthy_refresh(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(enhanced)
    deferral = task.begin()
    disturb(cloud, "GET */refreshes/*", http_status=500, times=3)
    disturb(cloud, "GET */refreshes/*", fault="drop", times=1)

    assert task.resume(deferral, task.event(deferral))["status"] == "Completed"

    assert hits(cloud) == 4
    assert cancelled(cloud) == []


def test_defect_one_403_token_expired_deletes_a_healthy_refresh(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(enhanced)
    deferral = task.begin()
    disturb(cloud, "GET */refreshes/*", http_status=403, body=TOKEN_EXPIRED)

    assert task.resume(deferral, task.event(deferral))["status"] == "Completed"

    assert hits(cloud) == 1
    assert cancelled(cloud) == []


def test_defect_death_of_the_triggerer_posts_twice(start_cloud, life, monkeypatch):
    """The triggerer dies while it polls, and hands the trigger to another one."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(enhanced)
    deferral = task.begin()

    async def die_after_a_poll() -> None:
        polled = asyncio.Event()
        trigger = task.trigger(deferral)
        poll = trigger.status

        async def watched() -> Any:
            status = await poll()
            polled.set()
            return status

        monkeypatch.setattr(trigger, "status", watched)
        running = asyncio.ensure_future(anext(aiter(trigger.run())))
        await polled.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(die_after_a_poll())

    assert task.resume(deferral, task.event(deferral))["status"] == "Completed"
    assert len(posted(cloud)) == 1
    assert cancelled(cloud) == []


@pytest.mark.parametrize("status", [503, 504])
def test_defect_post_is_repeated_on_503_and_504(start_cloud, life, status):
    """The service did the work and answered with an error: there is one refresh, and it is ours."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    disturb(cloud, "POST */refreshes", http_status=status, when="after")

    result = life(enhanced).run()

    assert [entry.resource for entry in posted(cloud)] == [result["id"]]
    refused = [entry for entry in cloud.ledger.entries(operation="refused") if entry.detail["method"] == "POST"]
    assert refused == []  # nor was a second one tried


def test_defect_already_running_is_told_as_a_failure_to_trigger(start_cloud, life):
    start_cloud(**powerbi(workspace(seconds=30.0)))
    other = start_foreign_refresh()

    with pytest.raises(RemoteJobError) as failure:
        life(lambda: model(if_running="fail")).run()

    assert f"{other['id']} of {MODEL_ID} already runs" in str(failure.value)


@pytest.mark.parametrize("headers", [["location"], ["x-ms-request-id"], ["RequestId"], []])
def test_defect_refresh_id_is_read_from_one_header_only(start_cloud, life, headers):
    cloud = start_cloud(**powerbi(workspace(refresh_id_headers=headers)))

    result = life(model).run()

    assert [entry.resource for entry in posted(cloud)] == [result["id"]]


def test_defect_timeout_leaves_the_refresh_running(start_cloud, life):
    """It does so only where nobody asked for a cancel, and then a retry takes it up."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(lambda: enhanced(wait_timeout=0.2))
    with pytest.raises(RemoteJobError, match="left running; a retry re-attaches"):
        task.run()

    cloud.ledger.wait_for("refresh_completed")
    assert task.run()["id"] == posted(cloud)[0].resource
    assert len(posted(cloud)) == 1

    task = life(lambda: enhanced(wait_timeout=0.2, cancel_on_timeout=True))
    with pytest.raises(RemoteJobError, match="It was cancelled"):
        task.run()
    assert cancelled(cloud) == [posted(cloud)[1].resource]
