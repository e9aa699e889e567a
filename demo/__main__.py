"""Run the demo: emulators, a real Airflow, rows that become DAGs, messages that become TaskBatches; then check every row."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import expectations
from tests.airflow_services import AirflowServices

if TYPE_CHECKING:
    from rich.console import Console

    from provider.emulators.server import Emulators

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TOPIC = "projects/demo-project/topics/task-batches"
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"
MESSAGES: tuple[Mapping[str, Any], ...] = (
    {"task_id": "stg_orders", "batch_id": expectations.GOOD[1], "scope": "workflow"},
    {"task_id": "stg_orders", "batch_id": expectations.GOOD[1], "scope": "workflow"},
    {"task_id": "stg_suppliers", "batch_id": expectations.FAILING[1], "scope": "workflow"},
)
DEADLINE_SECONDS = 240.0
FINAL = ("SUCCESS", "ERROR")

Rows = list[dict[str, Any]]


class DemoError(Exception):
    """The demo cannot go on, or a row is not what it must be."""


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave Airflow and the emulators running until Ctrl-C")
    parser.add_argument("--svg", type=Path, help="also write what was shown as a picture")
    arguments = parser.parse_args()
    from rich.console import Console

    console = Console(record=arguments.svg is not None, width=150 if arguments.svg else None, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accelerator-demo-")))
            run(console, folder, stack, keep=arguments.keep)
    except KeyboardInterrupt:
        console.print("stopped")
        return 128 + signal.SIGINT
    except DemoError as error:
        console.print(f"[bold red]demo failed[/]: {error}")
        return 1
    if arguments.svg:
        console.save_svg(str(arguments.svg), title="make demo")
    return 0


def run(console: Console, folder: Path, stack: ExitStack, *, keep: bool) -> None:
    """Start everything, publish, wait, show and check."""
    from provider.emulators.scenario import load_scenario
    from provider.emulators.server import Emulators

    began = time.monotonic()
    console.rule("1  emulators and Airflow")
    emulators = stack.enter_context(Emulators(load_scenario(EXAMPLES / "emulators.yaml"), folder=folder / "emulators"))
    environment = {
        **emulators.environment(),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS": SUBSCRIPTION,
        "COLUMNS": "150",
    }
    os.environ.update(environment)
    dags = folder / "airflow" / "dags"
    accelerator("init", str(dags))
    console.print(accelerator("import", str(EXAMPLES / "workflows.yaml")).strip())
    airflow = stack.enter_context(AirflowServices(folder / "airflow", dags, environment))
    console.print(f"Airflow is up at {airflow.url} after {time.monotonic() - began:.0f} s")
    for dag_id in (*expectations.EXPECTED_BATCH, "accelerator_dispatcher"):
        airflow.wait_for_dag(dag_id)

    console.rule("2  publish")
    for message in MESSAGES:
        console.print(f"published {json.dumps(message)}")
    publish(emulators, MESSAGES)

    console.rule("3  progress")
    wait_for_batches(console)

    console.rule("4  what the database says")
    join, batches, logs = wait_for_quiet(folder / "airflow")
    show_tables(console)
    check(console, emulators, join, batches, logs)
    console.print(f"[bold green]demo succeeded[/] in {time.monotonic() - began:.0f} s")
    if keep:
        console.print(
            f"\nAirflow: {airflow.url} (no login: whoever is on this machine is its administrator)\nCtrl-C stops everything."
        )
        signal.pause()


def accelerator(*arguments: str) -> str:
    """Run the command-line tool as a person would and return what it prints."""
    result = subprocess.run(  # noqa: S603
        [str(Path(sys.executable).parent / "accelerator"), *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise DemoError(f"`accelerator {' '.join(arguments)}` ended with {result.returncode}: {result.stderr.strip()}")
    return result.stdout


def publish(emulators: Emulators, messages: Iterable[Mapping[str, Any]]) -> None:
    """Publish with Google's own client, which finds the emulator by ``PUBSUB_EMULATOR_HOST``."""
    from google.cloud import pubsub_v1

    assert os.environ["PUBSUB_EMULATOR_HOST"] == emulators.pubsub_host
    client = pubsub_v1.PublisherClient()
    for future in [client.publish(TOPIC, json.dumps(message).encode()) for message in messages]:
        future.result(timeout=30)
    client.stop()


def rows(*tables: str) -> list[Rows]:
    """Return the rows of tables of the application database, read in one transaction."""
    from sqlalchemy import select

    from provider.metadata.engine import read_session
    from provider.metadata.tables import Base

    with read_session() as session:
        return [[dict(row) for row in session.execute(select(Base.metadata.tables[table])).mappings()] for table in tables]


def wait_for_batches(console: Console) -> None:
    """Show each change of a task's status until the batches of the messages and of the schedule have ended."""
    began = time.monotonic()
    shown: dict[tuple[str, ...], str] = {}
    while True:
        batches, logs = rows("task_batches", "task_logs")
        for row in [*logs, *batches]:
            key = (row["workflow_id"], row["batch_id"], row.get("task_id", ""))
            if shown.get(key) != row["status"]:
                shown[key] = row["status"]
                what = key[2] or "the batch"
                console.print(f"{time.monotonic() - began:6.1f} s  {key[0]:<13} {key[1]:<45} {what:<22} {row['status']}")
        ended = {batch["workflow_id"] for batch in batches if batch["status"] in FINAL}
        if ended >= set(expectations.EXPECTED_BATCH):
            return
        if time.monotonic() - began > DEADLINE_SECONDS:
            missing = ", ".join(sorted(set(expectations.EXPECTED_BATCH) - ended))
            raise DemoError(f"no batch of {missing} ended within {DEADLINE_SECONDS:.0f} s")
        time.sleep(0.5)


def wait_for_quiet(airflow_home: Path) -> tuple[expectations.Join, Rows, Rows]:
    """
    Wait for a moment between two runs of the schedule, when no batch is open.

    :return: the join of the two databases, the batches and the task logs of that moment.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        join = expectations.outer_join(airflow_home / "airflow.db", airflow_home / "accelerator.db")
        batches, logs = rows("task_batches", "task_logs")
        if join.equal and all(batch["status"] in FINAL for batch in batches):
            return join, batches, logs
        if time.monotonic() > deadline:
            raise DemoError(f"a batch stays open, or Airflow and the task logs differ: {join}; see `accelerator batches`")
        time.sleep(0.5)


def show_tables(console: Console) -> None:
    """Print TaskBatch and TaskLog with the command that people use for it."""
    from rich.text import Text

    console.print(Text.from_ansi(accelerator("batches")))
    for workflow, batch_id in (expectations.GOOD, expectations.FAILING):
        console.print(Text.from_ansi(accelerator("logs", batch_id, "--workflow", workflow)))


def check(console: Console, emulators: Emulators, join: expectations.Join, batches: Rows, logs: Rows) -> None:
    """Check the rows, the emulators' ledger and the join with Airflow's own table."""
    problems = expectations.wrong_rows(batches, logs)
    expected = sum(len(expectations.EXPECTED_TASKS[batch["workflow_id"]]) for batch in batches)
    problems += expectations.wrong_calls(emulators.ledger.entries())
    console.print(
        f"outer join of Airflow's task_instance with task_logs: {join.rows} rows ({expected} expected), "
        f"{join.missing_in_task_logs} missing in task_logs, {join.missing_in_airflow} missing in Airflow, "
        f"{join.other_status} with another state"
    )
    if join.rows != expected:
        problems.append("Airflow's task instances and the task logs differ")
    if problems:
        raise DemoError("\n".join(["", *problems]))


if __name__ == "__main__":
    sys.exit(main())
