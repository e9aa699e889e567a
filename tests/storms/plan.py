"""What a storm of remote jobs intends, fixed by its seed before anything runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario

Kind = Literal["dataform", "power_bi"]
Person = Literal["kill", "clear while it runs", "clear after its end"]

WORKSPACE = "11111111-1111-4111-8111-111111111111"
TASKS_OF_WORKFLOW = 10
RUNS_OF_WORKFLOW = 2
MAPPED_WORKFLOW = "storm_mapped"
MAPPED_TASK: Mapping[Kind, str] = {"dataform": "invocations", "power_bi": "refreshes"}
RETRIES = 100
RETRY_DELAY_SECONDS = 2
WAITING = {"initial_wait": 6, "poll_interval": 3}
NEVER = 3600
"""Seconds of a job that only a cancel ends."""


@dataclass(frozen=True)
class Job:
    """
    The job of one task instance in one run.

    :param number: of its place in the storm; both runs have the same places.
    :param seconds: how long it runs at its service.
    :param person: what a person does to its task, at most one thing.
    :param wait: seconds between the start of the job, or its end, and what the person does.
    :param foreign: whether somebody else refreshes the same model.
    :param failing: how many of its first jobs the service fails; None: all of them.
    """

    workflow_id: str
    batch_id: str
    task_id: str
    map_index: int
    number: int
    kind: Kind
    seconds: int
    person: Person | None = None
    wait: float = 0.0
    foreign: bool = False
    failing: int | None = 0

    @property
    def starts(self) -> int:
        """How often it is to be started."""
        return 2 if self.person and self.person.startswith("clear") else 1

    @property
    def cancels(self) -> int:
        """How many of its starts are to be cancelled."""
        return 1 if self.person in ("kill", "clear while it runs") else 0

    @property
    def name(self) -> str:
        """What it is called at its service: the id of a semantic model, the name of a Dataform action."""
        return self.name_in(self.batch_id)

    def name_in(self, batch_id: str) -> str:
        """Return the name in another run; ``batch_id`` may be a template."""
        if self.kind == "power_bi":
            return f"22222222-2222-4222-{batch_id}-{self.number:012d}"
        return f"{batch_id}_j{self.number:04d}"

    @property
    def failure(self) -> dict[str, Any]:
        """Its failures, as the emulators' scenario has them."""
        if self.failing == 0:
            return {}
        if self.kind == "power_bi":
            reason = {"errorCode": "ModelRefreshFailed_AsPlanned", "errorDescription": "It fails as planned."}
            return {"fails": reason, "failing_refreshes": self.failing}
        return {"failure_reason": "It fails as planned.", "failing_runs": self.failing}

    @property
    def target(self) -> dict[str, Any]:
        """The arguments of its task that name it, as templates."""
        # Of a hand-written DAG the batch id is the run id; the factory's templates know it by our name.
        name = self.name_in("{{ batch_id }}" if self.map_index < 0 else "{{ run_id }}")
        return {"semantic_model": name} if self.kind == "power_bi" else {"included_targets": [name]}

    @property
    def place(self) -> str:
        """Where it is in Airflow, for people."""
        return f"{self.workflow_id} {self.batch_id} {self.task_id}[{self.map_index}]"

    @property
    def repository_id(self) -> str:
        return self.workflow_id

    @property
    def repository(self) -> str:
        return f"projects/demo-project/locations/europe-west3/repositories/{self.repository_id}"


@dataclass(frozen=True)
class Plan:
    """
    A storm.

    :param jobs: all jobs.
    :param calls_that_fail: share of the calls to the services that are refused, throttled or lost.
    """

    seed: int
    jobs: tuple[Job, ...]
    calls_that_fail: float = 0.2

    def scenario(self) -> Scenario:
        """Return what the emulators know, and the faults."""
        repositories: dict[str, Any] = {}
        models = []
        for job in self.jobs:
            if job.kind == "power_bi":
                name = f"{job.batch_id}.{job.task_id}"
                models.append({"id": job.name, "name": name, "seconds": job.seconds, **job.failure})
            else:
                action = {"target": {"name": job.name}, "seconds": job.seconds, **job.failure}
                repositories.setdefault(job.repository, {"actions": []})["actions"].append(action)
        return Scenario.model_validate(
            {
                "dataform": {"repositories": repositories},
                "powerbi": {"workspaces": [{"id": WORKSPACE, "name": "Storm", "semantic_models": models}]},
                "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
                "rules": [rule.model_dump() for rule in self._faults()],
            }
        )

    def _faults(self) -> Iterator[Rule]:
        """Yield rules that together hit the share of calls that is to fail; the first one that is due hits a call."""
        if not self.calls_that_fail:
            return
        http: list[dict[str, Any]] = [
            {"fault": "status", "http_status": 500},
            {"fault": "status", "http_status": 503},
            {"fault": "status", "http_status": 429, "retry_after": 2},
            {"fault": "drop"},
            {"fault": "drop", "when": "after"},
            {"fault": "status", "http_status": 504, "when": "after"},
        ]
        grpc: list[dict[str, Any]] = [
            {"fault": "status", "grpc_status": "UNAVAILABLE"},
            {"fault": "status", "grpc_status": "INTERNAL"},
            {"fault": "status", "grpc_status": "RESOURCE_EXHAUSTED", "retry_after": 2},
            {"fault": "drop"},
            {"fault": "drop", "when": "after"},
            {"fault": "status", "grpc_status": "DEADLINE_EXCEEDED", "when": "after"},
        ]
        # A rule sees only the calls that the ones before it let pass.
        share = 1 - (1 - self.calls_that_fail) ** (1 / len(http))
        for service, faults in (("powerbi", http), ("dataform", grpc)):
            for number, fault in enumerate(faults):
                yield Rule.model_validate(
                    {"service": service, "probability": share, "seed": self.seed * 100 + number, "times": None, **fault}
                )
        yield Rule(service="entra", match="POST *", probability=0.2, seed=self.seed, times=None, fault="status", http_status=503)

    def definitions(self) -> dict[str, Any]:
        """Return the workflows, as ``accelerator import`` takes them."""
        workflows: dict[str, dict[str, Any]] = {}
        for job in self.jobs:
            if job.map_index >= 0:
                continue
            workflow = workflows.setdefault(
                job.workflow_id,
                {
                    "workflow_id": job.workflow_id,
                    "default_args": {"retries": RETRIES, "retry_delay_seconds": RETRY_DELAY_SECONDS},
                    "tasks": {},
                },
            )
            workflow["tasks"][job.task_id] = definition(job)
        return {"workflows": [{**flow, "tasks": list(flow["tasks"].values())} for flow in workflows.values()]}

    def mapped(self) -> dict[str, Any]:
        """Return what ``mapped_dag.py`` makes its DAG of: one mapped task of each kind."""
        first_run = [job for job in self.jobs if job.map_index >= 0 and job.batch_id == self.jobs[0].batch_id]
        tasks: list[dict[str, Any]] = [
            {
                "task_id": task_id,
                "kind": kind,
                "partial": {**arguments(kind, MAPPED_WORKFLOW), **WAITING},
                "expand": [job.target for job in first_run if job.kind == kind],
            }
            for kind, task_id in MAPPED_TASK.items()
        ]
        return {"dag_id": MAPPED_WORKFLOW, "retries": RETRIES, "retry_delay_seconds": RETRY_DELAY_SECONDS, "tasks": tasks}


def arguments(kind: Kind, repository_id: str) -> dict[str, Any]:
    """Return the arguments that say where jobs of a kind are."""
    if kind == "power_bi":
        return {"workspace": WORKSPACE, "refresh": {"type": "full"}}
    return {
        "project_id": "demo-project",
        "region": "europe-west3",
        "repository_id": repository_id,
        "git_commitish": "main",
    }


def definition(job: Job) -> dict[str, Any]:
    """Return the row of its task, as ``accelerator import`` takes it."""
    return {
        "task_id": job.task_id,
        "task_type": "dataform" if job.kind == "dataform" else "power_bi_refresh",
        "config": {**arguments(job.kind, job.repository_id), **job.target, **WAITING},
    }


def make_plan(seed: int, count: int, *, kills: int, clears: int, shortest: int = 5, longest: int = 40) -> Plan:
    """
    Return the plan of a seed.

    A fifth of the jobs belong to mapped tasks, and a fifth of the models are refreshed by somebody else too.

    :param count: how many jobs; half of them refreshes, half invocations.
    :param kills: tasks that a person marks failed.
    :param clears: tasks that a person clears, two thirds of them while they run.
    :param shortest: seconds of the shortest job, and ``longest`` of the longest.
    """
    chance = random.Random(seed)
    chosen = chance.sample(range(count), kills + clears)
    persons: dict[int, Person] = dict.fromkeys(chosen[:kills], "kill")
    for order, number in enumerate(chosen[kills:]):
        persons[number] = "clear after its end" if order % 3 == 0 else "clear while it runs"
    left_alone = [number for number in range(count) if number not in persons and _kind(number // RUNS_OF_WORKFLOW) == "power_bi"]
    foreign = set(chance.sample(left_alone, min(len(left_alone), max(1, count // 10))))  # half of the jobs have a model
    places = -(-count // RUNS_OF_WORKFLOW)
    first_mapped = places - max(2, places // 5)
    jobs = []
    for number in range(count):
        where = number // RUNS_OF_WORKFLOW
        person = persons.get(number)
        seconds = chance.randint(shortest, longest)
        if person == "kill":
            seconds = NEVER
        elif person == "clear while it runs":
            seconds = 120 + longest  # the cancel comes before, also where a killed process takes its time to be missed
        workflow_id, task_id, map_index = _place(where, first_mapped)
        jobs.append(
            Job(
                workflow_id=workflow_id,
                batch_id=f"{8000 + number % RUNS_OF_WORKFLOW:04d}",
                task_id=task_id,
                map_index=map_index,
                number=where,
                kind=_kind(where),
                seconds=seconds,
                person=person,
                wait=chance.uniform(0, 20),
                foreign=number in foreign,
            )
        )
    return Plan(seed, tuple(jobs))


def _kind(where: int) -> Kind:
    return "power_bi" if where % 2 else "dataform"


def _place(where: int, first_mapped: int) -> tuple[str, str, int]:
    """Return workflow, task and map index of a place."""
    if where < first_mapped:
        return f"storm_{where // TASKS_OF_WORKFLOW:02d}", f"t{where:04d}", -1
    same_kind_before = sum(1 for earlier in range(first_mapped, where) if _kind(earlier) == _kind(where))
    return MAPPED_WORKFLOW, MAPPED_TASK[_kind(where)], same_kind_before
