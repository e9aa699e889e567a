"""Workflows that tasks of others run: those that are not there, and those that would run one another for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dag_factory.graph import find_cycle
from dag_factory.problems import Problem, searches_bounded, suggestion, way_around
from dag_factory.specs import WorkflowSpec
from dag_factory.task_types.run_workflow import RunWorkflowConfig
from provider.texts import quoted


def start_warnings(workflows: Iterable[WorkflowSpec], known: Collection[str]) -> list[Problem]:
    """
    Return a warning for each task that runs a workflow which is not there, and one for workflows that run one another.

    No more than a warning: the other workflow may come with the next file, and Airflow may have DAGs that are no rows.

    :param workflows: those that are valid, all that may run one another.
    :param known: ids of all workflows, valid or not.
    """
    runs = [(spec.workflow_id, task_id, other) for spec in workflows for task_id, other in _runs(spec)]
    with searches_bounded():
        missing = [
            Problem(
                workflow_id,
                f"tasks row {task_id}",
                f"config.workflow: there is no workflow {quoted(other)}; {suggestion(other, known, 'workflows are')}; "
                "the task fails until there is one",
            )
            for workflow_id, task_id, other in runs
            if other not in known
        ]
    others: dict[str, list[str]] = {workflow_id: [] for workflow_id in known}
    for workflow_id, _, other in runs:
        if other in others:
            others[workflow_id].append(other)
    if cycle := find_cycle(others):
        text = f"its tasks and those of others run one another for ever: {way_around(cycle)}; take one out"
        missing.append(Problem(cycle[0], f"workflows row {cycle[0]}", text))
    return sorted(missing)


def _runs(spec: WorkflowSpec) -> Iterator[tuple[str, str]]:
    for task in spec.tasks:
        if isinstance(task.config, RunWorkflowConfig):
            yield task.task_id, task.config.workflow
