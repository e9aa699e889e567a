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
        {"task_id": f"{name}_{other}", "workflow_id": name, "task_type": "run_workflow", "config": {"workflow": other}}
        for name, others in runs.items()
        for other in others
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
                "tasks row loads_report: config.workflow: there is no workflow 'report'; did you mean reports? workflows are: "
                "loads, reports; the task fails until there is one"
            ],
        ),
        (
            {"a": ["b"], "b": ["c"], "c": ["a"]},
            ["workflows row a: its tasks and those of others run one another for ever: a → b → c → a; take one out"],
        ),
        ({"a": ["a"]}, ["workflows row a: its tasks and those of others run one another for ever: a → a; take one out"]),
    ],
)
def test_warnings(runs: dict[str, list[str]], warnings: list[str]) -> None:
    assert warned(runs) == warnings


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
