"""A real Airflow in which batches of all kinds have run, for the browser to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from demo.world import World
from provider.emulators.scenario import load_scenario
from tests.provider.pages.rows import batch, log, store

HERE = Path(__file__).parent
#: The person who logs in.
PERSON = "ann"
#: Seconds for whatever has to happen next: the machine may be busy.
NOTICED = 120.0
HISTORY = 40

FAILED = ("stock_levels", "Batch_20260316_001")
RETRIED = ("exchange_rates", "Batch_20260316_002")
RUNNING = ("month_end", "Batch_20260316_003")
EXTERNAL = ("supplier_feed", "Batch_20260316_004")
POOLED = ("forecast", "Batch_20260316_005")
PAUSED = ("returns", "Batch_20260316_006")
#: A message for a task that is not defined yet, and the workflow that it is for.
EARLY = ("vouchers", "Batch_20260316_007")
#: Asked of a workflow that is disabled.
WAITING = ("loyalty", "Batch_20260316_008")

_START: dict[str, Any] = {"task_id": "stg_suppliers", "batch_id": FAILED[1], "scope": "workflow", "params": {"country": "de"}}

#: What the message says once it is corrected that was cut in the middle.
CUT = ("vouchers", "Batch_20260316_009")

#: What is published. The second is a duplicate, the last two are rejected.
MESSAGES: tuple[bytes | dict[str, Any], ...] = (
    _START,
    _START,
    {"task_id": "load_rates", "batch_id": RETRIED[1]},
    {"task_id": "stg_points", "batch_id": WAITING[1]},
    {"task_id": "stg_vouchers", "batch_id": EARLY[1]},
    b'{"task_id": "stg_orders", "batch_id":',
)


@contextmanager
def shop(folder: Path) -> Iterator[World]:
    """Start everything, and a batch of each kind; those that shall run do so meanwhile."""
    with World(folder, definitions=HERE / "workflows.yaml", scenario=load_scenario(HERE / "emulators.yaml"), api=True) as world:
        history(world)
        begin_batches(world)
        yield world


def password(world: World) -> str:
    """Return the password of :data:`PERSON`."""
    return str(json.loads(world.airflow.api_connection(PERSON))["password"])


def begin_batches(world: World) -> None:
    """Start the batches, but the one that waits for a slot: see :func:`fill_pool`."""
    airflow = world.airflow
    airflow.rest("POST", "/pools", json={"name": "reports", "slots": 1, "include_deferred": True})
    world.wait_for_dags((PAUSED[0], "accelerator_dispatcher"))
    airflow.rest("PATCH", f"/dags/{PAUSED[0]}", json={"is_paused": True})
    world.publish(*MESSAGES)
    for key in (RUNNING, EXTERNAL, PAUSED):
        airflow.trigger(*key)


def fill_pool(world: World) -> None:
    """Start the batch that waits for a slot of the pool, once another has it."""
    wait_for_state(world, RUNNING, "refresh_ledger", "deferred")
    world.airflow.trigger(*POOLED)
    wait_for_state(world, POOLED, "refresh_forecast", "scheduled")


def define_late(world: World) -> None:
    """Import the workflow for which a message came too early, and wait until Airflow has it."""
    world.accelerator("import", str(HERE / "late.yaml"))
    world.airflow.read_again()
    world.airflow.wait_for_dag(EARLY[0])


def status_of(world: World, key: tuple[str, str]) -> str | None:
    """Return what the table says of a batch; None where there is none."""
    (batches,) = world.rows("task_batches")
    return next((row["status"] for row in batches if (row["workflow_id"], row["batch_id"]) == key), None)


def wait_for_batch(world: World, key: tuple[str, str], status: str) -> None:
    """Wait until a batch has a status."""
    world.airflow.wait_for(
        lambda: status_of(world, key) == status, NOTICED, f"{key} {status}", explain=lambda: str(status_of(world, key))
    )


def wait_for_state(world: World, key: tuple[str, str], task_id: str, state: str) -> None:
    """Wait until Airflow has a task instance in a state."""

    def there() -> bool:
        return any(one["task_id"] == task_id and one["state"] == state for one in world.airflow.task_instances(*key))

    world.airflow.wait_for(there, NOTICED, f"{task_id} {state}")


def history(world: World) -> None:
    """Store batches of the days before that succeeded; to run them would take minutes, and show nothing more."""
    now = datetime.now(UTC).replace(microsecond=0)
    rows: list[dict[str, Any]] = []
    for number in range(HISTORY):
        workflow, tasks = (
            ("daily_sales", ("stg_orders", "stg_customers", "refresh_daily_sales"))
            if number % 3
            else ("exchange_rates", ("load_rates",))
        )
        at = now - timedelta(hours=3 + 2 * number)
        took = timedelta(seconds=190 + 37 * (number % 7))
        batch_id = f"Batch_{at:%Y%m%d_%H%M}"
        times: dict[str, Any] = {"started_at": at, "ended_at": at + took, "updated_at": at + took}
        rows.append(batch(batch_id, workflow, created_at=at, run_after=at, **times))
        rows += [log(task, batch_id, workflow, **times) for task in tasks]
    store(*rows, url=world.database_url)
