"""
Which tasks of a batch run, in which order and with what end: the definition, in terms of networkx.

It knows nothing of the product's code and does not look at Airflow; :mod:`tests.storms.scopes_verdict` compares the two.

- Requested are all tasks (``workflow``), the starts and their descendants (``downstream``) or the starts alone (``task``).
- A task in scope that is enabled runs once all its parents *in scope* have ended, and only if each of them is a success. One
  behind a parent that is disabled or skipped is skipped, unless its ``on_parent_skip`` is ``run``; one behind a parent that
  failed, or is blocked, is blocked.
- What is out of scope or disabled never runs.
- The batch has failed if a task of it has failed or is blocked. Airflow looks at the last tasks alone, of which ``batch_watcher``
  is one, a child of all that have children; so after a clear without what is downstream it is they that count.

After a clear the same holds for what was cleared, given the states that all others have. One thing Airflow decides without
asking: a cleared task behind one that failed or is blocked is blocked, be it out of scope or disabled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from typing import Literal

import networkx as nx

from tests.storms.scopes_task_type import FAILED_AS_PLANNED, Outcome

START_BATCH = "start_batch"
BATCH_WATCHER = "batch_watcher"

State = Literal["success", "failed", "skipped", "upstream_failed"]
SUCCESS: State = "success"
FAILED: State = "failed"
SKIPPED: State = "skipped"
BLOCKED: State = "upstream_failed"
FAILURES = frozenset({FAILED, BLOCKED})

OUT_OF_SCOPE = "out of scope of this batch"
DISABLED = "the task is disabled"
PARENT_SKIPPED = "parent skipped: "
SKIPPED_ITSELF = "skipped by Airflow's rules or by itself; see the Airflow log of try "
BLOCKED_BY = "blocked by "


@dataclass(frozen=True)
class Task:
    """
    One task.

    :param outcomes: how its executions end, one after the other, over all rounds; the last one for all that follow.
    :param retries: how often it is tried again in a round.
    :param on_parent_skip: ``skip`` or ``run``.
    """

    outcomes: tuple[Outcome, ...] = ("success",)
    enabled: bool = True
    on_parent_skip: Literal["skip", "run"] = "skip"
    retries: int = 0


@dataclass(frozen=True)
class Wish:
    """What a run is asked for: ``starts`` and ``scope`` as in its conf; None for what it does not say."""

    starts: tuple[str, ...] = ()
    scope: Literal["workflow", "downstream", "task"] | None = None

    def tasks(self, graph: nx.DiGraph) -> frozenset[str]:
        """Return the tasks that are requested."""
        scope = self.scope or ("downstream" if self.starts else "workflow")
        if scope == "workflow":
            return frozenset(graph)
        starts = frozenset(self.starts)
        if scope == "task":
            return starts
        return starts.union(*(nx.descendants(graph, start) for start in starts))


def watched(graph: nx.DiGraph) -> nx.DiGraph:
    """Return a workflow's graph with ``batch_watcher``, where it has one."""
    whole = graph.copy()
    whole.add_edges_from((task, BATCH_WATCHER) for task in graph if graph.succ[task])
    return whole


@dataclass(frozen=True)
class Clear:
    """
    What a person clears.

    :param tasks: task ids, ``start_batch`` may be one of them; None for the whole run.
    :param downstream: and everything behind them.
    :param only_failed: of these only what failed or is blocked.
    :param by_command: it is done by ``accelerator restart``, which must choose what failed or is blocked by itself.
    """

    tasks: tuple[str, ...] | None = None
    downstream: bool = False
    only_failed: bool = False
    by_command: bool = False

    def cleared(self, graph: nx.DiGraph, states: Mapping[str, State]) -> frozenset[str]:
        """Return what it clears."""
        if self.tasks is None or (self.downstream and START_BATCH in self.tasks):
            chosen = frozenset({START_BATCH, *watched(graph)})
        else:
            chosen = frozenset(self.tasks)
            if self.downstream:
                chosen = chosen.union(*(nx.descendants(watched(graph), task) for task in self.tasks))
        return frozenset(task for task in chosen if states.get(task) in FAILURES) if self.only_failed else chosen


#: What ``accelerator restart`` has to clear.
RESTART = Clear(only_failed=True, by_command=True)


@dataclass(frozen=True)
class Reason:
    """
    What ``error_message`` of a task's TaskLog must be.

    :param begins: its beginning, or all of it where there are no ``names``.
    :param names: tasks of which it must name one or more after that, and no others.
    """

    begins: str
    exact: bool = True
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Round:
    """
    What must have come of a round: of the run's first one, or of one after a clear.

    :param ran: task → how each of its executions in this round ended.
    :param states: the state of every task at its end.
    :param reasons: for tasks that this round left failed, skipped or blocked.
    :param order: edges of which both ends ran.
    """

    ran: Mapping[str, tuple[Outcome, ...]]
    states: Mapping[str, State]
    reasons: Mapping[str, Reason]
    order: frozenset[tuple[str, str]]
    run_state: State


class Batch:
    """
    A run, round by round.

    :param graph: edges from parent to child.
    :param tasks: a task for each of its nodes.
    """

    def __init__(self, graph: nx.DiGraph, tasks: Mapping[str, Task], wish: Wish) -> None:
        self.graph = graph
        self.tasks = tasks
        self.scope = wish.tasks(graph)
        self.states: dict[str, State] = {}
        self._executions = dict.fromkeys(graph, 0)
        self._reasons: dict[str, Reason] = {}

    def first_round(self) -> Round:
        """Run what was asked for."""
        return self._round(frozenset({START_BATCH, *self.graph}))

    def clear(self, clear: Clear) -> Round:
        """Clear and run what that lets run."""
        return self._round(clear.cleared(self.graph, self.states))

    def _round(self, cleared: Set[str]) -> Round:
        self._reasons = {}
        ran: dict[str, tuple[Outcome, ...]] = {}
        left_out = {task for task in self.graph if task not in self.scope or not self.tasks[task].enabled}
        for task in cleared - {START_BATCH}:
            self.states.pop(task, None)
        whole = watched(self.graph)
        if START_BATCH in cleared:
            # It skips what it leaves out, before any of that could be looked at.
            for task in left_out:
                if self.states.get(task) != SKIPPED:
                    self._skip(task, self._left_out_reason(task))
        for task in nx.topological_sort(self.graph):
            if task in self.states:
                continue
            parents = set(self.graph.predecessors(task))
            if any(self.states[parent] in FAILURES for parent in parents):
                self.states[task] = BLOCKED
                self._reasons[task] = Reason(BLOCKED_BY, names=self._failed_above(task))
            elif task in left_out:
                self._skip(task, self._left_out_reason(task))
            elif skipped := self._skipped_of(task, parents & self.scope):
                self._skip(task, Reason(PARENT_SKIPPED + ", ".join(sorted(skipped))))
            else:
                ran[task] = self._execute(task)
        order = frozenset((parent, child) for parent, child in self.graph.edges if parent in ran and child in ran)
        if BATCH_WATCHER in whole and BATCH_WATCHER not in self.states:
            failed = any(self.states[parent] in FAILURES for parent in whole.pred[BATCH_WATCHER])
            self.states[BATCH_WATCHER] = BLOCKED if failed else SUCCESS
        last_tasks = [task for task in whole if not whole.succ[task]]
        run_state = FAILED if any(self.states[task] in FAILURES for task in last_tasks) else SUCCESS
        states = {task: self.states[task] for task in self.graph}
        return Round(ran, states, self._reasons, order, run_state)

    def _left_out_reason(self, task: str) -> Reason:
        return Reason(DISABLED if task in self.scope else OUT_OF_SCOPE)

    def _skipped_of(self, task: str, parents: Collection[str]) -> set[str]:
        if self.tasks[task].on_parent_skip == "run":
            return set()
        return {parent for parent in parents if self.states[parent] == SKIPPED}

    def _skip(self, task: str, reason: Reason) -> None:
        self.states[task] = SKIPPED
        self._reasons[task] = reason

    def _execute(self, task: str) -> tuple[Outcome, ...]:
        planned = self.tasks[task]
        ended: list[Outcome] = []
        while not ended or (ended[-1] == "fail" and len(ended) <= planned.retries):
            ended.append(planned.outcomes[min(self._executions[task], len(planned.outcomes) - 1)])
            self._executions[task] += 1
        if ended[-1] == "success":
            self.states[task] = SUCCESS
        elif ended[-1] == "skip":
            self._skip(task, Reason(SKIPPED_ITSELF, exact=False))
        else:
            self.states[task] = FAILED
            self._reasons[task] = Reason(FAILED_AS_PLANNED)
        return tuple(ended)

    def _failed_above(self, task: str) -> frozenset[str]:
        """
        Return the failed tasks that block this one, be it through others that they block.

        Where what had failed is cleared and succeeds, and what it had blocked is not cleared: the parents that are blocked.
        """
        blocked = [one for one in self.graph if self.states.get(one) in FAILURES or one == task]
        above = nx.ancestors(self.graph.subgraph(blocked), task)
        failed = frozenset(one for one in above if self.states[one] == FAILED)
        return failed or frozenset(parent for parent in self.graph.predecessors(task) if self.states[parent] == BLOCKED)
