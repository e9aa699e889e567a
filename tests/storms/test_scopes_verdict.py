"""The definition on graphs small enough to be read, and that the verdict sees every kind of deviation from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import pytest

from provider.metadata.states import STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE
from tests.storms.scopes_cases import cases
from tests.storms.scopes_definition import (
    BLOCKED_BY,
    DISABLED,
    OUT_OF_SCOPE,
    PARENT_SKIPPED,
    START_BATCH,
    Batch,
    Clear,
    Task,
    Wish,
)
from tests.storms.scopes_events import Event, EventFile
from tests.storms.scopes_plan import Step, Workflow, make_plan
from tests.storms.scopes_verdict import Found, Log, deviations

# --- the definition


def batch(edges: str, wish: Wish | None = None, **tasks: Task) -> Batch:
    """Return a batch of a graph such as ``a>b b>c d``."""
    graph: nx.DiGraph = nx.DiGraph()
    for chain in edges.split():
        nx.add_path(graph, chain.split(">"))
    return Batch(graph, {name: tasks.get(name, Task()) for name in graph}, wish or Wish())


OFF = Task(enabled=False)
FAILS = Task(("fail",))
FAILS_ONCE = Task(("fail", "success"))
SKIPS = Task(("skip",))
ANYWAY = Task(on_parent_skip="run")


@pytest.mark.parametrize(
    ("wish", "ran"),
    [
        (Wish(), "abcdef"),
        (Wish(("b",), "workflow"), "abcdef"),
        (Wish(("b",)), "bcd"),
        (Wish(("b", "e"), "downstream"), "bcdef"),
        (Wish(("b", "d"), "task"), "bd"),
    ],
)
def test_what_is_requested_runs(wish: Wish, ran: str) -> None:
    assert sorted(batch("a>b>c>d b>d e>f>d", wish).first_round().ran) == sorted(ran)


@pytest.mark.parametrize(
    ("tasks", "states", "run_state"),
    [
        ({}, "a success, b success, c success, d success", "success"),
        ({"a": FAILS}, "a failed, b upstream_failed, c upstream_failed, d success", "failed"),
        ({"a": SKIPS}, "a skipped, b skipped, c skipped, d success", "success"),
        ({"a": OFF}, "a skipped, b skipped, c skipped, d success", "success"),
        ({"a": OFF, "b": ANYWAY}, "a skipped, b success, c success, d success", "success"),
        ({"a": FAILS, "b": ANYWAY}, "a failed, b upstream_failed, c upstream_failed, d success", "failed"),
        ({"a": FAILS, "b": OFF}, "a failed, b skipped, c skipped, d success", "failed"),
        ({"a": FAILS, "b": OFF, "c": ANYWAY}, "a failed, b skipped, c success, d success", "failed"),
        ({"a": Task(("fail", "success"), retries=1)}, "a success, b success, c success, d success", "success"),
    ],
)
def test_a_child_runs_only_after_success(tasks: dict[str, Task], states: str, run_state: str) -> None:
    came = batch("a>b>c d", None, **tasks).first_round()
    assert ", ".join(f"{task} {state}" for task, state in sorted(came.states.items())) == states
    assert came.run_state == run_state


def test_a_parent_out_of_scope_has_no_say() -> None:
    came = batch("a>b c>b", Wish(("b",)), a=OFF, c=FAILS).first_round()
    assert list(came.ran) == ["b"]
    assert came.reasons["a"].begins == came.reasons["c"].begins == OUT_OF_SCOPE


def test_reasons_and_order() -> None:
    came = batch("a>c b>c c>d e>f f>g", a=SKIPS, b=OFF, e=FAILS).first_round()
    assert came.reasons["b"].begins == DISABLED
    assert came.reasons["c"].begins == f"{PARENT_SKIPPED}a, b"
    assert (came.reasons["g"].begins, came.reasons["g"].names) == (BLOCKED_BY, frozenset({"e"}))
    assert came.order == frozenset()
    assert batch("a>c b>c", Wish(("a",)), b=OFF).first_round().order == {("a", "c")}


@pytest.mark.parametrize(
    ("clear", "ran"),
    [
        (Clear(("a",)), {"a": ("success",)}),
        (Clear(("a",), downstream=True), {"a": ("success",), "b": ("success",)}),
        (Clear(("b",)), {}),
        (Clear(only_failed=True), {"a": ("success",), "b": ("success",)}),
        (Clear(), {"a": ("success",), "b": ("success",), "d": ("success",)}),
        (Clear((START_BATCH,)), {}),
        (Clear((START_BATCH, "d")), {"d": ("success",)}),
        (Clear(("x",), downstream=True), {}),
        (Clear(("o",)), {}),
    ],
)
def test_what_is_cleared_runs_again_where_its_parents_allow(clear: Clear, ran: dict[str, Any]) -> None:
    run = batch("a>b o>x>y d", Wish(("a", "d", "o")), a=FAILS_ONCE, o=OFF)
    assert set(run.first_round().ran) == {"a", "d"}
    assert run.clear(clear).ran == ran


def test_behind_a_failure_airflow_asks_nobody() -> None:
    """A cleared task is blocked even if it is out of scope or disabled, until ``start_batch`` skips it again."""
    run = batch("a>b>c a>d", Wish(("a", "d"), "task"), a=FAILS, d=OFF)
    assert {**run.first_round().states} == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert run.clear(Clear(("b", "d"))).states == {"a": "failed", "b": "upstream_failed", "c": "skipped", "d": "upstream_failed"}
    assert run.clear(Clear(("c",))).states["c"] == "upstream_failed"
    again = run.clear(Clear((START_BATCH,)))
    assert again.states == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert {task: reason.begins for task, reason in again.reasons.items()} == {
        "b": OUT_OF_SCOPE,
        "c": OUT_OF_SCOPE,
        "d": DISABLED,
    }


def test_who_is_to_blame() -> None:
    run = batch("a>c>d b>c", a=FAILS_ONCE, b=FAILS_ONCE)
    assert run.first_round().reasons["d"].names == {"a", "b"}
    run.clear(Clear(("a",)))
    assert run.clear(Clear(("d",))).reasons["d"].names == {"b"}
    run.clear(Clear(("b",)))
    assert run.clear(Clear(("d",))).reasons["d"].names == {"c"}, "nothing has failed any more, and c is blocked still"


def test_every_case_is_another() -> None:
    workflows = cases()
    tasks = [task for workflow in workflows for task in workflow.tasks]
    assert len(tasks) == len(set(tasks))
    assert all(Course(workflow, step).wrong() == [] for workflow in workflows for step in workflow.steps)


# --- the verdict


@dataclass
class Course:
    """What a real Airflow would leave of one round of a plan, and what a test spoils."""

    workflow: Workflow
    step: Step
    events: list[Event] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)
    run_state: str = ""
    row: dict[str, Any] | None = None
    logs: dict[str, Log] = field(default_factory=dict)

    def __post_init__(self) -> None:
        intended, batch_id = self.step.intended, self.workflow.batch_id
        graph: nx.DiGraph = nx.DiGraph(self.workflow.edges)
        graph.add_nodes_from(self.workflow.tasks)
        for task in nx.topological_sort(graph):
            for number, outcome in enumerate(intended.ran.get(task, ()), 1):
                self.events += [Event(batch_id, task, number, kind, outcome, 0.0) for kind in ("start", "end")]
        self.states = {START_BATCH: "success", **intended.states}
        self.run_state = intended.run_state
        self.row = {
            "status": STATUS_OF_RUN_STATE[self.run_state],
            "scope_task_ids": sorted(self.workflow.scope),
            "start_task_ids": list(self.workflow.wish.starts) or None,
        }
        for task, state in self.states.items():
            reason = intended.reasons.get(task)
            message = None if reason is None else reason.begins + ", ".join(sorted(reason.names))
            self.logs[task] = Log(STATUS_OF_TASK_STATE[state], message)

    def found(self) -> Found:
        return Found(self.events, self.states, self.run_state, self.row, self.logs)

    def wrong(self) -> list[str]:
        return list(deviations(self.workflow, self.step, self.found()))

    def task(self, state: str) -> str:
        """Return a task that must end in this state."""
        return next(task for task, found in sorted(self.step.intended.states.items()) if found == state)

    def edit(self, task: str, **changes: Any) -> None:
        self.logs[task] = dataclasses.replace(self.logs[task], **changes)


def courses(seed: int = 3, graphs: int = 40) -> list[Course]:
    return [Course(workflow, step) for workflow in make_plan(seed, graphs).workflows for step in workflow.steps]


@pytest.fixture
def course() -> Course:
    """A round with something of everything."""
    return next(
        course
        for course in courses(graphs=300)
        if {"success", "failed", "skipped", "upstream_failed"} <= set(course.step.intended.states.values())
        and course.step.intended.order
        and len(course.workflow.scope) < len(course.workflow.tasks)
        and course.workflow.wish.starts
    )


def run_one_more(course: Course) -> str:
    task = course.task("skipped")
    course.events.append(Event(course.workflow.batch_id, task, 1, "start", "success", 0.0))
    course.events.append(Event(course.workflow.batch_id, task, 1, "end", "success", 0.0))
    return f"{task} ran and must not"


def run_one_less(course: Course) -> str:
    task = course.task("success")
    course.events = [event for event in course.events if event.task_id != task]
    return f"{task} did not run and must"


def run_twice(course: Course) -> str:
    task = course.task("success")
    course.events += [event for event in course.events if event.task_id == task]
    return f"{task} ran 2 times, intended 1"


def break_off(course: Course) -> str:
    task = course.task("success")
    course.events = [event for event in course.events if (event.task_id, event.kind) != (task, "end")]
    return f"{task} began and did not end"


def begin_too_early(course: Course) -> str:
    parent, child = min(course.step.intended.order)
    course.events.sort(key=lambda event: event.task_id == parent and event.kind == "end")
    return f"{child} began before its parent {parent} had ended"


def end_otherwise(course: Course) -> str:
    task = course.task("upstream_failed")
    course.states[task] = "skipped"
    course.edit(task, status="SKIPPED")
    return f"{task} is skipped, intended upstream_failed"


def forget_a_task(course: Course) -> str:
    task = course.task("success")
    del course.states[task]
    return f"{task} is None, intended success"


def fail_start_batch(course: Course) -> str:
    course.states[START_BATCH] = "failed"
    return f"{START_BATCH} is failed, intended success"


def let_the_run_succeed(course: Course) -> str:
    course.run_state = "success"
    return "the run is success, intended failed"


def let_the_batch_succeed(course: Course) -> str:
    assert course.row
    course.row["status"] = "SUCCESS"
    return "the TaskBatch is SUCCESS, and the run is failed"


def lose_the_batch(course: Course) -> str:
    course.row = None
    return "there is no TaskBatch"


def store_another_scope(course: Course) -> str:
    assert course.row
    course.row["scope_task_ids"] = None
    return "the scope is stored as"


def store_another_start(course: Course) -> str:
    assert course.row
    course.row["start_task_ids"] = None
    return "the starts are stored as None"


def lose_a_log(course: Course) -> str:
    task = course.task("success")
    del course.logs[task]
    return f"{task} has no TaskLog"


def log_otherwise(course: Course) -> str:
    task = course.task("success")
    course.edit(task, status="PROCESSING")
    return f"TaskLog of {task} is PROCESSING, and in Airflow it is success"


def give_another_reason(course: Course) -> str:
    task = course.task("skipped")
    course.edit(task, message="skipped")
    return f"the reason of {task} is 'skipped'"


def give_no_reason(course: Course) -> str:
    task = course.task("failed")
    course.edit(task, message=None)
    return f"the reason of {task} is None"


def blame_another(course: Course) -> str:
    task = course.task("upstream_failed")
    course.edit(task, message=f"{BLOCKED_BY}{task}")
    return f"the reason of {task} is 'blocked by {task}'"


@pytest.mark.parametrize(
    "spoil",
    [
        run_one_more,
        run_one_less,
        run_twice,
        break_off,
        begin_too_early,
        end_otherwise,
        forget_a_task,
        fail_start_batch,
        let_the_run_succeed,
        let_the_batch_succeed,
        lose_the_batch,
        store_another_scope,
        store_another_start,
        lose_a_log,
        log_otherwise,
        give_another_reason,
        give_no_reason,
        blame_another,
    ],
)
def test_every_deviation_is_seen(course: Course, spoil: Callable[[Course], str]) -> None:
    assert course.wrong() == []
    line = spoil(course)
    assert any(found.startswith(line) for found in course.wrong()), course.wrong()


def test_what_is_intended_is_right() -> None:
    assert [line for course in courses() for line in course.wrong()] == []
    assert all(course.found().mirrored() for course in courses() if course.step.clear is None)


@pytest.mark.parametrize("spoil", [lose_the_batch, let_the_batch_succeed, lose_a_log, log_otherwise, give_no_reason])
def test_the_tables_are_waited_for(course: Course, spoil: Callable[[Course], str]) -> None:
    assert course.found().mirrored()
    spoil(course)
    assert not course.found().mirrored()


def test_a_plan_is_its_seeds() -> None:
    plan = make_plan(3, 40)
    assert make_plan(3, 40) == plan != make_plan(4, 40)
    tasks = [task for workflow in plan.workflows for task in workflow.tasks]
    assert len(tasks) == len(set(tasks)), "a task's id is its own in all workflows"


def test_events_keep_their_order(tmp_path: Any) -> None:
    file = EventFile(tmp_path, "g")
    assert file.read() == []
    events = [Event("b", f"t{number}", 1, "start", "success", 1.5) for number in (2, 1, 3)]
    for event in events:
        file.append(event)
    assert file.read() == events
