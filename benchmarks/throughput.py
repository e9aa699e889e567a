"""How many batches a minute an Airflow gets done with one, two and four workers, and how many connections it holds meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks.intake import WORKSPACE, Publisher, scenario
from benchmarks.result import Result
from demo.postgres import PostgresServer
from demo.world import TOPIC, World

#: Tasks that Airflow runs at a time, each in a process of its own.
WORKERS = (1, 2, 4)
BATCHES = 30
#: Longest time for all batches, in seconds.
LONGEST_SECONDS = 900.0
WORKFLOW = "throughput"


def definitions() -> dict[str, Any]:
    """Return a workflow of three tasks one after another, each with a remote job that ends at once."""
    config = {"workspace": WORKSPACE, "semantic_model": "Intake"}
    tasks = [
        {"task_id": f"refresh_{number}", "task_type": "power_bi_refresh", "config": config, "depends_on": before}
        for number, before in ((1, []), (2, ["refresh_1"]), (3, ["refresh_2"]))
    ]
    return {"workflows": [{"workflow_id": WORKFLOW, "max_active_batches": 1000, "tasks": tasks}]}


def run(folder: Path) -> Iterator[Result]:
    """Yield the figures."""
    for workers in WORKERS:
        minutes, used = _measured(folder / f"throughput_{workers}", workers)
        yield Result(f"throughput.{workers}_workers.batches", "batches of 5 tasks in a minute", [BATCHES / minutes])
        for owner, count in used.items():
            yield Result(f"throughput.{workers}_workers.connections.{owner}", "at most", [count])


def _measured(folder: Path, workers: int) -> tuple[float, dict[str, int]]:
    """Return the minutes from the publication to the end of the last batch, and the most connections of each database."""
    folder.mkdir()
    file = folder / "workflows.yaml"
    file.write_text(yaml.safe_dump(definitions()), encoding="utf-8")
    environment = {"AIRFLOW__CORE__PARALLELISM": str(workers), "AIRFLOW__API__WORKERS": "2"}
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        settings: dict[str, Any] = {"environment": environment, "pubsub": "builtin", "api": True}
        world = stack.enter_context(World(folder, definitions=file, scenario=scenario(), postgres=postgres, **settings))
        world.wait_for_dags(["accelerator_dispatcher", WORKFLOW])
        publisher = stack.enter_context(Publisher(world.emulators.pubsub_host))
        # The first batch pays for what is imported once.
        _carried_out(world, publisher, ["first"])
        return _carried_out(world, publisher, [f"batch_{number:02d}" for number in range(BATCHES)])


def _carried_out(world: World, publisher: Publisher, batch_ids: list[str]) -> tuple[float, dict[str, int]]:
    """Publish a message for each batch and wait for their ends."""
    most: dict[str, int] = {}
    begun = time.monotonic()
    publisher.publish(TOPIC, [{"task_id": "refresh_1", "batch_id": batch_id, "scope": "workflow"} for batch_id in batch_ids])
    while time.monotonic() < begun + LONGEST_SECONDS:
        (batches,) = world.rows("task_batches")
        ended = [row["status"] for row in batches if row["batch_id"] in batch_ids and row["ended_at"] is not None]
        if len(ended) == len(batch_ids):
            if set(ended) != {"SUCCESS"}:
                raise RuntimeError(f"Batches ended as {sorted(set(ended))}.")
            return (time.monotonic() - begun) / 60, most
        for owner, count in _connections(world).items():
            most[owner] = max(most.get(owner, 0), count)
        time.sleep(0.5)
    raise RuntimeError(f"Only {len(ended)} of {len(batch_ids)} batches ended in {LONGEST_SECONDS:.0f} s.")


def _connections(world: World) -> dict[str, int]:
    """Return whose database → connections that are open, but for the one that asks."""
    import psycopg

    found = {}
    for owner, url in (("airflow", world.airflow_url), ("application", world.database_url)):
        with psycopg.connect(url.replace("+psycopg2", "")) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            (count,) = connection.execute(query).fetchone() or (0,)
        found[owner] = int(count)
    return found
