"""Polls of Power BI that wait for an Entra ID which says nothing do not hold up the inbox of the same triggerer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from provider.emulators.server import Emulators
from provider.triggers.remote_job import RemoteJobTrigger
from tests.provider.defects.hostile_world import JOB
from tests.provider.defects.refresh_service import OURS
from tests.provider.operators.powerbi_world import change_connection
from tests.provider.triggers.conftest import PubSub, nothing_parked, workflow
from tests.provider.triggers.inbox_trigger import GOOD, first_event, rows
from tests.waiting import wait_for

__all__ = ["nothing_parked", "workflow"]

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("workflow", "nothing_parked")]

POLLS = 40
#: Seconds of one call, longer than this test may take.
CALL = 600.0


@pytest.fixture
def silent() -> Iterator[tuple[str, list[Any]]]:
    """An address that takes connections and says nothing, and the connections."""
    taken: list[socket.socket] = []

    def take(listener: socket.socket) -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        threading.Thread(target=take, args=(listener,), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", taken
        listener.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def poll(number: int) -> RemoteJobTrigger:
    return RemoteJobTrigger(
        service="powerbi",
        connection={"powerbi_conn_id": "powerbi_default"},
        job={**JOB, "id": f"{OURS}-{number}"},
        poll_interval=0.1,
        cancel_on_kill=True,
        budget={"call": CALL, "first_event": 0.0},
    )


async def test_messages_are_stored_while_all_polls_wait(silent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, taken = silent
    with Emulators(folder=tmp_path / "emulators", pubsub="builtin") as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        change_connection(monkeypatch, {"authority": address})
        with grpc.insecure_channel(cloud.pubsub_host) as channel:
            pubsub = PubSub(cloud.pubsub_host, channel)
            await asyncio.to_thread(pubsub.create_subscription)
            waiting = [asyncio.ensure_future(anext(aiter(poll(number).run()))) for number in range(POLLS)]
            assert await asyncio.to_thread(wait_for, lambda: bool(taken), 60)

            storing = asyncio.create_task(first_event(pubsub.subscription))
            await asyncio.to_thread(pubsub.publish, GOOD)
            event = await storing

            assert event.payload == {"status": "waiting"}
            assert [row.batch_id for row in rows()] == ["B1"]
            assert not any(task.done() for task in waiting)
            # One question for the token of all.
            assert len(taken) == 1
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
