"""Run the demo: emulators, a real Airflow, rows that become DAGs, messages that become TaskBatches; then check every row."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import expectations
from demo.world import WIDTH, Rows, World

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

MESSAGES: tuple[Mapping[str, Any], ...] = (
    {"task_id": "stg_orders", "batch_id": expectations.GOOD[1], "scope": "workflow"},
    {"task_id": "stg_orders", "batch_id": expectations.GOOD[1], "scope": "workflow"},
    {"task_id": "stg_suppliers", "batch_id": expectations.FAILING[1], "scope": "workflow"},
)
#: What is tried out after the demo behaves as it does elsewhere: Airflow's default.
AS_DELIVERED = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30"}
SHOWN = (expectations.GOOD, expectations.FAILING)
DEADLINE_SECONDS = 240.0
FINAL = ("SUCCESS", "ERROR")


class DemoError(Exception):
    """A row is not what it must be, or does not come."""


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave Airflow and the emulators running until Ctrl-C")
    parser.add_argument("--svg", type=Path, help="also write what was shown as a picture")
    arguments = parser.parse_args()
    from rich.console import Console

    recorded = arguments.svg is not None
    console = Console(record=recorded, width=WIDTH if recorded else width_of_output(), highlight=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="accelerator-demo-") as folder:
            console.rule("1  emulators and Airflow")
            console.print("All of it takes two to three minutes, on a busy machine twice that; most of it is Airflow's start.")
            with World(Path(folder), environment=AS_DELIVERED) as world:
                run(console, world, began)
                if arguments.keep:
                    login = "no login: whoever is on this machine is its administrator"
                    console.print(f"\nAirflow: {world.airflow.url} ({login})\nCtrl-C stops everything.")
                    signal.pause()
    except KeyboardInterrupt:
        console.print("stopped")
        return 0 if arguments.keep else 128 + signal.SIGINT
    except DemoError as error:
        console.print(f"[bold red]demo failed[/]: {error}")
        return 1
    if arguments.svg:
        console.save_svg(str(arguments.svg), title="make demo")
    return 0


def width_of_output() -> int | None:
    """Return how wide the tables are shown; None leaves that to rich, which takes a file for a narrow terminal."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH


def run(console: Console, world: World, began: float) -> None:
    """Publish, wait, show and check."""
    console.print(world.imported.strip())
    console.print(f"Airflow is up at {world.airflow.url} after {time.monotonic() - began:.0f} s")
    world.wait_for_dags((*expectations.EXPECTED_BATCH, "accelerator_dispatcher"))

    console.rule("2  publish")
    for message in MESSAGES:
        console.print(f"published {json.dumps(message)}")
    console.print(
        "The first message twice, as Pub/Sub may deliver one: it starts one batch. stock_levels is to fail: a table is missing."
    )
    world.publish(*MESSAGES)

    console.rule("3  progress")
    wait_for_batches(console, world)
    join, batches, logs = wait_for_quiet(world)

    console.rule("4  what the database says")
    show_tables(console, world)
    check(console, world, join, batches, logs)
    console.print(f"[bold green]demo succeeded[/] in {time.monotonic() - began:.0f} s")
    console.print(f"{expectations.FAILING[0]} failed on purpose: docs/tutorial.md repairs such a batch")


def wait_for_batches(console: Console, world: World) -> None:
    """Show each change of a task's status until the batches of the messages and of the schedule have ended."""
    began = time.monotonic()
    shown: dict[tuple[str, ...], str] = {}
    while True:
        batches, logs = world.rows("task_batches", "task_logs")
        for row in [*logs, *batches]:
            key = (row["workflow_id"], row["batch_id"], row.get("task_id", "the batch"), str(row.get("try_number", "")))
            if shown.get(key) != row["status"]:
                shown[key] = row["status"]
                again = f" (try {key[3]})" if key[3] not in ("", "1") else ""
                seconds = time.monotonic() - began
                line = f"{seconds:6.1f} s  {key[0]:<13} {key[1]:<36} {key[2] + again:<22} {row['status']}"
                if row["status"] == "ERROR":  # the tables below have all of it
                    line += f"  {row.get('error_message') or ''}"[: max(0, console.width - len(line))].rstrip()
                console.print(line, markup=False)
        ended = {batch["workflow_id"] for batch in batches if batch["status"] in FINAL}
        if ended >= set(expectations.EXPECTED_BATCH):
            return
        if time.monotonic() - began > DEADLINE_SECONDS:
            missing = ", ".join(sorted(set(expectations.EXPECTED_BATCH) - ended))
            raise DemoError(f"no batch of {missing} ended within {DEADLINE_SECONDS:.0f} s")
        time.sleep(0.5)


def wait_for_quiet(world: World) -> tuple[expectations.Join, Rows, Rows]:
    """
    Wait for a moment between two runs of the schedule, when no batch is open.

    :return: the join of the two databases, the batches and the task logs of that moment.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        join = world.join()
        batches, logs = world.rows("task_batches", "task_logs")
        if join.equal and all(batch["status"] in FINAL for batch in batches):
            return join, batches, logs
        if time.monotonic() > deadline:
            raise DemoError(f"a batch stays open, or Airflow and the task logs differ: {join}; see `accelerator batches`")
        time.sleep(0.5)


def show_tables(console: Console, world: World) -> None:
    """Print TaskBatch and TaskLog with the command that people use for it, as their terminals show it."""
    from rich.text import Text

    commands = [("batches",), *(("logs", batch_id, "--workflow", workflow) for workflow, batch_id in SHOWN)]
    for command in commands:
        shown = Text.from_ansi(world.accelerator_at_terminal(*command, columns=console.width))
        console.print(as_in_a_window(shown, console.width) if console.record else shown, soft_wrap=True)


def as_in_a_window(text: Text, columns: int) -> Text:
    """Break lines, such as addresses, where a window is full: a picture would lack the rest. Elsewhere they are left whole."""
    from rich.text import Text

    lines = text.split("\n", allow_blank=True)
    return Text("\n").join(part for line in lines for part in line.divide(range(columns, len(line), columns)))


def check(console: Console, world: World, join: expectations.Join, batches: Rows, logs: Rows) -> None:
    """Check the rows, the emulators' ledger and the join with Airflow's own table."""
    problems = expectations.wrong_rows(batches, logs) + expectations.wrong_calls(world.emulators.ledger.entries())
    expected = sum(len(expectations.EXPECTED_TASKS[batch["workflow_id"]]) for batch in batches)
    console.print(
        f"outer join of Airflow's task_instance with task_logs: {join.rows} rows ({expected} expected), "
        f"{join.missing_in_task_logs} missing in task_logs, {join.missing_in_airflow} missing in Airflow, "
        f"{join.other_status} with another state"
    )
    if join.rows != expected:
        problems.append(f"the join has {join.rows} rows, not {expected}")
    if problems:
        raise DemoError("\n".join(["", *problems]))
    console.print("the emulators' ledgers: the refresh was posted once, after both Dataform invocations had succeeded")


if __name__ == "__main__":
    sys.exit(main())
