"""Pools that rows name and Airflow does not have: tasks that would never be started, without any error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dag_factory.problems import Problem, searches_bounded, suggestion
from dag_factory.specs import WorkflowSpec
from provider.airflow_internals.pools import known_pools
from provider.texts import quoted

#: Airflow makes this one itself.
_DEFAULT = "default_pool"


def pool_warnings(workflows: Iterable[WorkflowSpec]) -> list[Problem]:
    """
    Return a warning for each row that names a pool which Airflow does not have.

    For commands: only who may read Airflow's database can tell. Where no row names a pool, nothing is imported or read.

    :return: empty where Airflow's pools cannot be seen from here.
    """
    named = [found for found in _named_pools(workflows) if found[-1] != _DEFAULT]
    known = known_pools() if named else None
    if known is None:
        return []
    with searches_bounded():
        return sorted(
            Problem(
                workflow_id,
                row,
                f"{column}: Airflow has no pool {quoted(pool)}, so what uses it is never started; "
                f"{suggestion(pool, known, 'pools are')}; create it with `airflow pools set`, or correct the row",
            )
            for workflow_id, row, column, pool in named
            if pool not in known
        )


def _named_pools(workflows: Iterable[WorkflowSpec]) -> Iterator[tuple[str, str, str, str]]:
    """Yield workflow id, row, column and pool of each row that names one."""
    for workflow in workflows:
        if (pool := workflow.options.default_args.pool) is not None:
            yield workflow.workflow_id, f"workflows row {workflow.workflow_id}", "default_args.pool", pool
        for task in workflow.tasks:
            if task.pool is not None:
                yield workflow.workflow_id, f"tasks row {task.task_id}", "pool", task.pool
