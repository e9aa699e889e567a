"""
From a message to its row in the inbox, in one real ``airflow triggerer``: alone, and beside 1,000 refreshes that are waited for
while Entra ID takes connections and says nothing.

``python -m benchmarks intake_beside_silence`` keeps the figures; ``python -m benchmarks.intake_beside_silence --waits 50`` only
prints those of a trial.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from benchmarks.checkout import Checkout
from benchmarks.emulator_process import EmulatorProcess
from benchmarks.intake import Publisher, scenario
from benchmarks.jobs import JOBS, POLL_INTERVAL
from benchmarks.lone_triggerer import LoneTriggerer
from benchmarks.result import AtMost, Result
from demo.postgres import PostgresServer
from demo.world import SUBSCRIPTION, TOPIC

SILENCE_DAG = Path(__file__).with_name("silence_dag.py")

#: At these gaps they take longer than two rounds of silence: all waits give up after 30 s, together, and ask again 10 s later.
MESSAGES = 150
GAP_SECONDS = (0.3, 1.0)
#: Messages that pay for imports, and are not counted.
FIRST_MESSAGES = 3
LOOK_SECONDS = 0.002
STORED_SECONDS = 120.0
READY_SECONDS = 900.0
SEED = 20261128

P95_RATIO = AtMost(2)


class SilentServer:
    """Context manager around a server that takes connections and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self._taken: list[socket.socket] = []
        self.address = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many it has taken so far."""
        return len(self._taken)

    def __enter__(self) -> Self:
        threading.Thread(target=self._take, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in (self._listener, *self._taken):
            connection.close()

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:  # it was shut down
                return


class Inbox:
    """
    Publishes messages, and sees when they are stored.

    :param database: URL of the application database.
    :param log: of the triggerer, for an error's text.
    """

    def __init__(self, publisher: Publisher, database: str, log: Path) -> None:
        self._publisher = publisher
        self._database = database.replace("+psycopg2", "")
        self._log = log

    def stored_after(self, count: int) -> list[float]:
        """
        Publish messages, one after the other at random moments; return after how many milliseconds each was in the database.

        They ask for nothing, so each is stored as refused, and the trigger waits on.
        """
        import psycopg

        chance = random.Random(SEED)  # noqa: S311 - spreads moments, protects nothing
        samples = []
        with psycopg.connect(self._database, autocommit=True) as connection:
            for _ in range(FIRST_MESSAGES + count):
                time.sleep(chance.uniform(*GAP_SECONDS))
                before = _count(connection)
                begun = time.perf_counter()
                self._publisher.publish(TOPIC, [{}])
                await_true(lambda before=before: _count(connection) > before, STORED_SECONDS, "a message", self._log)  # type: ignore[misc]
                samples.append((time.perf_counter() - begun) * 1000)
        return samples[FIRST_MESSAGES:]


def _count(connection: Any) -> int:
    (count,) = connection.execute("SELECT count(*) FROM batch_requests").fetchone()
    return int(count)


def await_true(question: Callable[[], bool], seconds: float, what: str, log: Path) -> None:
    """
    Ask until the answer is yes.

    :raises RuntimeError: it is no for too long.
    """
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited in vain for {what}:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(LOOK_SECONDS)


def run(folder: Path, waits: int = JOBS, messages: int = MESSAGES) -> Iterator[Result]:
    """
    Yield how long messages take to the inbox, alone and beside the waits.

    :param waits: how many refreshes are waited for.
    :param messages: how many are measured on each side.
    """
    folder = folder / "silence"
    log = folder / "triggerer.log"
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        plain = scenario().model_dump(mode="json", by_alias=True)
        emulators = stack.enter_context(EmulatorProcess(plain, folder / "emulators"))
        entra = stack.enter_context(SilentServer())
        application = postgres.create_database("accelerator")
        environment = {
            **{name: value for name, value in emulators.environment.items() if not name.startswith("AIRFLOW_CONN_")},
            "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": application,
            "AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS": SUBSCRIPTION,
            "BENCHMARK_WAITS": str(waits),
        }
        airflow = LoneTriggerer(
            Checkout.this(), folder / "airflow", postgres.create_database("airflow"), 2 * waits + 1, environment
        )
        airflow.prepare(SILENCE_DAG)
        airflow.python("-m", "airflow", "accelerator", "db", "upgrade")
        triggers = json.loads(airflow.python("-m", "benchmarks.silence_dag").splitlines()[-1])
        airflow.defer("silence_intake", {"inbox": triggers["inbox"]}, {})
        publisher = stack.enter_context(Publisher(emulators.environment["PUBSUB_EMULATOR_HOST"]))
        inbox = Inbox(publisher, application, log)
        stack.enter_context(airflow.running(("-m", "airflow", "triggerer", "--skip-serve-logs"), log))
        alone = inbox.stored_after(messages)
        connection = {"powerbi_default": _connection(entra.address)}
        airflow.defer("silence_refreshes", {"refreshes": triggers["refreshes"]}, connection)
        _await_waiting(airflow, waits + 1, entra, log)
        asked = entra.connections
        beside = inbox.stored_after(messages)
        _await_waiting(airflow, waits + 1, entra, log)
        yield from _figures(alone, beside, waits, entra.connections - asked)


def _connection(authority: str) -> str:
    extra = {"tenant_id": "contoso.com", "authority": authority}
    return json.dumps({"conn_type": "powerbi", "login": "app", "password": "secret", "extra": extra})


def _await_waiting(airflow: LoneTriggerer, triggers: int, entra: SilentServer, log: Path) -> None:
    """Wait until all triggers have been taken on, and each has had the time to ask for the state of its refresh."""

    def assigned() -> bool:
        return airflow.query("SELECT count(*) FROM trigger WHERE triggerer_id IS NOT NULL") == triggers

    await_true(assigned, READY_SECONDS, f"{triggers} triggers", log)
    await_true(lambda: entra.connections > 0, READY_SECONDS, "a question to Entra ID", log)
    time.sleep(2 * POLL_INTERVAL)


def _figures(alone: Sequence[float], beside: Sequence[float], waits: int, asked: int) -> Iterator[Result]:
    sides = {"alone": alone, f"beside_{waits}": beside}
    for side, samples in sides.items():
        # All samples stand beside the 95th percentile, once.
        yield Result(f"intake_beside_silence.{side}.stored.p50", "ms", [median(samples)])
        yield Result(f"intake_beside_silence.{side}.stored.max", "ms", [max(samples)])
    p95 = [Result(f"intake_beside_silence.{side}.stored.p95", "ms", samples, statistic="p95") for side, samples in sides.items()]
    yield from p95
    ratio = p95[1].value / p95[0].value
    yield Result("intake_beside_silence.stored.p95_ratio", "beside / alone", [ratio], P95_RATIO)
    yield Result(f"intake_beside_silence.beside_{waits}.token_requests", "connections meanwhile", [asked])


def main() -> int:
    """Print the figures of a trial; returns 1 where a goal does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.intake_beside_silence", description=__doc__)
    parser.add_argument("--waits", type=int, default=JOBS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="benchmarks-") as folder:
        found = []
        for result in run(Path(folder), asked.waits, asked.messages):
            found.append(result)
            sys.stdout.write(f"{result}\n")
    return 1 if any(result.holds is False for result in found) else 0


if __name__ == "__main__":
    sys.exit(main())
