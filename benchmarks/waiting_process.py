"""
One event loop with many waiting triggers, as in a triggerer, and a measurement of it.

Runs in this project's environment and, with nothing of the project but this file, in the peers'. On standard input
come the triggers, in the form in which Airflow stores them, and later a line that begins the measured window.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

PROBE_SECONDS = 0.01


class LagProbe:
    """Sleeps for 10 ms over and over, and keeps by how many seconds each sleep was late."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(PROBE_SECONDS)
            self.late.append(time.perf_counter() - begun - PROBE_SECONDS)

    def take(self) -> dict[str, float]:
        """Return median, 99th percentile and maximum in milliseconds since the last call."""
        late, self.late = sorted(self.late), []
        return {name: late[min(int(len(late) * part), len(late) - 1)] * 1000 for name, part in _PARTS.items()}


_PARTS = {"p50": 0.5, "p99": 0.99, "max": 1.0}


async def _events(trigger: Any) -> None:
    async for event in trigger.run():
        raise RuntimeError(f"A trigger that should wait has ended: {event}")


def _built(path: str, arguments: dict[str, Any]) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)(**arguments)


async def _measure(stored: list[tuple[str, dict[str, Any]]], seconds: float, tell: Callable[[Any], None]) -> None:
    loop = asyncio.get_running_loop()
    triggers = [_built(path, arguments) for path, arguments in stored]
    probe = LagProbe()
    asked = asyncio.Event()
    loop.add_reader(sys.stdin, asked.set)
    begun = time.process_time()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(probe.run())]
        tasks += [group.create_task(_events(trigger)) for trigger in triggers]
        tell("started")
        await asked.wait()
        loop.remove_reader(sys.stdin)
        start = {"start_lag_ms": probe.take(), "start_cpu_seconds": time.process_time() - begun}
        tell("window")
        begun, wall = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        cpu, wall = time.process_time() - begun, time.perf_counter() - wall
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        tell({"cpu_seconds": cpu, "wall_seconds": wall, "lag_ms": probe.take(), "memory_mib": memory, **start})
        for task in tasks:
            task.cancel()


def main() -> None:
    """Speak with the parent on what is standard output now; whatever else is printed goes to a log."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())

    def tell(message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    order = json.loads(sys.stdin.readline())
    asyncio.run(_measure(order["triggers"], order["seconds"], tell))
    # Peers leave clients open whose finalisers would wait for a loop that is gone.
    os._exit(0)


if __name__ == "__main__":
    main()
