"""What only Airflow can tell of a workflow, for commands: the same that a parse of the DAG file would say."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from dag_factory.problems import Problem
from dag_factory.specs import WorkflowSpec
from dag_factory.task_types.registry import TaskTypes, task_types


def rehearse_foreign(workflows: Iterable[WorkflowSpec], types: TaskTypes | None = None) -> list[Problem]:
    """
    Build valid workflows, and do with them what Airflow will; return what is wrong with them.

    Only those with task types of other packages: for the types of this one, checking the rows tells the same, without Airflow
    and the libraries of the services, which take seconds to import. Where Airflow is not installed nothing can be told.
    """
    types = types or task_types()
    foreign = [spec for spec in workflows if not types.are_built_in(task.task_type for task in spec.tasks)]
    if not foreign or importlib.util.find_spec("airflow") is None:
        return []
    from dag_factory.building import unusable, usable_dag

    problems = []
    for spec in foreign:
        try:
            usable_dag(spec, types)
        except Exception as error:  # noqa: BLE001 - whatever the operator of another package raises
            problems.append(unusable(spec.workflow_id, error))
    return problems
