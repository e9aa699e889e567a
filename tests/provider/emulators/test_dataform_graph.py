from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from provider.emulators.dataform_graph import Overrides, Selection, Target, compile_actions, plan, select, state_at
from provider.emulators.scenario import RepositorySpec
from provider.emulators.timeline import Timeline

#   a -> b -> c -> d     c fails;  x alone
REPOSITORY = RepositorySpec.model_validate(
    {
        "default_database": "db",
        "default_schema": "s",
        "actions": [
            {"target": {"name": "a"}, "tags": ["one"], "seconds": 1},
            {"target": {"name": "b"}, "depends_on": ["a"], "seconds": 2},
            {"target": {"name": "c"}, "depends_on": ["b"], "seconds": 3, "failure_reason": "broken", "tags": ["two"]},
            {"target": {"name": "d", "schema": "marts"}, "depends_on": ["c"], "seconds": 4},
            {"target": {"name": "x"}, "seconds": 10},
        ],
    }
)
ACTIONS = compile_actions(REPOSITORY, Overrides())
START = datetime(2026, 1, 1, tzinfo=UTC)


def names(actions):
    return [action.spec.target.name for action in actions]


def wanted(name, schema="", database=""):
    return Selection(targets=(Target(database, schema, name),))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["a", "b", "c", "d", "x"]),
        (Selection(tags=("one", "two")), ["a", "c"]),
        (wanted("d"), ["d"]),
        (wanted("d", "marts", "db"), ["d"]),
        (wanted("d", "s"), []),
        (wanted("d", "", "other"), []),
        (Selection(tags=("two",), with_dependencies=True), ["a", "b", "c"]),
        (Selection(tags=("two",), with_dependents=True), ["c", "d"]),
        (Selection(tags=("two",), with_dependencies=True, with_dependents=True), ["a", "b", "c", "d"]),
        (Selection(targets=(Target("", "", "x"),), tags=("one",)), ["a", "x"]),
    ],
)
def test_select(selection, expected):
    assert names(select(ACTIONS, selection)) == expected


def test_plan_follows_the_dependencies():
    planned = {item.action.spec.target.name: item for item in plan(ACTIONS, Counter())}
    seconds = {name: (item.starts.total_seconds(), item.ends.total_seconds()) for name, item in planned.items()}
    assert seconds == {"a": (0, 1), "b": (1, 3), "c": (3, 6), "d": (6, 6), "x": (0, 10)}
    assert [item.state for item in planned.values()] == ["SUCCEEDED", "SUCCEEDED", "FAILED", "SKIPPED", "SUCCEEDED"]
    assert planned["c"].failure_reason == "broken"


def test_plan_ignores_parents_that_were_not_selected():
    planned = plan(select(ACTIONS, wanted("d")), Counter())
    assert [(item.starts, item.state) for item in planned] == [(timedelta(), "SUCCEEDED")]


@pytest.mark.parametrize(
    ("seconds", "cancelled", "expected"),
    [
        (0.5, None, ["RUNNING", "PENDING", "PENDING", "PENDING", "RUNNING"]),
        (4, None, ["SUCCEEDED", "SUCCEEDED", "RUNNING", "PENDING", "RUNNING"]),
        (11, None, ["SUCCEEDED", "SUCCEEDED", "FAILED", "SKIPPED", "SUCCEEDED"]),
        (4.5, 4, ["SUCCEEDED", "SUCCEEDED", "RUNNING", "PENDING", "RUNNING"]),
        (11, 4, ["SUCCEEDED", "SUCCEEDED", "CANCELLED", "CANCELLED", "CANCELLED"]),
    ],
)
def test_states_are_a_function_of_time(seconds, cancelled, expected):
    timeline = Timeline(START, timedelta(seconds=10), cancel_duration=timedelta(seconds=1))
    if cancelled:
        assert timeline.cancel(START + timedelta(seconds=cancelled))
    now = START + timedelta(seconds=seconds)
    assert [state_at(item, timeline, now) for item in plan(ACTIONS, Counter())] == expected


def test_overrides():
    overrides = Overrides("project", "", "test", "dev", "my")
    compiled = {action.spec.target.name: action for action in compile_actions(REPOSITORY, overrides)}
    assert str(compiled["a"].target) == "project_test.s_dev.my_a"
    assert str(compiled["a"].canonical_target) == "project.s.a"
    assert str(compiled["d"].target) == "project_test.marts_dev.my_d"
    actions = compile_actions(REPOSITORY, overrides)
    assert names(select(actions, wanted("my_a"))) == names(select(actions, wanted("a"))) == ["a"]
