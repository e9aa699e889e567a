"""The embedded database is refused, in one place, by every process of an installation that spans machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dag_factory import source
from provider.cli.main import console
from provider.exceptions import ConfigurationError
from provider.hooks.pubsub import SubscriptionReader
from provider.listeners import task_process
from provider.metadata import maintenance
from provider.metadata.engine import dispose_engines, read_session, write_session
from provider.triggers.pubsub import PubSubInboxTrigger

pytestmark = pytest.mark.usefixtures("embedded_database")


@pytest.fixture(autouse=True)
def celery(monkeypatch: pytest.MonkeyPatch) -> None:
    dispose_engines()
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")


@pytest.mark.parametrize("session", [read_session, write_session])
def test_nobody_gets_a_session(session: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError, match="sql_alchemy_conn"), session():
        pass


def test_no_task_writes_a_row() -> None:
    with pytest.raises(ConfigurationError, match="runs tasks on several machines"):
        task_process.write({}, None)  # type: ignore[typeddict-item]


def test_no_definition_is_read() -> None:
    with pytest.raises(source.DefinitionsUnavailableError, match="runs tasks on several machines"):
        source.read_workflow("sales")


def test_maintenance_upgrades_nothing() -> None:
    with pytest.raises(ConfigurationError, match="runs tasks on several machines"):
        maintenance.upgrade_configured()


def test_commands_say_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert console(["batches"]) != 0
    assert "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN" in capsys.readouterr().err


async def test_the_dispatcher_pulls_nothing_and_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    said = asyncio.Event()

    class Reader:
        def begin(self, *_: Any) -> None:
            opened.append("pull")

        async def park(self, seconds: float) -> None:
            opened.append(f"left for {seconds:g} s")

    async def slept(_seconds: float) -> None:
        said.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(SubscriptionReader, "open", lambda *_: Reader())
    monkeypatch.setattr(asyncio, "sleep", slept)
    events: Any = PubSubInboxTrigger(["projects/p/subscriptions/s"]).run()
    waiting = asyncio.ensure_future(anext(events))
    async with asyncio.timeout(30):
        await said.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert opened == ["left for 0 s"]
    assert "Nothing is pulled: [core] executor = CeleryExecutor" in capsys.readouterr().out
