"""Workflows that others start or wait for, by a task or as their end: what of that cannot go well, as far as rows tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from dag_factory.graph import find_cycle, flow_order
from dag_factory.predecessors import acyclic, makers_of, missing, predecessors_of
from dag_factory.problems import Problem, searches_bounded, suggestion, way_around
from dag_factory.specs import WorkflowSpec
from dag_factory.task_types.run_workflow import RunWorkflowConfig
from dag_factory.task_types.wait_for_workflow import WaitForWorkflowConfig
from provider.texts import quoted

#: Configurations that name another workflow.
_NAMING = (RunWorkflowConfig, WaitForWorkflowConfig)
#: Batches that one batch may lead to without a warning.
_MANY = 1000


def start_warnings(workflows: Sequence[WorkflowSpec], known: Collection[str]) -> list[Problem]:
    """
    Return a warning for each task that runs or awaits what is not there, and for workflows that start one another too often.

    No more than warnings: the other workflow may come with the next file, and Airflow may have DAGs that are no rows.

    :param workflows: those that are valid, all that may run one another.
    :param known: ids of all workflows, valid or not.
    """
    specs = {spec.workflow_id: spec for spec in workflows}
    named = {
        spec.workflow_id: [(task, one) for task in spec.tasks for one in task.configs if isinstance(one, _NAMING)]
        for spec in workflows
    }
    with searches_bounded():
        found = [
            Problem(workflow_id, f"tasks row {task.task_id}", message)
            for workflow_id, tasks in named.items()
            for task, config in tasks
            for message in dict.fromkeys(_missing(config, specs, known))
        ]
    starts: dict[str, list[str]] = {name: [] for name in known}
    for workflow_id, tasks in named.items():
        run = [one.workflow for task, one in tasks if task.enabled and isinstance(one, RunWorkflowConfig)]
        starts[workflow_id] += [other for other in run if other in known]
    for workflow_id, others in acyclic(predecessors_of(workflows), makers_of(workflows)).items():
        for other in others:
            starts.get(other, []).append(workflow_id)
    return sorted([*found, *missing(workflows, known), *_too_many(starts)])


def _missing(
    config: RunWorkflowConfig | WaitForWorkflowConfig, specs: Mapping[str, WorkflowSpec], known: Collection[str]
) -> Iterator[str]:
    other = config.workflow
    if other not in known:
        hint = suggestion(other, known, "workflows are")
        yield f"config.workflow: there is no workflow {quoted(other)}; {hint}; the task fails until there is one"
    elif other in specs and isinstance(config, RunWorkflowConfig):
        tasks = [one.task_id for one in specs[other].tasks]
        for start in config.start_task_id or ():
            if start not in tasks:
                hint = suggestion(start, tasks, "its tasks are")
                yield f"config.start_task_id: workflow {other} has no task {quoted(start)}; {hint}; its batches will fail"


def _too_many(others: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Yield a warning for a circle, or else for each workflow of which one batch leads to very many."""
    if cycle := find_cycle(others):
        text = f"it and others start one another for ever: {way_around(cycle)}; take a task or an after out"
        yield Problem(cycle[0], f"workflows row {cycle[0]}", text)
        return
    led_to: dict[str, int] = {}
    for name in reversed(flow_order(others)):
        led_to[name] = sum(1 + led_to[other] for other in others[name])
    started = {other for behind in others.values() for other in behind}
    for name, count in led_to.items():
        if count > _MANY and name not in started:
            text = f"one batch of it leads to {count} batches of others; take some tasks out"
            yield Problem(name, f"workflows row {name}", text)
