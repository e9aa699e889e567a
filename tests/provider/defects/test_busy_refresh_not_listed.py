"""Another refresh is in the way: of one that the service does not list, and of one that it lists wrongly, waits end too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from provider.exceptions import RemoteJobError
from tests.provider.defects.raw_server import RawServer
from tests.provider.defects.refresh_service import BY_ID, OTHER, RefreshService, entry, now
from tests.provider.operators.powerbi_world import enhanced, powerbi, start_foreign_refresh, workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WAIT = 2.0
POLL = 0.25
#: Starts that can be tried in WAIT: one each POLL, which jitter shortens by a tenth, and one at the very end.
MOST_STARTS = int(WAIT / (0.9 * POLL)) + 2


def to_the_end(task: Any) -> Any:
    """Run a try through all its deferrals; events that are moments say nothing."""
    outcome = task.begin()
    while isinstance(outcome, TaskDeferred):
        event = task.event(outcome)
        outcome = task.resume(outcome, event if isinstance(event, dict) else None)
    return outcome


@pytest.mark.parametrize("deferrable", [True, False])
def test_refresh_that_is_not_listed(start_cloud, life, deferrable):
    """It runs for ten minutes and is listed after them; the emulator refuses each start."""
    cloud = start_cloud(**powerbi(workspace(seconds=600.0, history_lag_seconds=600.0)))
    start_foreign_refresh(type="full")
    task = life(lambda: enhanced(deferrable=deferrable, poll_interval=POLL, wait_timeout=WAIT))

    with pytest.raises(RemoteJobError, match="Another .* refresh runs, and the service does not list it. It is in the way"):
        to_the_end(task)

    refused = [item for item in cloud.ledger.entries(operation="refused") if item.detail["method"] == "POST"]
    assert 1 <= len(refused) <= MOST_STARTS
    assert bool(task.deferrals) is deferrable
    if deferrable:
        assert len(refused) == len(task.deferrals) + 1
    assert cloud.ledger.entries(operation="refresh_cancel_requested") == []


@pytest.mark.parametrize("deferrable", [True, False])
def test_refresh_in_progress_that_has_an_end_time_is_waited_for(power_bi, life, deferrable):
    other = entry(OTHER, "Unknown", extendedStatus="InProgress", endTime=now())

    class EndsAfterSomeLooks(RefreshService):
        looks = 0

        def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
            if path.endswith(OTHER):
                self.looks += 1
                if self.looks == 6:
                    other.update(status="Completed", extendedStatus="Completed")
            return super().__call__(method, path, headers)

    service = EndsAfterSomeLooks(other)
    server = power_bi(service)

    result = to_the_end(life(lambda: enhanced(**BY_ID, deferrable=deferrable)))

    assert result["status"] == "Completed"
    assert service.looks >= 6
    assert server.count("POST") == 1


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("policy", ["wait", "cancel"])
def test_refresh_that_has_ended_and_is_still_listed_as_running(power_bi, life, deferrable, policy):
    """The history says that it runs, and its details that it has ended: for ever."""
    service = RefreshService(entry(OTHER, "Unknown", extendedStatus="InProgress"))
    service.details[OTHER] = {"status": "Completed", "extendedStatus": "Completed"}
    server: RawServer = power_bi(service)
    task = life(lambda: enhanced(**BY_ID, deferrable=deferrable, poll_interval=POLL, wait_timeout=WAIT, if_running=policy))

    with pytest.raises(RemoteJobError, match=f"refresh {OTHER} has ended, and the service lists it as one that runs.*in the way"):
        to_the_end(task)

    assert service.started == []
    # History and details of the other one, once for each try of a start, and once more before it is known to have ended.
    assert server.count("GET") <= 2 * (MOST_STARTS + 2)
    assert bool(task.deferrals) is deferrable


def test_start_that_is_refused_although_nothing_is_listed_goes_on_once_it_may(power_bi, life):
    service = RefreshService()
    service.busy = True
    server = power_bi(service)
    task = life(lambda: enhanced(**BY_ID, poll_interval=POLL))

    deferral = task.begin()
    assert isinstance(deferral, TaskDeferred)
    task.event(deferral)
    service.busy = False
    assert task.resume(deferral, None)["status"] == "Completed"
    assert server.count("POST") == 2
