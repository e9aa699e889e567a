"""
A storm over the remote jobs of a real Airflow on PostgreSQL: ``make storm``.

A fifth of all calls to the services fails, tokens expire, somebody else refreshes the same models, people end and clear tasks,
and processes of Airflow are killed. What must have come of it is fixed beforehand: see :mod:`tests.storms.plan`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from demo.postgres import PostgresServer
from demo.world import World
from provider.emulators.ledger import Entry, Ledger
from tests.canaries import Canaries, Leak, scan_folder
from tests.storms.command import add_seed_and_folder, home
from tests.storms.outcome import Outcome
from tests.storms.plan import RUNS_OF_WORKFLOW, WORKSPACE, Job, Plan, make_plan

ENVIRONMENT = {
    "AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "0.5",
    "AIRFLOW__CORE__PARALLELISM": "16",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "32",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}
MAPPED_DAG = Path(__file__).with_name("mapped_dag.py")
_KILL_EVERY = 4.0
_USUAL_START_SECONDS = 45.0
"""Of all services and DAGs. Where it takes longer, so does every task, and what is killed faster than it starts never ends."""

_TASK_TITLE = r"airflow worker -- [0-9a-f]{8}-"
"""Of a task's process: the id of the task instance follows. It has the title once Airflow knows that the task runs."""
_EXPIRE_EVERY = 10.0


class JobLedger:
    """The emulators' ledger, read by job."""

    def __init__(self, ledger: Ledger, plan: Plan) -> None:
        self._ledger = ledger
        self._by_name = {job.name: job for job in plan.jobs}
        self._seen = 0
        self.started: dict[Job, list[str]] = {job: [] for job in plan.jobs}
        self.ended: dict[str, str] = {}
        self.foreign: set[str] = set()

    def read(self) -> None:
        """Take in what is new."""
        for entry in self._ledger.entries(after=self._seen):
            self._seen = entry.seq
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        if entry.outcome != "ok":
            return
        if entry.operation == "refresh_posted":
            if "type" in entry.detail["body"]:
                self.started[self._by_name[entry.detail["datasetId"]]].append(entry.resource)
            else:
                self.foreign.add(entry.resource)
        elif entry.operation == "create_workflow_invocation":
            (action,) = entry.detail["actions"]
            self.started[self._by_name[action.rpartition(".")[2]]].append(entry.resource)
        else:
            service, _, how = entry.operation.rpartition("_")
            if service in ("refresh", "workflow_invocation") and how in ("completed", "succeeded", "failed", "cancelled"):
                self.ended[entry.resource] = how

    def wrong(self) -> Iterator[str]:
        """Yield a line for each job that is not as it was intended."""
        for job, started in self.started.items():
            how = Counter(self.ended.get(one, "running") for one in started)
            good = how["completed"] + how["succeeded"]
            if (len(started), how["cancelled"], good) != (job.starts, job.cancels, job.starts - job.cancels):
                yield (
                    f"{job.place} ({job.kind}, {job.person or 'left alone'}): intended "
                    f"{job.starts} starts, {job.cancels} cancelled; found {len(started)}: {dict(how)}"
                )
        yield from (f"foreign refresh {one}: {self.ended.get(one)}" for one in self.foreign if self.ended.get(one) == "cancelled")


class Chaos(threading.Thread):
    """
    Kills processes at random and lets tokens expire, until told to stop.

    :param kill_every: seconds between two kills, on average.
    """

    def __init__(self, world: World, plan: Plan, kill_every: float) -> None:
        super().__init__(name="chaos", daemon=True)
        self._kill_every = kill_every
        self._airflow = world.airflow
        self._tokens = world.emulators.tokens
        self._chance = random.Random(plan.seed)
        self.kills: Counter[str] = Counter()
        self.expired = 0
        self.enough = threading.Event()

    def run(self) -> None:
        next_expiry = 0.0
        while not self.enough.wait(self._chance.uniform(0.5, 1.5) * self._kill_every):
            if time.monotonic() > next_expiry:
                self._tokens.expire_all()
                self.expired += 1
                next_expiry = time.monotonic() + _EXPIRE_EVERY
            what = self._chance.choices(("task", "worker", "triggerer"), (6, 2, 2))[0]
            if what == "triggerer":
                self._airflow.kill("triggerer", signal.SIGKILL, children=True)
                self._airflow.start_component("triggerer")
            elif not self._kill_one(worker=what == "worker"):
                continue
            self.kills[what] += 1

    def _kill_one(self, *, worker: bool) -> bool:
        found = self._airflow.titled(_TASK_TITLE)
        # Of few processes few are killed, or the last task would never get anywhere.
        if len(found) < self._chance.randint(1, 6):
            return False
        task = self._chance.choice(found)
        try:
            if worker:
                return _kill_worker_of(task)
            task.kill()
        except psutil.NoSuchProcess:
            return False
        return True


def _kill_worker_of(task: psutil.Process) -> bool:
    """
    Kill the executor's process that supervises a task; return whether the task still ran.

    It is stopped before the look, as elsewhere its death is beyond mending: with a task that it has taken from the executor's
    queue and not begun, the LocalExecutor waits for ever (``scheduler.task_queued_timeout`` knows only executors that can revoke
    a task), and with the lock of a queue in its hands all other workers do.
    """
    supervisor = task.parent()
    if supervisor is None:
        return False
    supervisor.suspend()
    if task.is_running() and task.status() != psutil.STATUS_ZOMBIE:
        supervisor.kill()
        return True
    supervisor.resume()
    return False


class Stranger(threading.Thread):
    """Refreshes models that are none of its business, once each, with an own client."""

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(name="stranger", daemon=True)
        self._chance = random.Random(plan.seed)
        self._models = [job.name for job in plan.jobs if job.foreign]
        self._chance.shuffle(self._models)
        self._world = world
        self.enough = threading.Event()

    def run(self) -> None:
        """Go through the models; a busy one, or a call that fails, is left for later."""
        emulators = self._world.emulators
        with httpx.Client(base_url=emulators.powerbi_url, verify=str(emulators.ca_file), trust_env=False) as client:
            waiting = list(self._models)
            while waiting and not self.enough.wait(self._chance.uniform(0.2, 1.0)):
                model = waiting.pop(0)
                try:
                    answer = client.post(
                        f"/v1.0/myorg/groups/{WORKSPACE}/datasets/{model}/refreshes",
                        json={"notifyOption": "NoNotification"},
                        headers={"Authorization": f"Bearer {emulators.tokens.issue()}"},
                    )
                except httpx.TransportError:
                    waiting.append(model)
                else:
                    if not answer.is_success:
                        waiting.append(model)


class Person:
    """Marks and clears tasks when the plan says so; the UI's calls."""

    def __init__(self, world: World, ledger: JobLedger, plan: Plan) -> None:
        self._world = world
        self._ledger = ledger
        self._todo = [job for job in plan.jobs if job.person]
        self._at: dict[Job, float] = {}
        self.acted: Counter[str] = Counter()

    @property
    def done(self) -> bool:
        return not self._todo

    def act(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for job in list(self._todo):
            started = self._ledger.started[job]
            if not started or (job.person == "clear after its end" and not self._succeeded(job, started[0])):
                continue
            if now >= self._at.setdefault(job, now + job.wait):
                self._do(job)
                self._todo.remove(job)

    def _succeeded(self, job: Job, job_id: str) -> bool:
        return job_id in self._ledger.ended and self._state(job) == "success"

    def _state(self, job: Job) -> str:
        return str(self._world.airflow.rest("GET", _path(job))["state"])

    def _do(self, job: Job) -> None:
        self.acted[f"{job.person} ({self._state(job)})"] += 1
        if job.person == "kill":
            self._world.airflow.rest("PATCH", _path(job), json={"new_state": "failed"})
        else:
            instance = job.task_id if job.map_index < 0 else [job.task_id, job.map_index]
            body = {"dry_run": False, "dag_run_id": job.batch_id, "task_ids": [instance], "only_failed": False}
            self._world.airflow.rest("POST", f"/dags/{job.workflow_id}/clearTaskInstances", json=body)


def _path(job: Job) -> str:
    path = f"/dags/{job.workflow_id}/dagRuns/{job.batch_id}/taskInstances/{job.task_id}"
    return path if job.map_index < 0 else f"{path}/{job.map_index}"


def run_storm(folder: Path, plan: Plan, postgres: PostgresServer, *, timeout: float) -> Outcome:
    """
    Make a storm and compare.

    :param folder: gets the Airflow home.
    :param timeout: seconds until what has not ended counts as wrong.
    """
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump(plan.definitions()))
    began = time.monotonic()
    with World(folder, definitions=definitions, scenario=plan.scenario(), postgres=postgres, environment=ENVIRONMENT) as world:
        (world.dags / "storm_mapped.json").write_text(json.dumps(plan.mapped()))
        shutil.copy(MAPPED_DAG, world.dags)
        runs = sorted({(job.workflow_id, job.batch_id) for job in plan.jobs})
        world.wait_for_dags({workflow for workflow, _ in runs})
        slowness = max(1.0, (time.monotonic() - began) / _USUAL_START_SECONDS)
        for run in runs:
            world.airflow.trigger(*run)
        ledger = JobLedger(world.emulators.ledger, plan)
        person = Person(world, ledger, plan)
        chaos, stranger = Chaos(world, plan, slowness * _KILL_EVERY), Stranger(world, plan)
        chaos.start()
        stranger.start()
        ended = _watch(world, plan, ledger, person, chaos, began + timeout)
        stranger.enough.set()
        chaos.enough.set()
        stranger.join()
        chaos.join()
        wrong = [] if ended else [f"not everything had ended after {timeout:.0f} s"]
        wrong += _verdict(world, plan, ledger)
        wrong += [f"{leak.canary} in {leak.where}" for leak in _leaks(world)]
        figures = _figures(world, plan, ledger, person, chaos, time.monotonic() - began)
    return Outcome(figures, wrong)


def _watch(world: World, plan: Plan, ledger: JobLedger, person: Person, chaos: Chaos, deadline: float) -> bool:
    """Let the person act until all runs have ended and nothing runs at the services; return whether that came in time."""
    runs = {(job.workflow_id, job.batch_id) for job in plan.jobs}
    while time.monotonic() < deadline:
        ledger.read()
        person.act()
        running = [one for started in ledger.started.values() for one in started if one not in ledger.ended]
        left = len(running) + sum(max(0, job.starts - len(started)) for job, started in ledger.started.items())
        if person.done and left <= len(plan.jobs) // 20:
            chaos.enough.set()  # the last ones may end in peace
            if not running and all(world.airflow.run_state(*run) in ("success", "failed") for run in runs):
                return True
        time.sleep(0.5)
    return False


def _verdict(world: World, plan: Plan, ledger: JobLedger) -> Iterator[str]:
    ledger.read()
    yield from ledger.wrong()
    states = {
        (job_run, row["task_id"], row["map_index"]): row["state"]
        for job_run in {(job.workflow_id, job.batch_id) for job in plan.jobs}
        for row in world.airflow.task_instances(*job_run)
    }
    for job in plan.jobs:
        state = states[(job.workflow_id, job.batch_id), job.task_id, job.map_index]
        if state != ("failed" if job.person == "kill" else "success"):
            yield f"{job.place} is {state}"
    world.airflow.wait_for(lambda: world.join().equal, 60, "TaskLog to say what Airflow says", explain=lambda: str(world.join()))


def _leaks(world: World) -> list[Leak]:
    """Return the secrets that can be read in Airflow's home or in a database: Entra's client secret and all access tokens."""
    canaries = Canaries()
    for client in world.emulators.scenario.powerbi.clients:
        canaries.plant(f"secret of client {client.client_id}", client.client_secret)
    for number, token in enumerate(world.emulators.tokens.issued()):
        canaries.plant(f"access token {number}", token)
    leaks = scan_folder(world.home, canaries)
    return leaks + canaries.in_database(world.airflow_url) + canaries.in_database(world.database_url)


def _figures(world: World, plan: Plan, ledger: JobLedger, person: Person, chaos: Chaos, seconds: float) -> dict[str, Any]:
    rules = world.emulators.rules.describe()
    how = Counter(ledger.ended[one] for started in ledger.started.values() for one in started if one in ledger.ended)
    return {
        "seed": plan.seed,
        "jobs": len(plan.jobs),
        "runs": len({(job.workflow_id, job.batch_id) for job in plan.jobs}),
        "starts intended": sum(job.starts for job in plan.jobs),
        "starts found": sum(len(started) for started in ledger.started.values()),
        "ended": dict(how),
        "cancels intended": sum(job.cancels for job in plan.jobs),
        "of mapped tasks": sum(job.map_index >= 0 for job in plan.jobs),
        "models also refreshed by somebody else": sum(job.foreign for job in plan.jobs),
        "foreign refreshes": len(ledger.foreign),
        "calls": max(rule["seen"] for rule in rules if rule["service"] == "powerbi")
        + max(rule["seen"] for rule in rules if rule["service"] == "dataform"),
        "calls that failed": sum(rule["hits"] for rule in rules if rule["service"] != "entra"),
        "token expiries": chaos.expired,
        "secrets looked for": len(world.emulators.tokens.issued()) + len(world.emulators.scenario.powerbi.clients),
        "SIGKILLs": dict(chaos.kills),
        "what people did (in state)": dict(sorted(person.acted.items())),
        "task instances joined with TaskLog": world.join().rows,
        "seconds": round(seconds),
    }


def main(arguments: list[str] | None = None) -> int:
    """Make a storm of a size and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--clears", type=int, default=30)
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds")
    add_seed_and_folder(parser)
    options = parser.parse_args(arguments)
    plan = make_plan(options.seed, options.jobs, kills=options.kills, clears=options.clears)
    print(f"Storm {plan.seed}: {len(plan.jobs)} jobs, {RUNS_OF_WORKFLOW} runs of each workflow …", flush=True)
    with home(options.folder, "storm-") as folder, PostgresServer() as postgres:
        return run_storm(folder, plan, postgres, timeout=options.timeout).tell()


if __name__ == "__main__":
    sys.exit(main())
