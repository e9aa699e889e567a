"""Histories of Power BI as users report them, from a service that shows them, through the operators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provider.exceptions import RemoteJobError
from tests.provider.defects.refresh_service import BY_ID, DATAFLOW_BY_ID, OTHER, OURS, RefreshService, entry, now
from tests.provider.operators.powerbi_world import dataflow, enhanced, model

pytestmark = pytest.mark.timeout(120)

ZOMBIE = entry(OTHER, "Unknown", startTime="2024-01-10T01:00:00.000Z", refreshType="Scheduled")


def ago(**duration: float) -> str:
    return (datetime.now(UTC) - timedelta(**duration)).isoformat()


def of_model() -> Any:
    return enhanced(**BY_ID)


def of_classic_refresh() -> Any:
    return model(**BY_ID)


def of_dataflow() -> Any:
    return dataflow(**DATAFLOW_BY_ID)


EACH = pytest.mark.parametrize("make", [of_model, of_classic_refresh, of_dataflow])


@EACH
@pytest.mark.parametrize(
    "history",
    [
        [ZOMBIE],
        [ZOMBIE | {"status": "InProgress"}],
        [
            entry("later", "Completed", startTime=ago(hours=1), endTime=ago(minutes=50)),
            entry("open", "Unknown", startTime=ago(hours=2)),
        ],
        [entry("ended", "Unknown", startTime=ago(minutes=20), endTime=ago(minutes=10))],
    ],
    ids=["Unknown of 2024", "InProgress of 2024", "below a later one that is completed", "Unknown with an end"],
)
def test_what_has_ended_unseen_blocks_no_start(power_bi, life, make, history):
    service = RefreshService(*history)
    power_bi(service)

    assert life(make).run()["status"] == "Completed"

    assert service.started == [OURS]


@EACH
def test_refresh_that_is_unknown_and_has_an_end_ends_the_wait(power_bi, life, make):
    service = RefreshService(ours={"status": "Unknown", "endTime": now()})
    power_bi(service)
    task = life(make)

    with pytest.raises(RemoteJobError, match="ended as Unknown: the service does not say how it ended"):
        task.run()

    assert task.entry["outcome"] == "failed"
    assert service.started == [OURS]


@EACH
def test_refresh_that_the_service_has_forgotten_ends_the_wait(power_bi, life, make):
    """It stands open although the service ends every refresh after a day."""
    power_bi(RefreshService(ours={"status": "Unknown", "startTime": ago(hours=30)}))

    with pytest.raises(RemoteJobError, match="ended as Unknown"):
        life(make).run()
