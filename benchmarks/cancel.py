"""
How soon a job is cancelled once a person has ended its task, and that the end of a triggerer cancels none.

A real Airflow on PostgreSQL, with the accelerator's own settings left as they are. The jobs would run for hours.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.result import AtMost, Result
from demo.postgres import PostgresServer
from demo.world import World
from provider.emulators.ledger import Ledger
from provider.emulators.scenario import Scenario

#: How a person ends a task; those in the worker keep their slots, and so begin first.
WAYS = ("in_worker", "deferred", "no_triggerer", "cleared")
#: Half of them refreshes, half invocations.
TASKS_OF_WAY = 8

PROMISED = AtMost(10)
PROMISED_OF_RECONCILER = AtMost(15)
NONE = AtMost(0)

WORKSPACE = "Cancel"
REPOSITORY_ID = "cancel"
REPOSITORY = f"projects/demo-project/locations/europe-west3/repositories/{REPOSITORY_ID}"
RUN_ID = "batch_1"
HOURS = 36000.0

#: The moment at which a service accepts a cancel; how long the job then takes to end is the service's affair.
_CANCELS = frozenset({"refresh_cancel_requested", "cancel_workflow_invocation"})
_LONGEST_PAUSE = 2.5
_TASKS_AT_ONCE = {"AIRFLOW__CORE__PARALLELISM": str(2 * TASKS_OF_WAY)}
_STARTED_SECONDS = 420.0
_ADOPTED_SECONDS = 180.0
_CANCELLED_SECONDS = 120.0


@dataclass(frozen=True)
class Task:
    """One task, and with it one job."""

    way: str
    number: int

    @property
    def task_id(self) -> str:
        return f"{self.way}_{self.number}"

    @property
    def workflow_id(self) -> str:
        return _workflow_id(self.way)

    @property
    def refreshes(self) -> bool:
        """Whether its job is a refresh; else it is an invocation."""
        return self.number % 2 == 0

    def definition(self) -> dict[str, Any]:
        """Return the task as ``accelerator import`` takes it."""
        if self.refreshes:
            config: dict[str, Any] = {"workspace": WORKSPACE, "semantic_model": self.task_id, "refresh": {"type": "full"}}
        else:
            config = {"project_id": "demo-project", "region": "europe-west3", "repository_id": REPOSITORY_ID}
            config |= {"git_commitish": "main", "included_targets": [self.task_id]}
        if self.way == "in_worker":
            config["initial_wait"] = HOURS
        return {
            "task_id": self.task_id,
            "task_type": "power_bi_refresh" if self.refreshes else "dataform",
            "config": config,
        }


def _workflow_id(way: str) -> str:
    return f"cancel_{way}"


def tasks_of(*ways: str) -> list[Task]:
    """Return the tasks of these ways to end a task."""
    return [Task(way, number) for way in ways for number in range(TASKS_OF_WAY)]


def definitions() -> dict[str, Any]:
    """Return a workflow for each way."""
    return {
        "workflows": [
            {
                "workflow_id": _workflow_id(way),
                "default_args": {"retries": 0},
                "tasks": [task.definition() for task in tasks_of(way)],
            }
            for way in WAYS
        ]
    }


def scenario() -> Scenario:
    """Return a semantic model, or an action, for each task."""
    tasks = tasks_of(*WAYS)
    models = [{"name": task.task_id, "seconds": HOURS} for task in tasks if task.refreshes]
    actions = [{"target": {"name": task.task_id}, "seconds": HOURS} for task in tasks if not task.refreshes]
    return Scenario.model_validate(
        {
            "dataform": {"repositories": {REPOSITORY: {"actions": actions}}},
            "powerbi": {"workspaces": [{"name": WORKSPACE, "semantic_models": models}]},
            "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
        }
    )


class Jobs:
    """What the services saw of the tasks' first jobs."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def started(self) -> dict[str, str]:
        """Return task id → id of the first job that it started."""
        found: dict[str, str] = {}
        for entry in self._ledger.entries():
            if entry.operation == "refresh_posted":
                found.setdefault(entry.detail["name"], entry.resource)
            elif entry.operation == "create_workflow_invocation":
                (action,) = entry.detail["actions"]
                found.setdefault(action.rpartition(".")[2], entry.resource)
        return found

    def cancelled_at(self, task: Task) -> datetime | None:
        """Return when the service accepted the cancel of a task's job; None where there was none."""
        job = self.started().get(task.task_id)
        cancels = (entry.at for entry in self._ledger.entries(resource=job) if job and entry.operation in _CANCELS)
        at = next(cancels, None)
        return None if at is None else datetime.fromisoformat(at)


class LiveAirflow:
    """The Airflow in which people end tasks."""

    def __init__(self, world: World) -> None:
        self._airflow = world.airflow
        self._jobs = Jobs(world.emulators.ledger)

    def _instances(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        rows = {
            row["task_id"]: row
            for workflow_id in {task.workflow_id for task in tasks}
            for row in self._airflow.task_instances(workflow_id, RUN_ID)
        }
        return [rows[task.task_id] for task in tasks]

    def start(self) -> None:
        """Start all tasks, and wait until each is where it is to be ended."""
        for way in WAYS:
            self._airflow.wait_for_dag(_workflow_id(way))
        for way in WAYS:
            self._airflow.trigger(_workflow_id(way), RUN_ID)
        in_worker, deferred = tasks_of("in_worker"), tasks_of(*(way for way in WAYS if way != "in_worker"))

        def there() -> bool:
            return (
                len(self._jobs.started()) == len(in_worker) + len(deferred)
                and None not in self._owners(deferred)
                and all(row["state"] == "running" for row in self._instances(in_worker))
            )

        def explain() -> str:
            return ", ".join(f"{row['task_id']} {row['state']}" for row in self._instances([*in_worker, *deferred]))

        self._airflow.wait_for(there, _STARTED_SECONDS, "all tasks to wait for their jobs", explain=explain)

    def _owners(self, tasks: Sequence[Task]) -> list[int | None]:
        """Return the job id of the triggerer in which each task waits; None where there is none."""
        owners = [row["triggerer_job"] if row["state"] == "deferred" else None for row in self._instances(tasks)]
        return [None if owner is None else int(owner["id"]) for owner in owners]

    def seconds(self, tasks: Sequence[Task], act: Callable[[Task], None]) -> list[float]:
        """
        Let a person act on one task, wait for the cancel of its job, and go on to the next; returns the seconds of each.

        :raises RuntimeError: a job was cancelled before anybody asked for it.
        """
        seconds = []
        for task in tasks:
            # Who notices looks at intervals; without a pause of chance length all would meet it at the same point of one.
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311  # a moment of no meaning
            if self._jobs.cancelled_at(task):
                raise RuntimeError(f"The job of {task.task_id} was cancelled before its task was ended.")
            acted_at = datetime.now(UTC)
            act(task)
            seconds.append((self._cancel_of(task) - acted_at).total_seconds())
        return seconds

    def _cancel_of(self, task: Task) -> datetime:
        """Wait for the cancel of a task's job and return its moment."""
        at = self._airflow.wait_for(lambda: self._jobs.cancelled_at(task), _CANCELLED_SECONDS, f"the cancel of {task.task_id}")
        assert at is not None
        return at

    def mark_failed(self, task: Task) -> None:
        """Do what the button on the task's page does."""
        path = f"/dags/{task.workflow_id}/dagRuns/{RUN_ID}/taskInstances/{task.task_id}"
        self._airflow.rest("PATCH", path, json={"new_state": "failed"})

    def clear(self, task: Task) -> None:
        """Do what the button on the task's page does."""
        body = {"dry_run": False, "dag_run_id": RUN_ID, "task_ids": [task.task_id], "only_failed": False}
        self._airflow.rest("POST", f"/dags/{task.workflow_id}/clearTaskInstances", json=body)

    def end_triggerer(self, signum: signal.Signals) -> None:
        """End the triggerer; by SIGKILL, as where its machine is lost."""
        self._airflow.kill("triggerer", signum, children=signum == signal.SIGKILL)

    def replace_triggerer(self, signum: signal.Signals, tasks: Sequence[Task]) -> tuple[int, float]:
        """
        End the triggerer and start another one.

        :return: how many of the tasks' jobs had been cancelled when the new one had adopted all of them, and seconds until then.
        """
        before = set(self._owners(tasks))
        began = time.monotonic()
        self.end_triggerer(signum)
        self._airflow.start_component("triggerer")
        self._airflow.wait_for(
            lambda: not ({None, *before} & set(self._owners(tasks))), _ADOPTED_SECONDS, "the new triggerer to adopt the tasks"
        )
        return sum(self._jobs.cancelled_at(task) is not None for task in tasks), time.monotonic() - began


def run(folder: Path) -> Iterator[Result]:
    """Yield the seconds until the cancel, the longest of each way, and how many jobs the end of a triggerer cancels."""
    file = folder / "workflows.yaml"
    file.write_text(yaml.safe_dump(definitions()))
    with (
        PostgresServer() as postgres,
        World(folder / "cancel", definitions=file, scenario=scenario(), postgres=postgres, environment=_TASKS_AT_ONCE) as world,
    ):
        airflow = LiveAirflow(world)
        airflow.start()

        def figure(name: str, way: str, act: Callable[[Task], None], goal: AtMost | None) -> Result:
            return Result(f"cancel.{name}", "s", airflow.seconds(tasks_of(way), act), goal, "maximum")

        yield figure("task_in_triggerer", "deferred", airflow.mark_failed, PROMISED)
        yield figure("task_in_worker", "in_worker", airflow.mark_failed, PROMISED)

        waiting = tasks_of("no_triggerer", "cleared")
        for signum in (signal.SIGTERM, signal.SIGKILL):
            cancelled, seconds = airflow.replace_triggerer(signum, waiting)
            yield Result(f"cancel.triggerer_{signum.name}.jobs_cancelled", f"of {len(waiting)} jobs", [cancelled], NONE)
            yield Result(f"cancel.triggerer_{signum.name}.adopted_after", "s", [seconds])

        airflow.end_triggerer(signal.SIGKILL)
        yield figure("no_triggerer", "no_triggerer", airflow.mark_failed, PROMISED_OF_RECONCILER)
        yield figure("no_triggerer.task_cleared", "cleared", airflow.clear, None)
