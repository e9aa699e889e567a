"""The reconciler's process: passes, hints, outages, ends."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from provider.reconciler import process
from provider.reconciler.loop import ReconcilerLoop
from provider.reconciler.process import EXIT_MISCONFIGURED, EXIT_TRY_AGAIN, main

HINT = {"dag_id": "sales", "run_id": "b1", "task_id": "load", "map_index": -1, "try_number": 2, "error": "heartbeat lost"}


class FakeReconciler:
    """Counts passes; fails as long as it is told to."""

    def __init__(self) -> None:
        self.passes = 0
        self.passed = threading.Semaphore(0)
        self.problem: Exception | None = None
        self.notes: list[Any] = []
        self.released = False
        self.idle = False

    def note(self, *note: Any) -> None:
        self.notes.append(note)

    def tick(self) -> None:
        self.passes += 1
        self.passed.release()
        if self.problem:
            raise self.problem

    def release(self) -> None:
        self.released = True


def test_hints_wake_it_and_the_end_of_the_input_is_its_end_after_a_last_look() -> None:
    fake = FakeReconciler()
    loop = ReconcilerLoop(fake, 3600, parent=os.getppid())
    working = threading.Thread(target=loop.run)
    working.start()
    assert fake.passed.acquire(timeout=30)

    def lines() -> Iterator[str]:
        yield "{}\n"
        assert fake.passed.acquire(timeout=30)
        yield json.dumps(HINT) + "\n"
        assert fake.passed.acquire(timeout=30)

    loop.listen(lines())
    working.join(30)
    assert not working.is_alive()
    assert fake.notes == [(("sales", "b1"), ("load", -1, 2), "heartbeat lost")]
    assert fake.passes == 4
    assert fake.released


def test_it_ends_when_its_scheduler_is_gone_though_the_input_stays_open() -> None:
    fake = FakeReconciler()
    working = threading.Thread(target=ReconcilerLoop(fake, 3600, parent=-1, parent_check=0.01).run)
    working.start()
    working.join(30)
    assert not working.is_alive()
    assert fake.released


def test_an_outage_is_logged_once_and_outlived(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeReconciler()
    loop = ReconcilerLoop(fake, 1, parent=os.getppid())
    fake.problem = ConnectionError("no route")
    with caplog.at_level(logging.INFO, logger=process.__name__):
        loop.make_pass()
        loop.make_pass()
        fake.problem = None
        loop.make_pass()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "no route" in caplog.text


@pytest.fixture
def life() -> Iterator[int]:
    """Where signs of life are written to."""
    signs, life = os.pipe()
    yield life
    os.close(signs)
    os.close(life)


def test_it_gives_signs_of_life_while_it_rests_and_waits() -> None:
    fake = FakeReconciler()
    signs = threading.Semaphore(0)
    loop = ReconcilerLoop(fake, 3600, parent=os.getppid(), parent_check=0.01, alive=signs.release)
    working = threading.Thread(target=loop.run)
    working.start()
    assert all(signs.acquire(timeout=30) for _ in range(5))
    assert fake.passes == 1
    resting = threading.Thread(target=loop._rest, args=(3600,))
    resting.start()
    loop.stop()
    working.join(30)
    resting.join(30)
    assert (working.is_alive(), resting.is_alive()) == (False, False)


def test_it_refuses_an_sqlite_file_where_tasks_run_on_several_machines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sqlite_url: str, life: int
) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", sqlite_url)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    assert main(os.getppid(), life) == EXIT_MISCONFIGURED
    assert "CeleryExecutor" in caplog.text


def test_where_its_database_is_not_known_yet_it_ends_and_is_to_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process itself, as its host starts it: the command for the address fails, as a secrets service does for a moment."""
    monkeypatch.delenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", raising=False)
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN_CMD", "false")
    command = [sys.executable, "-m", "provider.reconciler.process", str(os.getpid()), "1"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_TRY_AGAIN == os.EX_TEMPFAIL
    assert "The reconciler cannot begin yet: the command in AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN_CMD ended" in ended.stderr


class NoLoop:
    """In place of the loop: has nothing to do."""

    def __init__(self, *_arguments: object, parent: int, alive: object) -> None:
        pass

    def listen(self, _lines: object) -> None:
        pass

    def run(self) -> None:
        pass


def test_it_tells_at_its_start_what_it_does_not_find_in_this_airflow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, embedded_database: str, life: int
) -> None:
    monkeypatch.setattr(process, "ReconcilerLoop", NoLoop)
    monkeypatch.setattr(process, "check", lambda: ["Airflow 3.4.0 writes no audit log."])
    assert main(os.getppid(), life) == 0
    assert [(record.levelname, record.message) for record in caplog.records] == [("ERROR", "Airflow 3.4.0 writes no audit log.")]
