"""Random batches that fail, and what running them again must do, fixed by a seed before anything runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

import networkx as nx

from provider.emulators.scenario import Scenario
from tests.storms import plan as remote_jobs
from tests.storms.plan import MAPPED_TASK, MAPPED_WORKFLOW, Job, Kind
from tests.storms.scopes_definition import BATCH_WATCHER, BLOCKED, FAILED, FAILURES, SUCCESS, Batch, Clear, Round, Task, Wish
from tests.storms.scopes_plan import random_graph
from tests.storms.scopes_task_type import Outcome

Way = Literal["one batch", "the page", "--task", "--failed of a workflow", "while it retries", "--failed"]

#: What is restarted together, in turn: how, how many batches of one workflow, and whether that one has mapped tasks.
_GROUPS: tuple[tuple[Way, int, bool], ...] = (
    ("--failed of a workflow", 2, False),
    ("while it retries", 1, False),
    ("--task", 1, False),
    ("--task", 1, True),
    ("one batch", 1, False),
    ("the page", 1, False),
    ("--failed of a workflow", 2, False),
    ("one batch", 1, True),
)
_OUTCOMES: tuple[tuple[int, tuple[Outcome, ...]], ...] = (
    # weight, ends of the executions, the last one for all that follow
    (66, ("success",)),
    (20, ("fail", "success")),
    (9, ("fail", "fail", "success")),
    (5, ("fail",)),
)
_INSTANCES = 3
"""Of each mapped task."""
_SCOPED = 3
"""Every third batch is one of a part of its workflow."""
_DRAWS = 10_000
"""After so many a wish that no chance fulfils is a mistake."""


@dataclass(frozen=True)
class Restart:
    """
    Running a batch again, and what must come of it.

    :param tasks: what ``--task`` names; empty for all that failed.
    :param runs: what must run again → its state before.
    :param watcher: whether ``batch_watcher`` is blocked, and must be asked again.
    :param executions: of each task, from the first round on.
    """

    way: Way
    tasks: tuple[str, ...]
    runs: Mapping[str, str]
    watcher: bool
    intended: Round
    executions: Mapping[str, int]


@dataclass(frozen=True)
class Run:
    """
    A batch. A task, or an instance of a mapped one, goes by its place: ``a``, ``a[0]``.

    :param jobs: place → its remote jobs.
    :param first: what must have come of it before it is restarted.
    :param restarts: one after the other; after the last one nothing is restarted, whatever has failed again.
    """

    workflow_id: str
    batch_id: str
    tasks: Mapping[str, Task]
    jobs: Mapping[str, Job]
    edges: tuple[tuple[str, str], ...]
    wish: Wish
    scope: frozenset[str]
    first: Round
    restarts: tuple[Restart, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What Airflow calls it."""
        return self.workflow_id, self.batch_id

    @property
    def conf(self) -> dict[str, Any]:
        """The conf of its DAG run."""
        return {"start_task_id": list(self.wish.starts), "scope": self.wish.scope} if self.wish.starts else {}

    @property
    def retried(self) -> frozenset[str]:
        """What Airflow itself tries again in the first round, with success."""
        return frozenset(place for place, ended in self.first.ran.items() if ended == ("fail", "success"))

    def in_state(self, state: str) -> frozenset[str]:
        """Return what is in a state at the end of the first round."""
        return frozenset(place for place, found in self.first.states.items() if found == state)


@dataclass(frozen=True)
class Plan:
    """
    A storm.

    :param groups: runs that one command restarts.
    :param retry_delay: seconds until Airflow tries a task again.
    """

    seed: int
    groups: tuple[tuple[Run, ...], ...]
    retry_delay: int

    @property
    def runs(self) -> tuple[Run, ...]:
        """All of them, in the order in which they are started."""
        return tuple(run for group in self.groups for run in group)

    def job_plan(self) -> remote_jobs.Plan:
        """Return the jobs as the ledger of the other storm reads them."""
        jobs = tuple(job for run in self.runs for job in run.jobs.values())
        return remote_jobs.Plan(self.seed, jobs, calls_that_fail=0.0)

    def scenario(self) -> Scenario:
        """Return what the emulators know."""
        return self.job_plan().scenario()

    def definitions(self) -> dict[str, Any]:
        """Return the workflows to import."""
        runs = {run.workflow_id: run for run in self.runs if run.workflow_id != MAPPED_WORKFLOW}
        return {"workflows": [self._definition(run) for run in runs.values()]}

    def _definition(self, run: Run) -> dict[str, Any]:
        return {
            "workflow_id": run.workflow_id,
            "default_args": {"retry_delay_seconds": self.retry_delay},
            "tasks": [
                {
                    **remote_jobs.definition(run.jobs[place]),
                    "enabled": task.enabled,
                    "on_parent_skip": task.on_parent_skip,
                    "retries": task.retries,
                    "depends_on": sorted(parent for parent, child in run.edges if child == place),
                }
                for place, task in sorted(run.tasks.items())
            ],
        }

    def mapped(self) -> dict[str, Any] | None:
        """Return what ``mapped_dag.py`` makes its DAG of; None where no group has it."""
        run = next((run for run in self.runs if run.workflow_id == MAPPED_WORKFLOW), None)
        if run is None:
            return None
        jobs = tuple(run.jobs.values())
        return {**remote_jobs.Plan(self.seed, jobs).mapped(), "retries": 0}


def make_plan(seed: int, batches: int, *, sizes: tuple[int, int] = (6, 12), retry_delay: int = 40) -> Plan:
    """
    Return the plan of a seed.

    :param sizes: the smallest and the largest number of tasks of a workflow.
    :param retry_delay: seconds until Airflow tries a task again.
    """
    chance = random.Random(seed)
    numbers = iter(range(8000, 8000 + batches))
    groups: list[tuple[Run, ...]] = []
    for way, count, mapped in cycle(_GROUPS):
        ids = [f"{number:04d}" for _, number in zip(range(count), numbers, strict=False)]
        if not ids:
            return Plan(seed, tuple(groups), retry_delay)
        groups.append(_group(chance, way, ids, sizes, None if mapped else f"r{len(groups):02d}"))
    raise AssertionError("the groups come again and again")


def _group(
    chance: random.Random, way: Way, ids: Sequence[str], sizes: tuple[int, int], workflow_id: str | None
) -> tuple[Run, ...]:
    """Return runs of a new workflow, or of the mapped one where it has no id."""
    for _ in range(_DRAWS):
        if workflow_id is None:
            graph, rows, kinds = _mapped_tasks()
        else:
            graph = random_graph(chance, workflow_id, sizes)
            rows = {place: _row(chance) for place in sorted(graph)}
            kinds = {place: chance.choice(("dataform", "power_bi")) for place in rows}
        runs = [_run(chance, way, workflow_id or MAPPED_WORKFLOW, batch_id, graph, rows, kinds) for batch_id in ids]
        found = tuple(run for run in runs if run is not None)
        if len(found) == len(runs):
            return found
    raise AssertionError(f"no workflow fits {way!r}")


def _mapped_tasks() -> tuple[nx.DiGraph, dict[str, Task], dict[str, Kind]]:
    kinds: dict[str, Kind] = {f"{task}[{index}]": kind for kind, task in MAPPED_TASK.items() for index in range(_INSTANCES)}
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(kinds)
    return graph, dict.fromkeys(kinds, Task()), kinds


def _row(chance: random.Random) -> Task:
    """Return what a task is in all batches."""
    return Task(
        enabled=chance.random() > 0.12,
        on_parent_skip="run" if chance.random() < 0.3 else "skip",
        retries=1 if chance.random() < 0.25 else 0,
    )


def _run(
    chance: random.Random,
    way: Way,
    workflow_id: str,
    batch_id: str,
    graph: nx.DiGraph,
    rows: Mapping[str, Task],
    kinds: Mapping[str, Kind],
) -> Run | None:
    """Return a run that fails as its restart needs it; None where chance gave another one."""
    mapped = workflow_id == MAPPED_WORKFLOW
    wish = Wish() if mapped or int(batch_id) % _SCOPED else _wish(chance, sorted(graph))
    tasks = {place: _with_outcomes(chance, row) for place, row in rows.items()}
    seconds = {place: chance.choice((1, 1, 1, 2, 3, 8)) for place in rows}
    batch = Batch(graph, tasks, wish)
    first = batch.first_round()
    if not (mapped or BLOCKED in first.states.values()) or not _fits(way, graph, tasks, first):
        return None
    named = _named(chance, batch) if way == "--task" else ()
    jobs = {
        place: _job(workflow_id, batch_id, place, number, kinds[place], seconds[place], tasks[place])
        for number, place in enumerate(rows)
    }
    restarts = tuple(_restarts(batch, first, way, named))
    return Run(workflow_id, batch_id, tasks, jobs, tuple(sorted(graph.edges)), wish, batch.scope, first, restarts)


def _wish(chance: random.Random, places: Sequence[str]) -> Wish:
    starts = tuple(chance.sample(places, chance.randint(1, 3)))
    return Wish(starts, chance.choices(("downstream", "task"), (70, 30))[0])


def _with_outcomes(chance: random.Random, row: Task) -> Task:
    (outcomes,) = chance.choices([ended for _, ended in _OUTCOMES], [weight for weight, _ in _OUTCOMES])
    return Task(outcomes, row.enabled, row.on_parent_skip, row.retries)


def _fits(way: Way, graph: nx.DiGraph, tasks: Mapping[str, Task], first: Round) -> bool:
    states = Counter(first.states.values())
    if not states[FAILED] or not states[SUCCESS]:
        return False
    failed = {place for place, state in first.states.items() if state == FAILED}
    if way == "--task":
        return len(failed) > 1
    if way == "while it retries":
        retried = {place for place, ended in first.ran.items() if ended == ("fail", "success")}
        after = {place for one in retried for place in nx.descendants(graph, one)}
        return bool(retried) and not (failed & after) and not any(tasks[place].retries for place in failed)
    return True


def _named(chance: random.Random, batch: Batch) -> tuple[str, ...]:
    """Return what ``--task`` names: a task that failed, or now and then one that is blocked."""
    state = BLOCKED if BLOCKED in batch.states.values() and chance.random() < 0.2 else FAILED
    return (chance.choice(sorted({task_of(place) for place in batch.graph if batch.states[place] == state})),)


def _restarts(batch: Batch, first: Round, way: Way, named: tuple[str, ...]) -> Iterator[Restart]:
    """Yield the restart of a way, and one of what then has failed still or again."""
    executions = Counter({place: len(ended) for place, ended in first.ran.items()})
    for one, tasks in ((way, named), ("--failed", ())):
        runs = to_run(batch, tasks)
        if not runs:
            return
        watcher = batch.states.get(BATCH_WATCHER) in FAILURES
        intended = batch.clear(Clear((*runs, *([BATCH_WATCHER] if watcher else ()))))
        executions += Counter({place: len(ended) for place, ended in intended.ran.items()})
        yield Restart(one, tasks, runs, watcher, intended, dict(executions))


def to_run(batch: Batch, tasks: Iterable[str]) -> dict[str, str]:
    """Return what failed or is blocked; of named tasks these, and what is blocked by them, be it through others."""
    failures: dict[str, str] = {place: batch.states[place] for place in batch.graph if batch.states[place] in FAILURES}
    if not tasks:
        return failures
    chosen = {place for place in failures if task_of(place) in tasks}
    blocked = {place for place, state in failures.items() if state == BLOCKED}
    for place in sorted(chosen):
        chosen |= nx.descendants(batch.graph.subgraph({place, *blocked}), place)
    return {place: state for place, state in failures.items() if place in chosen}


def _job(workflow_id: str, batch_id: str, place: str, number: int, kind: Kind, seconds: int, task: Task) -> Job:
    name, _, index = place.removesuffix("]").partition("[")
    failing = None if task.outcomes[-1] == "fail" else task.outcomes.count("fail")
    return Job(workflow_id, batch_id, name, int(index or -1), number, kind, seconds, failing=failing)


def task_of(place: str) -> str:
    """Return the id of the task that a place belongs to."""
    return place.partition("[")[0]
