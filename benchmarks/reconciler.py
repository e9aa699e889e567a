"""
What a reconciler costs: calls of the REST API, CPU time and memory of its process, and how long a pass takes in which nothing
has happened.

``python -m benchmarks reconciler`` keeps the figures; ``python -m benchmarks.reconciler --batches 1000 --seconds 10`` only prints
those of a trial.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.reconciled_airflow import READERS, Minute, ReconciledAirflow
from benchmarks.reconciled_batches import Batches
from benchmarks.result import Result
from demo.postgres import PostgresServer

#: Open batches while processes are watched.
OPEN = (0, 10, 300)
#: Of an open batch, beside ``start_batch``: one has ended, one runs, one waits.
OPEN_TASKS = 3
WINDOW_SECONDS = 60.0
#: With no batch open a pass comes every ten seconds only.
IDLE_WINDOW_SECONDS = 120.0

#: Batches that have ended when passes are measured; those of the last day, which the first sweep reads, are among them.
ENDED = (1_000, 10_000, 100_000)
OF_THE_LAST_DAY = 100


def run(
    folder: Path, *, seconds: float | None = None, opened: Sequence[int] = OPEN, ended: Sequence[int] = ENDED
) -> Iterator[Result]:
    """
    Yield the figures.

    :param seconds: how long processes are watched in each state; None for as long as a run should.
    :param opened: so many batches are open, one state after the other.
    :param ended: so many batches have ended when passes are measured, one after the other.
    """
    with ExitStack() as stack:
        airflow = stack.enter_context(ReconciledAirflow(folder / "reconciler", stack.enter_context(PostgresServer())))
        yield from _processes(airflow, seconds, opened)
        yield from _passes(airflow, ended)


def _processes(airflow: ReconciledAirflow, seconds: float | None, opened: Sequence[int]) -> Iterator[Result]:
    alone = airflow.minute(seconds or WINDOW_SECONDS).api_server_cpu_seconds
    yield Result("reconciler.none.cpu_seconds_of_api_server", "s in a minute", [alone])
    with airflow.reconciled():
        for before, count in itertools.pairwise((0, *opened)):
            name, calls = f"{count}_open" if count else "idle", airflow.calls()
            if count > before:
                airflow.add(Batches(f"Open_{count}", count - before, "10 minutes", tasks=OPEN_TASKS, ended=False))
            airflow.settle()
            if count > before:
                unit = f"requests for {count - before} batches"
                yield Result(f"reconciler.api.{name}.calls_until_read", unit, [airflow.calls() - calls])
            yield from _costs(name, airflow.minute(seconds or (WINDOW_SECONDS if count else IDLE_WINDOW_SECONDS)), alone)
        with airflow.examined():
            airflow.settle()
            yield from _costs(f"{opened[-1]}_open_with_scheduler", airflow.minute(seconds or WINDOW_SECONDS), alone)
    airflow.remove("Open")


def _costs(state: str, minute: Minute, alone: float) -> Iterator[Result]:
    for reader, cost in minute.costs.items():
        name = f"reconciler.{reader}.{state}"
        if reader == "api":
            yield Result(f"{name}.calls", "requests in a minute", [minute.calls])
            yield Result(f"{name}.cpu_seconds_of_api_server", "s in a minute", [max(0.0, minute.api_server_cpu_seconds - alone)])
        yield Result(f"{name}.cpu_seconds", "s in a minute", [cost.cpu_seconds])
        yield Result(f"{name}.memory", "MiB", [cost.memory_mib])
        yield Result(f"{name}.memory_peak", "MiB", [cost.peak_mib])


def _passes(airflow: ReconciledAirflow, ended: Sequence[int]) -> Iterator[Result]:
    airflow.add(Batches("Recent", OF_THE_LAST_DAY, "1 hour", "10 minutes"), READERS[:1])
    cpu: dict[str, list[float]] = {reader: [] for reader in READERS}
    for before, count in itertools.pairwise((OF_THE_LAST_DAY, *ended)):
        airflow.add(Batches(f"Old_{count}", count - before, "10 days", "26 seconds"), READERS[:1])
        for reader in READERS:
            found = airflow.passes(reader)
            cpu[reader].append(found.idle_cpu)
            name = f"reconciler.{reader}.{count}_ended"
            yield Result(f"{name}.first_sweep", f"s for {OF_THE_LAST_DAY} batches", [found.sweep / 1000])
            yield from _of_kind(f"{name}.idle_pass", found.idle, found.idle_cpu)
            yield from _of_kind(f"{name}.searching_pass", found.searching, found.searching_cpu)
    for reader, values in cpu.items():
        ratio = values[-1] / values[0]
        yield Result(f"reconciler.{reader}.idle_pass.cpu_ratio", f"{ended[-1]} batches / {ended[0]}", [ratio])


def _of_kind(name: str, passes: Sequence[float], cpu: float) -> Iterator[Result]:
    # All samples stand beside the 95th percentile, once.
    yield Result(f"{name}.p50", "ms", [median(passes)])
    yield Result(f"{name}.p95", "ms", passes, statistic="p95")
    yield Result(f"{name}.cpu", "ms", [cpu])


def main() -> int:
    """Print the figures of a trial; returns 1 where a goal does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconciler")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long processes are watched in each state")
    parser.add_argument(
        "--open", type=int, action="append", help="batches that are open; may be repeated; default: 0, 10 and 300"
    )
    parser.add_argument("--batches", type=int, action="append", help="batches that have ended; may be repeated")
    asked = parser.parse_args()
    found = []
    with TemporaryDirectory(prefix="benchmarks-") as folder:
        for result in run(Path(folder), seconds=asked.seconds, opened=asked.open or OPEN, ended=asked.batches or ENDED):
            found.append(result)
            sys.stdout.write(f"{result}\n")
            sys.stdout.flush()
    return 1 if any(result.holds is False for result in found) else 0


if __name__ == "__main__":
    sys.exit(main())
