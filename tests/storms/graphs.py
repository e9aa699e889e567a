"""
Graphs of scientific workflows, and whether Airflow has them and runs them in their order: ``make graphs``.

WfCommons draws graphs with the structure of workflows that ran on clusters. Each becomes rows by ``accelerator import``; what the
dag-processor stores has to have exactly its edges. One more, smaller, is run; no task may start before each task that it follows
has ended.

.. seealso:: https://docs.wfcommons.org/en/latest/generating_workflows.html
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from demo.pinned_environment import PinnedEnvironment
from demo.postgres import PostgresServer
from demo.world import World
from tests.storms.command import add_seed_and_folder, home
from tests.storms.outcome import Outcome

#: Its pins do not go together with Airflow's.
RECIPES = PinnedEnvironment(".venv-recipes", Path(__file__).with_name("graph_recipes.txt"))
NAMES = ("Blast", "Bwa", "Cycles", "Epigenomics", "Genome", "Montage", "Seismology", "Soykb", "Srasearch")
#: The one that is run.
RUN = "Montage"
#: Airflow ends such a task where it would start another one, so that the order of hundreds is seen within minutes.
OPERATOR = "airflow.providers.standard.operators.empty.EmptyOperator"
ENVIRONMENT = {
    "AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS": OPERATOR,
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
}
_DRAW = """
import importlib, json, random, sys
import numpy
from wfcommons import WorkflowGenerator
seed, wanted = int(sys.argv[1]), json.loads(sys.argv[2])
graphs = []
for name, tasks in wanted:
    random.seed(seed)
    numpy.random.seed(seed)
    recipe = getattr(importlib.import_module(f"wfcommons.wfchef.recipes.{name.lower()}"), f"{name}Recipe")
    graph = WorkflowGenerator(recipe.from_num_tasks(tasks)).build_workflow()
    graphs.append({"name": name, "tasks": sorted(graph.nodes), "edges": sorted(graph.edges)})
print(json.dumps(graphs))
"""


@dataclass(frozen=True)
class Graph:
    """
    A workflow: its tasks, and the edges from each to those that follow it.

    :param workflow_id: its beginning is that of all its task ids, which are different in all workflows.
    """

    workflow_id: str
    tasks: tuple[str, ...]
    edges: frozenset[tuple[str, str]]

    def definition(self) -> dict[str, Any]:
        """Return the workflow as a file has it."""
        parents: dict[str, list[str]] = {task: [] for task in self.tasks}
        for parent, child in sorted(self.edges):
            parents[child].append(parent)
        tasks = [
            {"task_id": task, "task_type": "operator", "config": {"operator": OPERATOR}, "depends_on": above}
            for task, above in parents.items()
        ]
        return {"workflow_id": self.workflow_id, "tasks": tasks}


def draw(seed: int, wanted: Collection[tuple[str, int]]) -> list[Graph]:
    """
    Draw graphs; the same ones for the same seed.

    :param wanted: names of recipes, and about how many tasks each graph is to have.
    """
    drawn = json.loads(RECIPES.ensure().run("-c", _DRAW, str(seed), json.dumps([*wanted])))
    return [_graph(one["name"], one["tasks"], one["edges"]) for one in drawn]


def _graph(name: str, tasks: Iterable[str], edges: Iterable[tuple[str, str]]) -> Graph:
    workflow_id = f"{name.lower()}_{len(tasks := [*tasks])}"
    ids = {task: f"{workflow_id}.{task}" for task in tasks}
    return Graph(workflow_id, tuple(ids.values()), frozenset((ids[parent], ids[child]) for parent, child in edges))


def foreign_edges(graph: Graph, stored: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """
    Yield a line for each task or edge that Airflow has and the graph has not, or the other way round.

    :param stored: the tasks of the DAG, as Airflow's API lists them; tasks of ours beside those of the graph are looked over.
    """
    below = {task["task_id"]: task["downstream_task_ids"] for task in stored}
    yield from (f"{graph.workflow_id}: Airflow has no task {task}" for task in graph.tasks if task not in below)
    known = set(graph.tasks)
    found = {(task, child) for task in below for child in below[task] if {task, child} <= known}
    for what, edges in (("no edge", graph.edges - found), ("an edge", found - graph.edges)):
        yield from (f"{graph.workflow_id}: Airflow has {what} {parent} → {child}" for parent, child in sorted(edges))


def disorder(graph: Graph, instances: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """
    Yield a line for each task that has not succeeded, and for each that began before one that it follows had ended.

    :param instances: the task instances of a run, as Airflow's API lists them.
    """
    found = {one["task_id"]: one for one in instances}
    for task in graph.tasks:
        if (state := found.get(task, {}).get("state")) != "success":
            yield f"{graph.workflow_id}: {task} is {state or 'not there'}"
    for parent, child in sorted(graph.edges):
        ended, began = found.get(parent, {}).get("end_date"), found.get(child, {}).get("start_date")
        if not ended or not began or datetime.fromisoformat(began) < datetime.fromisoformat(ended):
            yield f"{graph.workflow_id}: {child} began at {began}, and {parent} ended at {ended}"


def longest_path(graph: Graph) -> int:
    """Return how many tasks the longest chain of the graph has."""
    above: dict[str, set[str]] = {task: set() for task in graph.tasks}
    for parent, child in graph.edges:
        above[child].add(parent)
    remaining, length = set(graph.tasks), 0
    while remaining:
        later = {task for task in remaining if above[task] & remaining}
        assert later < remaining, f"{graph.workflow_id} has a cycle"
        remaining, length = later, length + 1
    return length


def run_graphs(folder: Path, graphs: Collection[Graph], run: Graph, postgres: PostgresServer, *, timeout: float) -> Outcome:
    """
    Import graphs, compare what Airflow stores, run one of them, and compare the order.

    :param timeout: seconds that the run may take.
    """
    definitions = folder / "workflows.json"
    definitions.write_text(json.dumps({"workflows": [graph.definition() for graph in (*graphs, run)]}), encoding="utf-8")
    with World(folder, definitions=definitions, postgres=postgres, environment=ENVIRONMENT) as world:
        began = time.monotonic()
        world.wait_for_dags(graph.workflow_id for graph in (*graphs, run))
        stored = time.monotonic() - began
        wrong: list[str] = []
        for graph in (*graphs, run):
            listed = world.airflow.rest("GET", f"/dags/{quote(graph.workflow_id)}/tasks")["tasks"]
            wrong += foreign_edges(graph, listed)
        began = time.monotonic()
        world.airflow.trigger(run.workflow_id, "whole")
        world.airflow.wait_for_run(run.workflow_id, "whole", timeout)
        ran = time.monotonic() - began
        wrong += disorder(run, world.airflow.task_instances(run.workflow_id, "whole"))
        world.airflow.wait_for(
            lambda: world.join().equal, 60, "TaskLog to say what Airflow says", explain=lambda: str(world.join())
        )
        rows = world.join().rows
    figures = {
        **{f"{graph.workflow_id}: tasks, edges, longest path": _size(graph) for graph in graphs},
        f"run: {run.workflow_id}": _size(run),
        "edges compared with what Airflow stored": sum(len(graph.edges) for graph in (*graphs, run)),
        "edges whose order was seen": len(run.edges),
        "tries joined with TaskLog": rows,
        "seconds until Airflow had all DAGs": round(stored),
        "seconds of the run": round(ran),
    }
    return Outcome(figures, wrong)


def _size(graph: Graph) -> tuple[int, int, int]:
    return len(graph.tasks), len(graph.edges), longest_path(graph)


def main(arguments: list[str] | None = None) -> int:
    """Draw graphs of a seed and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2100, help="about how many tasks each graph has")
    parser.add_argument("--run", type=int, default=750, help="about how many the one has that is run")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds the run may take")
    add_seed_and_folder(parser)
    options = parser.parse_args(arguments)
    *graphs, run = draw(options.seed, [*((name, options.tasks) for name in NAMES), (RUN, options.run)])
    print(f"Graphs {options.seed}: {len(graphs)} of {min(len(graph.tasks) for graph in graphs)} tasks or more …", flush=True)
    with home(options.folder, "graphs-") as folder, PostgresServer() as postgres:
        return run_graphs(folder, graphs, run, postgres, timeout=options.timeout).tell()


if __name__ == "__main__":
    sys.exit(main())
