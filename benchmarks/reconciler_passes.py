"""
Passes of one reconciler over databases in which nothing changes; runs in the environment of an Airflow.

``python -m benchmarks.reconciler_passes READER PID …`` prints :class:`Passes` as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import psutil

from benchmarks.processes import cpu_seconds_with_children

if TYPE_CHECKING:
    from provider.reconciler.airflow_state import Source
    from provider.reconciler.sources import Reader

PASSES = 100
SEARCHING_PASSES = 20


@dataclass(frozen=True)
class Passes:
    """
    What passes took, in milliseconds.

    :param sweep: the first sweep, all of its passes.
    :param idle: passes after it which do not search for changed tasks.
    :param idle_cpu: CPU time of one of them, of the reconciler and of those that it asks.
    :param searching: passes that do search.
    :param searching_cpu: as *idle_cpu*.
    """

    sweep: float
    idle: list[float]
    idle_cpu: float
    searching: list[float]
    searching_cpu: float


def measure(source: Source, asked: Sequence[int]) -> Passes:
    """
    Make passes.

    :param asked: ids of the processes that answer: those of the database and of the API server. All below them count, too.
    :raises RuntimeError: one of the passes wrote something, or another reconciler leads.
    """
    from provider.reconciler.passes import Reconciler

    before = _written()
    # Whether a pass searches is up to how long the last search took; here it is not, so that both can be told apart.
    sweeping = Reconciler(replace(source, search_pause=float("inf")))
    begun = time.perf_counter()
    _lead(sweeping.tick)
    while sweeping.sweeps:
        _lead(sweeping.tick)
    sweep = (time.perf_counter() - begun) * 1000
    idle, idle_cpu = _measured(sweeping.tick, PASSES, asked)
    sweeping.release()
    searching = Reconciler(replace(source, search_pause=0.0), since=datetime.now(UTC))
    _lead(searching.tick)
    searches, searching_cpu = _measured(searching.tick, SEARCHING_PASSES, asked)
    searching.release()
    if _written() != before:
        raise RuntimeError("The databases did not agree, so that what was measured are no idle passes.")
    return Passes(sweep, idle, idle_cpu, searches, searching_cpu)


def _written() -> object:
    """Return what changes when a reconciler writes a batch."""
    from provider.metadata import batches
    from provider.metadata.engine import read_session

    with read_session() as session:
        return batches.last_written(session)


def _measured(tick: Callable[[], bool], count: int, asked: Sequence[int]) -> tuple[list[float], float]:
    """Make so many passes; return the milliseconds of each, and the CPU time of one."""
    processes = [psutil.Process(), *map(psutil.Process, asked)]
    begun = sum(map(cpu_seconds_with_children, processes))
    samples = [_milliseconds(tick) for _ in range(count)]
    return samples, (sum(map(cpu_seconds_with_children, processes)) - begun) * 1000 / count


def _milliseconds(tick: Callable[[], bool]) -> float:
    begun = time.perf_counter()
    _lead(tick)
    return (time.perf_counter() - begun) * 1000


def _lead(tick: Callable[[], bool]) -> None:
    if not tick():
        raise RuntimeError("Another reconciler leads.")


def main(reader: Reader, *asked: int) -> None:
    """Measure with one of the readers, and print what came of it; see :func:`measure`."""
    import airflow  # noqa: F401 - initializes Airflow's settings

    from provider.metadata.engine import keep_connections
    from provider.reconciler.sources import choose_source

    keep_connections()
    source, _ = choose_source(reader)
    sys.stdout.write(json.dumps(asdict(measure(source, asked))) + "\n")


if __name__ == "__main__":
    main(cast("Reader", sys.argv[1]), *map(int, sys.argv[2:]))
