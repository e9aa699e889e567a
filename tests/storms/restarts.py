"""
Failed batches run again in a real Airflow on PostgreSQL: ``make restarts``.

Random workflows fail where their remote jobs do; then ``accelerator restart`` and the page's button run them again, by batch, by
task, all that failed, some while Airflow itself still retries. Which tasks that must be is fixed beforehand
(:mod:`tests.storms.restarts_plan`) and compared with the preview, with what Airflow has run and with what the services have seen.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from demo.postgres import PostgresServer
from demo.world import World
from provider.metadata.states import STATUS_OF_TASK_STATE
from tests.storms.command import add_seed_and_folder, home
from tests.storms.outcome import Outcome
from tests.storms.plan import MAPPED_WORKFLOW
from tests.storms.remote_jobs import MAPPED_DAG
from tests.storms.restarts_plan import Plan, Restart, Run, make_plan
from tests.storms.restarts_verdict import Look, deviations, touched
from tests.storms.restarts_world import RestartDatabases
from tests.storms.scopes_definition import BATCH_WATCHER, BLOCKED, FAILED, SKIPPED, SUCCESS
from tests.storms.scopes_world import RunKey

ENVIRONMENT = {
    "AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "0.5",
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
}
MIRROR_SECONDS = 60.0
"""After that, what the tables do not say they will not say."""
PERSON = "bob"
"""Who restarts, with the role that the documentation asks for."""

_MANY = "1000"

Preview = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """
    A restart of a run that was asked for.

    :param before: what there was then.
    :param preview: what was said beforehand.
    :param retrying: the runs of which Airflow was about to try a task again.
    """

    run: Run
    turn: int
    before: Look
    preview: Preview
    retrying: Set[RunKey]

    @property
    def restart(self) -> Restart:
        """What it must do."""
        return self.run.restarts[self.turn]


@dataclass(frozen=True)
class Done:
    """A restart whose batch has ended again."""

    asked: Asked
    after: Look

    @property
    def came(self) -> tuple[int, int, int]:
        """Of what had to run again: how many have started a job, skipped themselves, and are blocked once more."""
        after, places = self.after, self.asked.restart.runs
        states = Counter(after.instances[place].state for place in places)
        return sum(after.jobs[place] != self.asked.before.jobs[place] for place in places), states[SKIPPED], states[BLOCKED]


class Restarts:
    """
    Lets batches fail, runs them again and compares.

    :param seconds: that batches may take until they have failed, or ended again.
    """

    def __init__(self, world: World, plan: Plan, *, seconds: float) -> None:
        self._world = world
        self._plan = plan
        self._seconds = seconds
        self._databases = RestartDatabases(world, plan)
        self._asked: list[Asked] = []
        self.done: list[Done] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        """Do all of it."""
        try:
            for run in self._plan.runs:
                self._world.airflow.trigger(*run.key, run.conf)
            again = tuple(run for run in self._plan.runs if len(run.restarts) > 1)
            if self._go_on(list(self._plan.groups), turn=0) and again:
                self._go_on([again], turn=1)
            self.wrong += [f"nobody has cancelled anything, and there is a {line}" for line in self._databases.cancels()]
        finally:
            self._databases.close()

    def _go_on(self, groups: list[tuple[Run, ...]], *, turn: int) -> bool:
        """Restart each group as soon as that may be, and wait until all have ended; return whether they did in time."""
        deadline = time.monotonic() + self._seconds
        while groups or self._asked:
            if time.monotonic() > deadline:
                late = [*(run for group in groups for run in group), *(one.run for one in self._asked)]
                self.wrong += [f"{_place(run, turn)}: not ended: {self._databases.task_states(run.key)}" for run in late]
                self._asked.clear()
                return False
            for group in list(groups):
                if self._may_restart(group, turn):
                    groups.remove(group)
                    self._restart(group, turn)
            for asked in list(self._asked):
                if self._databases.has_ended(asked.run):
                    self._asked.remove(asked)
                    self._judge(asked)
            time.sleep(0.3)
        return True

    def _may_restart(self, group: tuple[Run, ...], turn: int) -> bool:
        """Tell whether all have ended, or what is to be restarted has failed while Airflow tries another task again."""
        if group[0].restarts[turn].way != "while it retries":
            return all(self._databases.has_ended(run) for run in group)
        return all(_waits_for_a_retry(run, self._databases.look(run)) for run in group)

    def _restart(self, group: tuple[Run, ...], turn: int) -> None:
        before = {run.key: self._databases.look(run) for run in group}
        retrying = self._databases.retrying()
        command = _command(group, turn)
        previews = self._previews(group, command, turn)
        if command is None:
            sent = {key: preview["body"] for key, preview in previews.items()}
            for (workflow_id, _batch_id), body in sent.items():
                self._world.airflow.rest("POST", f"/dags/{quote(workflow_id)}/clearTaskInstances", json=body, person=PERSON)
        else:
            sent = {key: preview["body"] for key, preview in self._say(*command).items()}
        for run in group:
            preview = previews.pop(run.key, None)
            if preview is None:
                self.wrong.append(f"{_place(run, turn)}: the preview does not have it")
                continue
            if sent.get(run.key) != preview["body"]:
                self.wrong.append(f"{_place(run, turn)}: the preview says {preview['body']}, and sent is {sent.get(run.key)}")
            self._asked.append(Asked(run, turn, before[run.key], preview, retrying))
        self.wrong += [f"the preview of {' '.join(command or ())} has {key}, which must not run again" for key in previews]

    def _previews(self, group: tuple[Run, ...], command: tuple[str, ...] | None, turn: int) -> dict[RunKey, Preview]:
        """Return what is said beforehand; the page and the command must say the same."""
        pages = {} if group[0].restarts[turn].tasks else {run.key: page for run in group if (page := self._page(run))}
        if command is None:
            return pages
        said = self._say(*command, "--dry-run")
        for key, page in pages.items():
            # What succeeds meanwhile, stays as well.
            if key in said and {**page, "keeps": 0} != {**said[key], "keeps": 0}:
                self.wrong.append(f"{key}: the page says {page}, and the command {said[key]}")
        if "--workflow" in command:
            newest = list(self._say(*command, "--dry-run", "--limit", "1"))
            if newest != [group[-1].key]:
                self.wrong.append(f"the newest of {' '.join(command)} is {newest}, intended {group[-1].key}")
        return said

    def _say(self, *command: str) -> dict[RunKey, Preview]:
        try:
            said = json.loads(self._world.accelerator(*command, "--output", "json"))
        except subprocess.CalledProcessError as error:
            self.wrong.append(f"{' '.join(command)} ends with {error.returncode}: {error.stderr[-500:]}")
            return {}
        return {(preview["workflow_id"], preview["batch_id"]): preview for preview in said}

    def _page(self, run: Run) -> Preview | None:
        params = dict(zip(("dag_id", "run_id"), run.key, strict=True))
        answer = self._world.airflow.client(PERSON).get("/accelerator/api/restart", params=params)
        if answer.is_error:
            self.wrong.append(f"{run.key}: the page says {answer.status_code} {answer.text[:500]}")
            return None
        preview: Preview = answer.json()
        hidden = {name: preview.pop(name) for name in ("more_runs", "more_repeats")}
        if any(hidden.values()):
            self.wrong.append(f"{run.key}: the page does not show {hidden}")
        return preview

    def _judge(self, asked: Asked) -> None:
        """Compare, once the tables have it all."""
        deadline = time.monotonic() + MIRROR_SECONDS
        while not (after := self._databases.look(asked.run)).mirrored() and time.monotonic() < deadline:
            time.sleep(0.3)
        lines = deviations(asked.run, asked.turn, asked.before, asked.preview, after)
        self.wrong += [f"{_place(asked.run, asked.turn)}: {line}" for line in lines]
        self.done.append(Done(asked, after))


def _waits_for_a_retry(run: Run, look: Look) -> bool:
    """Tell whether all that must fail has, the record has it too, and what Airflow tries again has begun."""
    restart = run.restarts[0]
    failed = {**restart.runs, **({BATCH_WATCHER: "upstream_failed"} if restart.watcher else {})}
    for place, state in failed.items():
        instance = look.instances.get(place)
        if instance is None or instance.state != state or STATUS_OF_TASK_STATE[state] != instance.newest_status:
            return False
    return all(look.instances[place].state == "up_for_retry" or len(look.jobs[place]) > 1 for place in run.retried)


def _command(group: tuple[Run, ...], turn: int) -> tuple[str, ...] | None:
    """Return the command that restarts a group; None where the page does."""
    restart = group[0].restarts[turn]
    match restart.way:
        case "the page":
            return None
        case "--failed of a workflow":
            return ("restart", "--failed", "--workflow", group[0].workflow_id)
        case "--failed":
            return ("restart", "--failed", "--limit", _MANY)
    return ("restart", group[0].batch_id, *(word for task in restart.tasks for word in ("--task", task)))


def _place(run: Run, turn: int) -> str:
    return f"{run.workflow_id} {run.batch_id}, {run.restarts[turn].way}"


def run_restarts(folder: Path, plan: Plan, postgres: PostgresServer, *, timeout: float) -> Outcome:
    """
    Run all batches of a plan, restart them, and compare.

    :param folder: gets the Airflow home.
    :param timeout: seconds in which all batches must have failed and ended again, and then once more.
    """
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump(plan.definitions()))
    people = {"ann": "ADMIN", PERSON: "USER"}
    scenario = plan.scenario()
    with World(
        folder, definitions=definitions, scenario=scenario, postgres=postgres, environment=ENVIRONMENT, people=people
    ) as world:
        world.airflow.set_environment(AIRFLOW_CONN_AIRFLOW_API=world.airflow.api_connection(PERSON))
        if mapped := plan.mapped():
            (world.dags / "storm_mapped.json").write_text(json.dumps(mapped))
            shutil.copy(MAPPED_DAG, world.dags)
        world.wait_for_dags({run.workflow_id for run in plan.runs})
        began = time.monotonic()
        restarts = Restarts(world, plan, seconds=timeout)
        restarts.run()
        seconds = time.monotonic() - began
        world.airflow.wait_for(
            lambda: world.join().equal, 60, "TaskLog to say what Airflow says", explain=lambda: str(world.join())
        )
        figures = {**_figures(plan, restarts.done), "tries joined with TaskLog": world.join().rows, "seconds": round(seconds)}
    return Outcome(figures, restarts.wrong)


def _figures(plan: Plan, done: Sequence[Done]) -> dict[str, Any]:
    runs = plan.runs
    lives = [touched(one.asked.run, one.asked.turn, one.asked.before, one.after) for one in done]
    restarts = [one.asked.restart for one in done]
    return {
        "seed": plan.seed,
        "batches, workflows": (len(runs), len({run.workflow_id for run in runs})),
        "with scope from or only": sum(bool(run.wish.starts) for run in runs),
        "with mapped tasks": sum(run.workflow_id == MAPPED_WORKFLOW for run in runs),
        "tasks, edges": (sum(len(run.tasks) for run in runs), sum(len(run.edges) for run in runs)),
        "out of scope or disabled": sum(
            place not in run.scope or not task.enabled for run in runs for place, task in run.tasks.items()
        ),
        "at first failed": sum(len(run.in_state(FAILED)) for run in runs),
        "blocked": sum(len(run.in_state(BLOCKED)) for run in runs),
        "succeeded": sum(len(run.in_state(SUCCESS)) for run in runs),
        "restarts by way": dict(Counter(restart.way for restart in restarts)),
        "while another batch retried": sum(bool(one.asked.retrying - {one.asked.run.key}) for one in done),
        "while it retried itself": sum(one.asked.run.key in one.asked.retrying for one in done),
        "to run again by plan, by preview": (
            sum(len(restart.runs) for restart in restarts),
            sum(len(one.asked.preview["runs"]) for one in done),
        ),
        "ran again, skipped themselves, blocked once more": tuple(map(sum, zip(*(one.came for one in done), strict=True))),
        "remote jobs of kept tasks": sum(jobs for jobs, _ in lives),
        "of these touched": sum(changed for _, changed in lives),
        "remote jobs started": sum(len(jobs) for one in _last(done) for jobs in one.after.jobs.values()),
        "ended": dict(Counter(one.after.batch_status for one in _last(done))),
    }


def _last(done: Sequence[Done]) -> list[Done]:
    """Return the last restart of each run."""
    return list({one.asked.run.key: one for one in done}.values())


def main(arguments: list[str] | None = None) -> int:
    """Restart batches of a seed and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds of all first restarts, and of all second ones")
    add_seed_and_folder(parser)
    options = parser.parse_args(arguments)
    plan = make_plan(options.seed, options.batches)
    print(f"Restarts {plan.seed}: {len(plan.runs)} batches …", flush=True)
    with home(options.folder, "restarts-") as folder, PostgresServer() as postgres:
        return run_restarts(folder, plan, postgres, timeout=options.timeout).tell()


if __name__ == "__main__":
    sys.exit(main())
