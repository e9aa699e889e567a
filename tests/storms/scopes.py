"""
Scopes on random graphs in a real Airflow on PostgreSQL: ``make scopes``.

Random workflows get random starts, disabled tasks, tasks that skip themselves or fail, and clears. Which tasks must have run,
in which order and with what end is fixed beforehand (:mod:`tests.storms.scopes_definition`) and compared with what the tasks
wrote down themselves, with Airflow and with the tables, at the end of the run and again after each clear.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from demo.postgres import PostgresServer
from demo.world import World
from tests.storms.command import add_seed_and_folder, home
from tests.storms.outcome import Outcome
from tests.storms.scopes_cases import cases
from tests.storms.scopes_definition import FAILURES, Clear, State
from tests.storms.scopes_events import Event, EventFile
from tests.storms.scopes_plan import Plan, Step, Workflow, make_plan
from tests.storms.scopes_task_type import DISTRIBUTION, RECORDS
from tests.storms.scopes_verdict import Found, deviations
from tests.storms.scopes_world import Databases

ENVIRONMENT = {
    "AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "1",
    "AIRFLOW__CORE__PARALLELISM": "6",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
}
AT_ONCE = 16
"""Runs that are under way."""

MIRROR_SECONDS = 60.0
"""After that, what the tables do not say they will not say."""

_REPOSITORY = Path(__file__).parents[2]


@dataclass
class Course:
    """A run on its way through its rounds."""

    workflow: Workflow
    deadline: float
    turn: int = 0
    seen: int = 0
    ended_at: float | None = None
    events: list[tuple[Step, list[Event]]] = field(default_factory=list)

    @property
    def step(self) -> Step:
        """The round that is under way."""
        return self.workflow.steps[self.turn]

    @property
    def place(self) -> str:
        """Which round it is, for people."""
        clear = self.step.clear
        if clear is None:
            return f"{self.workflow.workflow_id}, round 1"
        names = [task.removeprefix(f"{self.workflow.workflow_id}_") for task in clear.tasks or ("all",)]
        what = " ".join(names) + " with downstream" * clear.downstream + " if failed" * clear.only_failed
        return f"{self.workflow.workflow_id}, round {self.turn + 1} ({self.step.kind}: {what})"


class Courses:
    """Takes all runs through their rounds, some at once."""

    def __init__(self, world: World, plan: Plan, records: Path, *, seconds: float) -> None:
        self._world = world
        self._records = records
        self._seconds = seconds
        self._waiting = list(reversed(plan.workflows))
        self._active: list[Course] = []
        self._databases = Databases(world)
        self.done: list[Course] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        """Go on until every run has ended its last round or was given up."""
        try:
            while self._active or self._waiting:
                while self._waiting and len(self._active) < AT_ONCE:
                    self._start(self._waiting.pop())
                self._look()
                time.sleep(0.3)
        finally:
            self._databases.close()

    def _start(self, workflow: Workflow) -> None:
        self._world.airflow.trigger(workflow.workflow_id, workflow.batch_id, workflow.conf)
        self._active.append(Course(workflow, time.monotonic() + self._seconds))

    def _look(self) -> None:
        states = self._databases.run_states()
        for course in list(self._active):
            key = (course.workflow.workflow_id, course.workflow.batch_id)
            if states.get(key) in ("success", "failed"):
                self._ended(course)
            elif time.monotonic() > course.deadline:
                instances = self._databases.task_states(key)
                self.wrong.append(f"{course.place}: not ended after {self._seconds:.0f} s: run {states.get(key)}, {instances}")
                self._leave(course)

    def _ended(self, course: Course) -> None:
        """Compare, as soon as the tables have it too, and go on to the next round."""
        course.ended_at = course.ended_at or time.monotonic()
        found = self._found(course)
        if not found.mirrored() and time.monotonic() < course.ended_at + MIRROR_SECONDS:
            return
        self.wrong += [f"{course.place}: {line}" for line in deviations(course.workflow, course.step, found)]
        course.events.append((course.step, list(found.events)))
        course.seen += len(found.events)
        if course.turn + 1 == len(course.workflow.steps):
            self._leave(course)
            return
        course.turn += 1
        course.ended_at, course.deadline = None, time.monotonic() + self._seconds
        assert course.step.clear is not None
        self._clear(course.workflow, course.step.clear, course.workflow.steps[course.turn - 1].intended.states)

    def _leave(self, course: Course) -> None:
        self._active.remove(course)
        self.done.append(course)

    def _found(self, course: Course) -> Found:
        workflow = course.workflow
        key = (workflow.workflow_id, workflow.batch_id)
        events = EventFile(self._records, workflow.workflow_id).read()[course.seen :]
        run_state, states = self._databases.run_state(key), self._databases.task_states(key)
        batch, logs = self._databases.stored(key)
        return Found(events, states, run_state, batch, logs)

    def _clear(self, workflow: Workflow, clear: Clear, states: Mapping[str, State]) -> None:
        """Clear as the UI does, or by our command."""
        if clear.by_command:
            self._restart(workflow, {task for task, state in states.items() if state in FAILURES})
            return
        path, run = f"/dags/{quote(workflow.workflow_id)}", workflow.batch_id
        if clear.tasks is None:
            body: dict[str, Any] = {"dry_run": False, "only_failed": clear.only_failed}
            self._world.airflow.rest("POST", f"{path}/dagRuns/{quote(run)}/clear", json=body)
            return
        body = {
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": list(clear.tasks),
            "include_downstream": clear.downstream,
            "only_failed": clear.only_failed,
        }
        self._world.airflow.rest("POST", f"{path}/clearTaskInstances", json=body)

    def _restart(self, workflow: Workflow, intended: Set[str]) -> None:
        """Run what failed or is blocked again, and compare what the command says beforehand."""
        command = ("restart", workflow.batch_id, "--workflow", workflow.workflow_id, "--output", "json")
        (plan,) = json.loads(self._world.accelerator(*command))
        told = {one["task_id"] for one in plan["runs"]}
        if told != intended:
            self.wrong.append(f"{workflow.workflow_id}: restart says that it runs {sorted(told)}, and not {sorted(intended)}")


def run_scopes(folder: Path, plan: Plan, postgres: PostgresServer, *, timeout: float) -> Outcome:
    """
    Run all workflows of a plan, clear what it says, and compare.

    :param folder: gets the Airflow home and the files that the tasks write.
    :param timeout: seconds that a round may take.
    """
    records = folder / "records"
    records.mkdir()
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump(plan.definitions()))
    environment = {**ENVIRONMENT, RECORDS: str(records), "PYTHONPATH": f"{_install(folder / 'site')}:{_REPOSITORY}"}
    people = {"ann": "ADMIN"}
    with World(folder, definitions=definitions, postgres=postgres, environment=environment, people=people) as world:
        world.airflow.set_environment(AIRFLOW_CONN_AIRFLOW_API=world.airflow.api_connection("ann"))
        world.wait_for_dags(workflow.workflow_id for workflow in plan.workflows)
        began = time.monotonic()
        courses = Courses(world, plan, records, seconds=timeout)
        courses.run()
        seconds = time.monotonic() - began
        world.airflow.wait_for(
            lambda: world.join().equal, 60, "TaskLog to say what Airflow says", explain=lambda: str(world.join())
        )
        figures = {**_figures(plan, courses.done), "tries joined with TaskLog": world.join().rows, "seconds": round(seconds)}
    return Outcome(figures, courses.wrong)


def _install(folder: Path) -> Path:
    """Offer the task type by an entry point, as an installed package would."""
    for name, content in DISTRIBUTION.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def _figures(plan: Plan, courses: list[Course]) -> dict[str, Any]:
    steps = [step for workflow in plan.workflows for step in workflow.steps]
    scopes = Counter(workflow.wish.scope or ("downstream" if workflow.wish.starts else "workflow") for workflow in plan.workflows)
    events = [event for course in courses for _, events in course.events for event in events]
    return {
        "seed": plan.seed,
        "graphs": len(plan.workflows),
        "tasks, edges": (
            sum(len(workflow.tasks) for workflow in plan.workflows),
            sum(len(workflow.edges) for workflow in plan.workflows),
        ),
        "runs by scope": dict(scopes),
        "with several starts": sum(len(workflow.wish.starts) > 1 for workflow in plan.workflows),
        "tasks out of scope": sum(len(workflow.tasks) - len(workflow.scope) for workflow in plan.workflows),
        "tasks disabled": sum(not task.enabled for workflow in plan.workflows for task in workflow.tasks.values()),
        "rounds": len(steps),
        "clears": dict(Counter(step.kind for step in steps if step.clear is not None).most_common()),
        "executions intended": sum(len(ended) for step in steps for ended in step.intended.ran.values()),
        "executions found": sum(event.kind == "start" for event in events),
        "of these as retries": sum(len(ended) - 1 for step in steps for ended in step.intended.ran.values()),
        "reasons": dict(_reasons(steps)),
        "edges whose order was seen": sum(len(step.intended.order) for step in steps),
        "rounds that failed as intended": sum(step.intended.run_state == "failed" for step in steps),
    }


def _reasons(steps: list[Step]) -> Iterator[tuple[str, int]]:
    counts = Counter(reason.begins.strip(" :").partition(";")[0] for step in steps for reason in step.intended.reasons.values())
    yield from ((name, count) for name, count in counts.items() if not name.startswith("parent skipped"))
    yield "parent skipped", sum(count for name, count in counts.items() if name.startswith("parent skipped"))


def main(arguments: list[str] | None = None) -> int:
    """Make graphs of a seed and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=200)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a round may take")
    add_seed_and_folder(parser, "the Airflow home and the tasks' files")
    options = parser.parse_args(arguments)
    drawn = make_plan(options.seed, options.graphs)
    plan = Plan(drawn.seed, drawn.workflows + cases())
    print(f"Scopes {plan.seed}: {len(plan.workflows)} graphs …", flush=True)
    with home(options.folder, "scopes-") as folder, PostgresServer() as postgres:
        return run_scopes(folder, plan, postgres, timeout=options.timeout).tell()


if __name__ == "__main__":
    sys.exit(main())
