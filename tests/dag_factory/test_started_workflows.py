"""What rows tell of workflows that run one another."""

from __future__ import annotations

from typing import Any

import pytest

from dag_factory.started_workflows import start_warnings
from dag_factory.validation import validate
from provider.metadata.rows import DefinitionRows


def warned(runs: dict[str, list[str]]) -> list[str]:
    """Return the warnings for workflows, each with tasks that run others."""
    starts = [
        {"task_id": f"{name}_{other}_{n}", "workflow_id": name, "task_type": "run_workflow", "config": {"workflow": other}}
        for name, others in runs.items()
        for n, other in enumerate(others)
    ]
    waits = [{"task_id": f"{name}_waits", "workflow_id": name, "task_type": "external"} for name in runs]
    validated = validate(DefinitionRows([{"workflow_id": name} for name in runs], [*starts, *waits], []))
    assert validated.problems == []
    return [str(one) for one in start_warnings(list(validated.workflows.values()), set(runs))]


@pytest.mark.parametrize(
    ("runs", "warnings"),
    [
        ({"a": ["b"], "b": ["c", "d"], "c": ["d"], "d": []}, []),
        (
            {"loads": ["report"], "reports": []},
            [
                "tasks row loads_report_0: config.workflow: there is no workflow 'report'; did you mean reports? workflows are: "
                "loads, reports; the task fails until there is one"
            ],
        ),
        (
            {"a": ["b"], "b": ["c"], "c": ["a"]},
            ["workflows row a: it and others start one another for ever: a → b → c → a; take a task or an after out"],
        ),
        (
            {"w0": ["w1"] * 11, "w1": ["w2"] * 10, "w2": ["w3"] * 9, "w3": []},
            ["workflows row w0: one batch of it leads to 1111 batches of others; take some tasks out"],
        ),
        ({"w0": ["w1"] * 9, "w1": ["w2"] * 10, "w2": ["w3"] * 9, "w3": []}, []),
        ({"a": ["a"]}, ["workflows row a: it and others start one another for ever: a → a; take a task or an after out"]),
    ],
)
def test_warnings(runs: dict[str, list[str]], warnings: list[str]) -> None:
    assert warned(runs) == warnings


def test_a_start_that_is_not_there() -> None:
    started = {"workflow": "b", "start_task_id": ["b_first", "b_frist"]}
    tasks: list[dict[str, Any]] = [
        {"task_id": "runs_b", "workflow_id": "a", "task_type": "run_workflow", "config": started},
        {"task_id": "b_first", "workflow_id": "b", "task_type": "external"},
    ]
    validated = validate(DefinitionRows([{"workflow_id": "a"}, {"workflow_id": "b"}], tasks, []))

    assert [str(one) for one in start_warnings(list(validated.workflows.values()), {"a", "b"})] == [
        "tasks row runs_b: config.start_task_id: workflow b has no task 'b_frist'; did you mean b_first? its tasks are: b_first; "
        "its batches will fail"
    ]


def test_a_circle_over_a_disabled_task_is_none() -> None:
    tasks = [
        {"task_id": "a_again", "workflow_id": "a", "task_type": "run_workflow", "config": {"workflow": "a"}, "enabled": False}
    ]
    validated = validate(DefinitionRows([{"workflow_id": "a"}], tasks, []))

    assert start_warnings(list(validated.workflows.values()), {"a"}) == []


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            {"workflow": "accelerator_maintenance"},
            "config.workflow: starts with accelerator_, which is kept for the DAGs of t",
        ),
        ({"workflow": "{{ params.which }}"}, "config.workflow: may hold letters, digits"),
        ({"workflow": "b", "params": {"scope": "task"}}, "config.params: scope is no parameter of a workflow; write it beside p"),
        ({"workflow": "b", "scope": "task"}, "config: scope: task needs start_task_id"),
        ({"workflow": "b", "start_task_id": []}, "config.start_task_id: "),
        ({"workflow": "b", "start_task_id": "start_batch"}, "config.start_task_id[0]: start_batch is the task that opens every"),
    ],
)
def test_what_is_refused(config: dict[str, Any], problem: str) -> None:
    task = {"task_id": "t", "workflow_id": "a", "task_type": "run_workflow", "config": config}
    found = [one.message for one in validate(DefinitionRows([{"workflow_id": "a"}], [task], [])).problems]

    assert any(message.startswith(problem) for message in found), found


def test_a_workflow_that_comes_after_one_that_it_runs_is_in_a_circle() -> None:
    tasks: list[dict[str, Any]] = [
        {"task_id": "runs_b", "workflow_id": "a", "task_type": "run_workflow", "config": {"workflow": "b"}},
        {"task_id": "waits", "workflow_id": "b", "task_type": "external"},
    ]
    validated = validate(DefinitionRows([{"workflow_id": "a", "after": ["b"]}, {"workflow_id": "b"}], tasks, []))

    assert [str(one) for one in start_warnings(list(validated.workflows.values()), {"a", "b"})] == [
        "workflows row a: it and others start one another for ever: a → b → a; take a task or an after out"
    ]


def test_a_wait_for_what_is_not_there() -> None:
    tasks: list[dict[str, Any]] = [
        {"task_id": f"waits_{name}", "workflow_id": "a", "task_type": "wait_for_workflow", "config": {"workflow": name}}
        for name in ("b", "loads")
    ]
    tasks.append({"task_id": "waits_back", "workflow_id": "b", "task_type": "wait_for_workflow", "config": {"workflow": "a"}})
    validated = validate(DefinitionRows([{"workflow_id": "a"}, {"workflow_id": "b"}], tasks, []))

    assert validated.problems == []
    assert [str(one) for one in start_warnings(list(validated.workflows.values()), {"a", "b"})] == [
        "tasks row waits_loads: config.workflow: there is no workflow 'loads'; workflows are: a, b; the task fails until there "
        "is one"
    ]


@pytest.mark.parametrize("key", ["cancel_on_kill", "cancel_on_timeout"])
def test_who_waits_for_a_batch_cannot_end_it(key: str) -> None:
    config = {"workflow": "b", key: True}
    task = {"task_id": "t", "workflow_id": "a", "task_type": "wait_for_workflow", "config": config}
    found = [one.message for one in validate(DefinitionRows([{"workflow_id": "a"}], [task], [])).problems]

    assert found[0].startswith(f"config.{key}: unknown key")
