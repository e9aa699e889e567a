"""Workflows whose batches wait for everything that a batch can wait for, who asks why, and what tests wait for meanwhile."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from demo.world import World
from provider.metadata.engine import write_session
from provider.metadata.tables import Task, Workflow

#: Seconds for a wait; what is waited for takes a few seconds, or never comes.
NOTICED = 60.0
#: How many tasks run at once.
WORKERS = 4
AT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

#: Answers questions, one a line, as `accelerator why` does, without importing everything for each of them.
PROGRAM = """
import contextlib, io, json, sys
from provider.cli.main import console
from provider.metadata.engine import dispose_engines
answers = sys.stdout
sys.stdout = sys.stderr
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = console(["why", *json.loads(line)])
    dispose_engines()  # as at the end of a command
    print("ANSWER " + json.dumps([code, said.getvalue()]), file=answers, flush=True)
"""


def refresh(task_id: str, *parents: str, initial_wait: float = 1, **options: Any) -> dict[str, Any]:
    """Return a task that refreshes a model of its own, for longer than any test takes."""
    config = {"workspace": "Sales", "semantic_model": task_id, "initial_wait": initial_wait, "poll_interval": 1}
    return {"task_id": task_id, "task_type": "power_bi_refresh", "config": config, "depends_on": list(parents), **options}


def external(task_id: str) -> dict[str, Any]:
    return {"task_id": task_id, "task_type": "external"}


WORKFLOWS: Mapping[str, dict[str, Any]] = {
    "flow": {
        "tasks": [
            refresh("first", pool="narrow"),
            refresh("second", "first"),
            refresh("off", "first", enabled=False),
            refresh("side"),
        ]
    },
    "waits": {
        "max_active_batches": 1,
        "tasks": [
            external("outside"),
            refresh("waiter", pool="narrow"),
            refresh("poolless", pool="missing"),
            refresh("fails", retries=1, retry_delay_seconds=3600),
            refresh("fails_more", retries=1, retry_delay_seconds=3600, retry_backoff=2),
        ],
    },
    "paused": {"paused_at_first": True, "tasks": [external("never")]},
    "by_message": {"tasks": [external("begin")]},
    "limited": {"max_active_tasks": 1, "tasks": [refresh(f"limited_{n}", initial_wait=3600) for n in (1, 2)]},
    "crowd": {"tasks": [refresh(f"crowd_{n}", initial_wait=3600) for n in range(WORKERS + 1)]},
}
FAILING = ("fails", "fails_more")
FAILS = {"seconds": 0.5, "fails": {"errorCode": "Busy"}}
MODELS = [
    {"name": task["task_id"], **(FAILS if task["task_id"] in FAILING else {"seconds": 3600})}
    for workflow in WORKFLOWS.values()
    for task in workflow["tasks"]
]
SCENARIO = {
    "powerbi": {"workspaces": [{"name": "Sales", "semantic_models": MODELS}]},
    "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
}


class Asker:
    """
    Asks `accelerator why` in processes of a world, one for each way to see Airflow, and keeps what they said.

    :param world: its people are those of the API.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.table: list[tuple[str, str, str]] = []
        by_api = {
            "AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID": "seen",
            "AIRFLOW_CONN_SEEN": world.airflow.api_connection("looker"),
        }
        environment = world.airflow.environment()
        self._processes = {
            "database": self._start(environment),
            "API": self._start({**environment, **by_api}),
        }

    @staticmethod
    def _start(environment: Mapping[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        for process in self._processes.values():
            process.communicate(timeout=30)

    def check(self, cause: str, names: tuple[str, ...], *lines: str) -> None:
        """
        Ask both ways.

        :param lines: patterns of the first line by the database and by the API; one for both.
        """
        for (way, process), pattern in zip(self._processes.items(), (lines * 2)[:2], strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(names) + "\n")
            process.stdin.flush()
            code, said = self._answer(process)
            line = said.partition("\n")[0]
            self.table.append((cause, way, line))
            assert (code, bool(re.fullmatch(pattern, line))) == (0, True), f"{cause}, by the {way}: {line!r}\n{said}"

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> tuple[int, str]:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ANSWER "):
                code, said = json.loads(line.removeprefix("ANSWER "))
                return code, said
        raise AssertionError("the process that asks has ended.")


def write_workflows(file: Path, workflows: Mapping[str, dict[str, Any]]) -> Path:
    rows = [{"workflow_id": workflow_id, **workflow} for workflow_id, workflow in workflows.items()]
    file.write_text(yaml.safe_dump({"workflows": rows}))
    return file


def store_broken_rows(world: World) -> None:
    """Store by SQL what no import would take."""
    with write_session(world.database_url) as session:
        session.add(Workflow(workflow_id="broken"))
        session.flush()
        session.add(Task(task_id="crooked", workflow_id="broken", task_type="power_bi_refreshh", config={}))


def wait(world: World, what: str, ready: Callable[[], Any]) -> Any:
    return world.airflow.wait_for(ready, NOTICED, what)


def state(world: World, dag_id: str, run_id: str, task_id: str) -> str | None:
    found = {one["task_id"]: one["state"] for one in world.airflow.task_instances(dag_id, run_id)}
    return found.get(task_id)


def dispatcher_states(world: World) -> list[str | None]:
    """Return the states of the tasks of the dispatcher's open runs."""
    where = {"state": ["queued", "running"]}
    runs = world.airflow.rest("GET", "/dags/accelerator_dispatcher/dagRuns", params=where)["dag_runs"]
    return [one["state"] for run in runs for one in world.airflow.task_instances(run["dag_id"], run["dag_run_id"])]


def running(world: World) -> list[str]:
    """Return the processes that tasks run in."""
    return [process.name() for process in world.airflow.titled(r"airflow worker -- [0-9a-f]{8}-")]


def request(world: World, message_id: str) -> dict[str, Any]:
    (requests,) = world.rows("batch_requests")
    return next((row for row in requests if row["message_id"] == message_id), {})


def batch(world: World, batch_id: str) -> dict[str, Any]:
    (batches,) = world.rows("task_batches")
    return next((row for row in batches if row["batch_id"] == batch_id), {})


def log(world: World, batch_id: str, task_id: str) -> dict[str, Any]:
    (logs,) = world.rows("task_logs")
    return next((row for row in logs if (row["batch_id"], row["task_id"]) == (batch_id, task_id)), {})


def pause(world: World, dag_id: str, *, paused: bool = True) -> None:
    world.airflow.rest("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})


def stop(world: World, component: str) -> None:
    """End a component politely, and wait until Airflow says so."""
    world.airflow.kill(component, signal.SIGTERM)
    name = component.replace("-", "_")
    wait(world, f"{component} to be gone", lambda: not world.airflow.are_healthy([name]))
