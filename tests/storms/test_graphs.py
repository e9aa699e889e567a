"""The verdict on graphs sees an edge too many or too few, and whatever runs out of order."""

from __future__ import annotations

from typing import Any

import pytest

from dag_factory.definition_file import parse
from tests.storms.graphs import Graph, disorder, foreign_edges, longest_path

GRAPH = Graph("g", ("g.a", "g.b", "g.c", "g.d"), frozenset({("g.a", "g.b"), ("g.b", "g.c"), ("g.a", "g.c")}))
STORED = {"start_batch": ["g.a", "g.d"], "g.a": ["g.c", "g.b"], "g.b": ["g.c"], "g.c": ["batch_watcher"], "g.d": []}
TIMES = {"g.a": (0, 1), "g.b": (1, 2), "g.c": (3, 4), "g.d": (0, 9)}


def stored(below: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [{"task_id": task, "downstream_task_ids": children} for task, children in below.items()]


def instances(times: dict[str, tuple[int | None, int | None]], state: str = "success") -> list[dict[str, Any]]:
    def at(second: int | None) -> str | None:
        return None if second is None else f"2026-03-16T04:00:0{second}Z"

    return [
        {"task_id": task, "state": state, "start_date": at(began), "end_date": at(ended)}
        for task, (began, ended) in times.items()
    ]


def test_a_graph_as_it_is_meant_is_right() -> None:
    assert [*foreign_edges(GRAPH, stored(STORED))] == []
    assert [*disorder(GRAPH, instances({**TIMES}))] == []
    assert longest_path(GRAPH) == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"g.b": []}, "g: Airflow has no edge g.b → g.c"),
        ({"g.d": ["g.a"]}, "g: Airflow has an edge g.d → g.a"),
    ],
)
def test_another_edge_is_named(change: dict[str, list[str]], told: str) -> None:
    assert [*foreign_edges(GRAPH, stored({**STORED, **change}))] == [told]


def test_a_task_that_is_not_there_is_named() -> None:
    without = {task: children for task, children in STORED.items() if task != "g.d"}
    assert [*foreign_edges(GRAPH, stored(without))] == ["g: Airflow has no task g.d"]


@pytest.mark.parametrize("times", [(0, 2), (None, 2), (1, None)])
def test_what_runs_out_of_order_is_named(times: tuple[int | None, int | None]) -> None:
    found = [*disorder(GRAPH, instances({**TIMES, "g.b": times}))]
    assert len(found) == 1
    assert "g.b" in found[0]


def test_what_has_not_succeeded_is_named() -> None:
    assert [*disorder(GRAPH, instances({**TIMES}, state="failed"))] == [f"g: g.{task} is failed" for task in "abcd"]
    missing = {task: when for task, when in TIMES.items() if task != "g.d"}
    assert [*disorder(GRAPH, instances({**missing}))] == ["g: g.d is not there"]


def test_a_cycle_is_no_graph() -> None:
    with pytest.raises(AssertionError, match="g has a cycle"):
        longest_path(Graph("g", GRAPH.tasks, GRAPH.edges | {("g.c", "g.a")}))


def test_its_rows_have_its_edges() -> None:
    parsed = parse({"workflows": [GRAPH.definition()]})
    assert parsed.problems == []
    assert {(row["parent_id"], row["child_id"]) for row in parsed.rows.dependencies} == GRAPH.edges
    assert [row["task_id"] for row in parsed.rows.tasks] == [*GRAPH.tasks]
