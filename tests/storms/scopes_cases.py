"""Workflows that chance rarely draws, and that are in every plan: each is about one thing that once went wrong, or could."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import networkx as nx

from tests.storms.scopes_definition import RESTART, START_BATCH, Batch, Clear, Task, Wish
from tests.storms.scopes_plan import Workflow, make_workflow

OFF = Task(enabled=False)
FAILS = Task(("fail",))
FAILS_ONCE = Task(("fail", "success"))
FAILS_LATER = Task(("success", "fail"))


def cases() -> tuple[Workflow, ...]:
    """Return them all."""
    return (
        # While start_batch runs again, its scope is nowhere to be read.
        _case("start_batch_and_another", "a>b a>c a>d a>e", [Clear((START_BATCH, "b", "c", "d", "e"))] * 3),
        _case("start_batch_and_two_in_line", "a>b>c a>d>e", [Clear((START_BATCH, "b", "c", "d", "e"))] * 2),
        # What is disabled says so, whoever skips it.
        _case("disabled", "a>b c>d e", [Clear(("a", "c")), Clear(), Clear()], a=OFF, c=OFF, e=OFF),
        # Airflow blocks what is out of scope or disabled; start_batch skips it again.
        _case(
            "blocked_then_skipped",
            "a>b a>c",
            [Clear(("b", "c")), Clear((START_BATCH,))],
            Wish(("a", "c"), "task"),
            a=FAILS,
            c=OFF,
        ),
        # The children of what has failed are skipped, and the run has failed nevertheless.
        _case("failed_behind_it_disabled", "a>b", [Clear(only_failed=True)], a=FAILS_ONCE, b=OFF),
        _case("failed_behind_it_out_of_scope", "a>b", [Clear()], Wish(("a",), "task"), a=FAILS),
        # Cleared alone.
        _case("failed_alone_succeeds", "a>b", [Clear(("a",))], a=FAILS_ONCE, b=OFF),
        _case("inner_alone_fails", "a>b", [Clear(("a",))], a=FAILS_LATER),
        _case("last_alone_fails", "a>b", [Clear(("b",))], b=FAILS_LATER),
        # The command finds what failed by itself: what fails once, what fails for good, and what is blocked behind them.
        _case("restarted", "a>b>c d>e>c f", [RESTART, RESTART], a=FAILS_ONCE, e=FAILS),
        _case("restarted_leaf", "a>b c", [RESTART], b=FAILS_ONCE),
        _case("blocked_alone", "a>b>c", [Clear(("a",)), Clear(("c",)), Clear(("b",), downstream=True)], a=FAILS_ONCE),
    )


def _case(name: str, edges: str, clears: Sequence[Clear], wish: Wish | None = None, **tasks: Task) -> Workflow:
    """Return a workflow of a graph such as ``a>b b>c d``, all of whose ids get its name before them."""

    def full(task: str) -> str:
        return task if task == START_BATCH else f"{name}_{task}"

    graph: nx.DiGraph = nx.DiGraph()
    for path in edges.split():
        nx.add_path(graph, [full(task) for task in path.split(">")])
    wish = wish or Wish()
    wish = Wish(tuple(map(full, wish.starts)), wish.scope)
    conf = {"start_task_id": list(wish.starts), "scope": wish.scope}
    batch = Batch(graph, {full(task): tasks.get(task, Task()) for path in edges.split() for task in path.split(">")}, wish)
    named = [
        ("restart" if clear.by_command else "clear", replace(clear, tasks=clear.tasks and tuple(map(full, clear.tasks))))
        for clear in clears
    ]
    return make_workflow(name, batch, wish, named, conf=conf, seconds=dict.fromkeys(graph, 0.2))
