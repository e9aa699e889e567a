"""What a storm of remote jobs intends, fixed by its seed before anything runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario

Kind = Literal["dataform", "power_bi"]
Person = Literal["kill", "clear while it runs", "clear after its end"]

WORKSPACE = "11111111-1111-4111-8111-111111111111"
TASKS_OF_WORKFLOW = 10
RUNS_OF_WORKFLOW = 2
NEVER = 3600
"""Seconds of a job that only a cancel ends."""


@dataclass(frozen=True)
class Job:
    """
    The job of one task in one run.

    :param seconds: how long it runs at its service.
    :param person: what a person does to its task, at most one thing.
    :param wait: seconds between the start of the job, or its end, and what the person does.
    :param foreign: whether somebody else refreshes the same model.
    """

    workflow_id: str
    batch_id: str
    task_id: str
    kind: Kind
    seconds: int
    person: Person | None = None
    wait: float = 0.0
    foreign: bool = False

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
        if self.kind == "power_bi":
            return f"22222222-2222-4222-{self.batch_id}-{int(self.task_id[1:]):012d}"
        return f"{self.batch_id}_{self.task_id}"

    @property
    def repository(self) -> str:
        return f"projects/demo-project/locations/europe-west3/repositories/{self.workflow_id}"


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
                models.append({"id": job.name, "name": f"{job.batch_id}.{job.task_id}", "seconds": job.seconds})
            else:
                action = {"target": {"name": job.name}, "seconds": job.seconds}
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
            workflow = workflows.setdefault(
                job.workflow_id,
                {
                    "workflow_id": job.workflow_id,
                    "default_args": {"retries": 100, "retry_delay_seconds": 2},
                    "tasks": {},
                },
            )
            workflow["tasks"][job.task_id] = {
                "task_id": job.task_id,
                "task_type": "dataform" if job.kind == "dataform" else "power_bi_refresh",
                "config": {**_config(job), "initial_wait": 6, "poll_interval": 3},
            }
        return {"workflows": [{**flow, "tasks": list(flow["tasks"].values())} for flow in workflows.values()]}


def _config(job: Job) -> dict[str, Any]:
    if job.kind == "power_bi":
        model = job.name.replace(f"-{job.batch_id}-", "-{{ batch_id }}-")
        return {"workspace": WORKSPACE, "semantic_model": model, "refresh": {"type": "full"}}
    return {
        "project_id": "demo-project",
        "region": "europe-west3",
        "repository_id": job.workflow_id,
        "git_commitish": "main",
        "included_targets": ["{{ batch_id }}_{{ task_id }}"],
    }


def make_plan(seed: int, count: int, *, kills: int, clears: int, shortest: int = 5, longest: int = 40) -> Plan:
    """
    Return the plan of a seed.

    :param count: how many jobs; half of them refreshes, half invocations.
    :param kills: tasks that a person marks failed.
    :param clears: tasks that a person clears, two thirds of them while they run.
    :param shortest: seconds of the shortest job, and ``longest`` of the longest.
    """
    chance = random.Random(seed)
    places = [(number // TASKS_OF_WORKFLOW, number % TASKS_OF_WORKFLOW) for number in range(-(-count // RUNS_OF_WORKFLOW))]
    chosen = chance.sample(range(count), kills + clears)
    persons: dict[int, Person] = dict.fromkeys(chosen[:kills], "kill")
    for order, number in enumerate(chosen[kills:]):
        persons[number] = "clear after its end" if order % 3 == 0 else "clear while it runs"
    jobs = []
    for number in range(count):
        workflow, task = places[number // RUNS_OF_WORKFLOW]
        kind: Kind = "power_bi" if task % 2 else "dataform"
        person = persons.get(number)
        seconds = chance.randint(shortest, longest)
        if person == "kill":
            seconds = NEVER
        elif person == "clear while it runs":
            seconds = 120 + longest  # the cancel comes before, also where a killed process takes its time to be missed
        jobs.append(
            Job(
                workflow_id=f"storm_{workflow:02d}",
                batch_id=f"{8000 + number % RUNS_OF_WORKFLOW:04d}",
                task_id=f"t{workflow * TASKS_OF_WORKFLOW + task:04d}",
                kind=kind,
                seconds=seconds,
                person=person,
                wait=chance.uniform(0, 20),
                foreign=kind == "power_bi" and person is None and chance.random() < 0.25,  # a fifth of all models
            )
        )
    return Plan(seed, tuple(jobs))
