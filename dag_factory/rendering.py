"""What a task's configuration would be in a run, before there is one: rendered by Airflow, in Jinja's sandbox. Calls nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import ParamValidationError

from dag_factory.specs import TaskSpec, WorkflowSpec
from dag_factory.task_types import operator_arguments
from dag_factory.task_types.registry import TaskTypes
from dag_factory.workflow_dag import build_dag
from provider.exceptions import RunConfError
from provider.texts import first_line


@dataclass(frozen=True)
class RenderedTask:
    """
    A task as a run would have it.

    :param config: what its row says, rendered; None where that fails.
    :param problem: why it cannot be rendered; empty where it can.
    :param connections: ids of the Airflow connections that it opens.
    """

    task_id: str
    task_type: str
    config: dict[str, Any] | None
    problem: str
    connections: tuple[str, ...]


def rendered_tasks(
    spec: WorkflowSpec,
    types: TaskTypes,
    task_ids: Collection[str],
    conf: Mapping[str, Any],
    *,
    batch_id: str,
    run_after: datetime,
    mask: Callable[[Any], Any],
) -> list[RenderedTask]:
    """
    Render tasks with the operators of their DAG.

    :param task_ids: these alone, in this order.
    :param conf: of the run.
    :param run_after: when the run would start.
    :param mask: takes secrets out of the params before they are rendered: afterwards nobody knows which text was one.
    :raises RunConfError: Airflow would refuse the conf; the text is Airflow's.
    """
    dag = build_dag(spec, types)
    params = copy.deepcopy(dag.params)
    try:
        params.update(dict(conf))
        values = mask(params.validate())
    except ParamValidationError as error:
        raise RunConfError(str(error)) from error
    environment = dag.get_template_env(force_sandboxed=True)
    tasks = {task.task_id: task for task in spec.tasks}

    def rendered(task: TaskSpec) -> RenderedTask:
        operator = dag.get_task(task.task_id)
        context: Any = {
            "params": values,
            "run_id": batch_id,
            "dag_run": SimpleNamespace(run_after=run_after),
            "ti": SimpleNamespace(task_id=task.task_id),
            "dag": dag,
        }
        try:
            config = operator.render_template(operator_arguments(task.config), context, environment)
            connections = tuple(
                str(operator.render_template(value, context, environment)) for value in _connections(task, operator)
            )
        except Exception as error:  # noqa: BLE001 - whatever a filter raises for these values; the task would fail by it
            return RenderedTask(task.task_id, task.task_type, None, first_line(f"{type(error).__name__}: {error}"), ())
        return RenderedTask(task.task_id, task.task_type, config, "", connections)

    return [rendered(tasks[task_id]) for task_id in task_ids]


def _connections(task: TaskSpec, operator: Any) -> Iterator[str]:
    """Yield what its operator makes of the connection fields of a task's type; of others' operators, of the arguments too."""
    fields = [field.alias or name for name, field in type(task.config).model_fields.items()]
    for name in [*fields, *getattr(task.config, "arguments", ())]:
        if name.endswith("conn_id") and isinstance(value := getattr(operator, name, None), str):
            yield value
