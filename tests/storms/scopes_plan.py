"""Random workflows, starts and clears, fixed by a seed before anything runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import networkx as nx

from tests.storms.scopes_definition import (
    FAILURES,
    RESTART,
    START_BATCH,
    Batch,
    Clear,
    Round,
    Task,
    Wish,
)
from tests.storms.scopes_task_type import NAME, Outcome

SECOND_ROUND = 0.9
THIRD_ROUND = 0.3
"""Shares of the runs of which something is cleared, and of these once more."""

_LIVES: tuple[tuple[int, int, tuple[Outcome, ...]], ...] = (
    # weight, retries, outcomes
    (64, 0, ("success",)),
    (3, 0, ("skip",)),
    (3, 0, ("skip", "success")),
    (3, 0, ("success", "skip")),
    (5, 0, ("fail",)),
    (6, 0, ("fail", "success")),
    (5, 0, ("success", "fail")),
    (7, 1, ("fail", "success")),
    (2, 1, ("fail",)),
    (2, 1, ("success", "fail", "success")),
)


@dataclass(frozen=True)
class Step:
    """
    A clear and what must come of it.

    :param kind: what a person would call it.
    :param clear: None for the run's first round.
    """

    kind: str
    clear: Clear | None
    intended: Round


@dataclass(frozen=True)
class Workflow:
    """
    A workflow and its one run.

    :param scope: the tasks in scope.
    :param steps: the first round, and one for each clear.
    """

    workflow_id: str
    batch_id: str
    edges: tuple[tuple[str, str], ...]
    tasks: dict[str, Task]
    seconds: dict[str, float]
    wish: Wish
    conf: dict[str, Any]
    scope: frozenset[str]
    steps: tuple[Step, ...]

    def definition(self) -> dict[str, Any]:
        """Return the workflow as ``accelerator import`` takes it."""
        return {
            "workflow_id": self.workflow_id,
            "tasks": [
                {
                    "task_id": task_id,
                    "task_type": NAME,
                    "enabled": task.enabled,
                    "on_parent_skip": task.on_parent_skip,
                    "retries": task.retries,
                    "retry_delay_seconds": 1,
                    "depends_on": sorted(parent for parent, child in self.edges if child == task_id),
                    "config": {"outcomes": list(task.outcomes), "seconds": self.seconds[task_id]},
                }
                for task_id, task in sorted(self.tasks.items())
            ],
        }


@dataclass(frozen=True)
class Plan:
    """All workflows of a seed."""

    seed: int
    workflows: tuple[Workflow, ...]

    def definitions(self) -> dict[str, Any]:
        """Return the file to import."""
        return {"workflows": [workflow.definition() for workflow in self.workflows]}


def make_plan(seed: int, graphs: int) -> Plan:
    """Return the plan of a seed."""
    chance = random.Random(seed)
    return Plan(seed, tuple(_random_workflow(chance, f"g{number:03d}") for number in range(graphs)))


def make_workflow(
    workflow_id: str,
    batch: Batch,
    wish: Wish,
    clears: Iterable[tuple[str, Clear]],
    *,
    conf: dict[str, Any],
    seconds: Mapping[str, float],
) -> Workflow:
    """
    Return a workflow and what must come of it, round by round.

    :param batch: no round of it has run yet; those that are looked at by *clears* have, when it is asked for the next one.
    :param clears: what to clear, and how to call it.
    :param seconds: how long each task takes.
    """
    steps = [Step("start", None, batch.first_round())]
    steps += [Step(kind, clear, batch.clear(clear)) for kind, clear in clears]
    return Workflow(
        workflow_id=workflow_id,
        batch_id=f"batch_{workflow_id}",
        edges=tuple(sorted(batch.graph.edges)),
        tasks=dict(batch.tasks),
        seconds=dict(seconds),
        wish=wish,
        conf=conf,
        scope=batch.scope,
        steps=tuple(steps),
    )


def _random_workflow(chance: random.Random, workflow_id: str) -> Workflow:
    graph = random_graph(chance, workflow_id, (4, 8))
    tasks = {task_id: _task(chance) for task_id in sorted(graph)}
    wish = _wish(chance, sorted(graph))
    batch = Batch(graph, tasks, wish)
    seconds = {task_id: round(chance.uniform(0.0, 0.8), 1) for task_id in tasks}
    return make_workflow(workflow_id, batch, wish, _clears(chance, batch), conf=_conf(chance, wish), seconds=seconds)


def _clears(chance: random.Random, batch: Batch) -> Iterator[tuple[str, Clear]]:
    """Yield what is cleared, each time with a look at what the rounds before have left."""
    for share in (SECOND_ROUND, THIRD_ROUND):
        if chance.random() > share:
            return
        yield _clear(chance, batch)


def random_graph(chance: random.Random, workflow_id: str, sizes: tuple[int, int]) -> nx.DiGraph:
    """
    Return a graph without a circle whose ids say nothing about its order.

    :param sizes: the smallest and the largest number of tasks, 26 at most.
    """
    names = [f"{workflow_id}_{letter}" for letter in ascii_lowercase[: chance.randint(*sizes)]]
    chance.shuffle(names)
    density = chance.uniform(0.15, 0.6)
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from(
        (parent, child) for place, child in enumerate(names) for parent in names[:place] if chance.random() < density
    )
    return graph


def _task(chance: random.Random) -> Task:
    (life,) = chance.choices(_LIVES, [weight for weight, _, _ in _LIVES])
    return Task(
        outcomes=life[2],
        retries=life[1],
        enabled=chance.random() > 0.12,
        on_parent_skip="run" if chance.random() < 0.25 else "skip",
    )


def _wish(chance: random.Random, names: Sequence[str]) -> Wish:
    starts = tuple(chance.sample(names, chance.choice((1, 1, 1, 2, 2, 3))))
    return chance.choices(
        (
            Wish(),
            Wish(scope="workflow"),
            Wish(starts, "workflow"),
            Wish(starts),
            Wish(starts, "downstream"),
            Wish(starts, "task"),
        ),
        (25, 5, 5, 30, 20, 15),
    )[0]


def _conf(chance: random.Random, wish: Wish) -> dict[str, Any]:
    """Return the run's conf: as a person writes it, or as Airflow's form fills it in."""
    starts: str | list[str] | None = list(wish.starts) or None
    form = {"start_task_id": starts, "scope": wish.scope}
    if chance.random() < 0.4:
        return form
    if len(wish.starts) == 1 and chance.random() < 0.5:
        form["start_task_id"] = wish.starts[0]
    return {name: value for name, value in form.items() if value is not None}


def _clear(chance: random.Random, batch: Batch) -> tuple[str, Clear]:
    """Return something that a person may clear now, and what it is called."""
    in_scope = sorted(batch.scope)
    enabled = [task for task in in_scope if batch.tasks[task].enabled] or in_scope
    disabled = [task for task in in_scope if not batch.tasks[task].enabled]
    outside = sorted(set(batch.graph) - batch.scope)
    failed = [task for task in sorted(batch.graph) if batch.states[task] in FAILURES]

    def one(tasks: Sequence[str]) -> tuple[str, ...]:
        return (chance.choice(tasks),)

    kinds: list[tuple[int, str, Callable[[], Clear]]] = [
        (20, "one task alone", lambda: Clear(one(enabled))),
        (20, "one with downstream", lambda: Clear(one(enabled), downstream=True)),
        (10, "several", lambda: Clear(tuple(chance.sample(in_scope, min(2, len(in_scope)))), downstream=chance.random() < 0.3)),
        (10, "the whole run", Clear),
        (7, "start_batch alone", lambda: Clear((START_BATCH,))),
        (8, "start_batch and a task", lambda: Clear((START_BATCH, *one(enabled)))),
        (3, "start_batch with downstream", lambda: Clear((START_BATCH,), downstream=True)),
    ]
    if failed:
        kinds.append((12, "only failed", lambda: Clear(only_failed=True)))
        kinds.append((12, "restart", lambda: RESTART))
        kinds.append((8, "one failed with downstream", lambda: Clear(one(failed), downstream=True)))
    if outside:
        kinds.append((12, "one out of scope", lambda: Clear(one(outside), downstream=chance.random() < 0.4)))
    if disabled:
        kinds.append((8, "a disabled one", lambda: Clear(one(disabled), downstream=chance.random() < 0.4)))
    _, kind, choose = chance.choices(kinds, [weight for weight, _, _ in kinds])[0]
    return kind, choose()
