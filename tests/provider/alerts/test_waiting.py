"""The waiting half: it fires when an alert is due, and a database that is away does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from provider.operators.alerts import SendAlertsOperator
from provider.triggers import alerts as alerts_trigger
from provider.triggers.alerts import AlertsDueTrigger
from tests.provider.alerts.alert_world import add_alert


async def first_event(trigger: AlertsDueTrigger) -> Any:
    return await asyncio.wait_for(anext(trigger.run()), 30)


@pytest.mark.usefixtures("application_database")
async def test_it_fires_for_an_alert_that_is_due() -> None:
    add_alert("e")
    assert (await first_event(AlertsDueTrigger())).payload == {"status": "due"}


async def test_it_looks_until_there_is_one_and_bears_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Callable[[], bool]] = [lambda: False, _raise, _raise, lambda: True]
    monkeypatch.setattr(alerts_trigger, "_any_due", lambda: looks.pop(0)())
    monkeypatch.setattr(alerts_trigger, "backoff", lambda _failures, **_: 0.0)

    assert (await first_event(AlertsDueTrigger(poll_interval=0.0))).payload == {"status": "due"}
    assert looks == []


def _raise() -> bool:
    raise ConnectionError("gone")


def test_the_trigger_can_be_made_again_of_what_airflow_stores_of_it() -> None:
    path, arguments = AlertsDueTrigger(poll_interval=7.0, first_event_after=1.0).serialize()
    again = AlertsDueTrigger(**arguments)

    assert path == "provider.triggers.alerts.AlertsDueTrigger"
    assert again.serialize() == (path, arguments)


def test_the_task_starts_in_the_triggerer_and_waits_there_otherwise_too() -> None:
    operator = SendAlertsOperator(task_id="send", notifiers=["mail"], poll_interval=3.0)
    assert operator.start_trigger_args is not None
    assert operator.start_trigger_args.trigger_kwargs == {"poll_interval": 3.0, "first_event_after": 0.0}
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({})
    assert deferred.value.method_name == "execute_complete"
