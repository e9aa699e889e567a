"""What a task's configuration would be in a run, before there is one: rendered by Airflow, in Jinja's sandbox. Calls nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from dag_factory.specs import TaskSpec, WorkflowSpec
from dag_factory.task_operator import condition_of, instances
from dag_factory.task_types import operator_arguments
from dag_factory.task_types.registry import TaskTypes
from dag_factory.workflow_dag import build_dag
from provider.exceptions import RunConfError
from provider.operators.condition import Condition
from provider.task_reports import RUN_IF_FALSE
from provider.texts import first_line, task_name

#: Instances of one task that are rendered.
MOST_SHOWN = 5


@dataclass(frozen=True)
class RenderedTask:
    """
    An instance of a task as a run would have it.

    :param name: the task's id, and its number where the task has many.
    :param config: what its row says, rendered; None where that fails.
    :param problem: why it cannot be rendered; empty where it can.
    :param connections: ids of the Airflow connections that it opens.
    """

    name: str
    task_type: str
    config: dict[str, Any] | None
    problem: str
    connections: tuple[str, ...]


class Rehearsal:
    """
    A workflow as a run would have it.

    :param conf: of the run.
    :param run_after: when the run would start.
    :param mask: takes secrets out of the params before they are rendered: afterwards nobody knows which text was one.
    :raises RunConfError: Airflow would refuse the conf; the text is Airflow's.
    """

    def __init__(
        self,
        spec: WorkflowSpec,
        types: TaskTypes,
        conf: Mapping[str, Any],
        *,
        batch_id: str,
        run_after: datetime,
        mask: Callable[[Any], Any],
    ) -> None:
        self._dag = build_dag(spec, types)
        self._tasks = {task.task_id: task for task in spec.tasks}
        self._types = types
        self._environment = self._dag.get_template_env(force_sandboxed=True)
        params = copy.deepcopy(self._dag.params)
        try:
            params.update(dict(conf))
            values = mask(params.validate())
        except ParamValidationError as error:
            raise RunConfError(str(error)) from error
        self._context = {"params": values, "run_id": batch_id, "dag_run": SimpleNamespace(run_after=run_after), "dag": self._dag}

    def unmet(self) -> dict[str, str]:
        """Return task id → why it is skipped, for the tasks whose condition does not hold."""
        found = {}
        for task_id in self._tasks:
            with suppress(AirflowFailException):  # the task fails by it, which is said where it is rendered
                if (condition := self._unmet(task_id)) is not None:
                    found[task_id] = f"{RUN_IF_FALSE}{condition}"
        return found

    def rendered(self, task_ids: Collection[str]) -> Iterator[RenderedTask]:
        """Render these tasks with their operators, in this order; of one that is expanded the first instances."""
        for task_id in task_ids:
            task = self._tasks[task_id]
            task_type = self._types.get(task.task_type)
            assert task_type is not None  # else it had no DAG
            made = instances(task, task_type, MOST_SHOWN) if task.expand else [self._dag.get_task(task_id)]
            for number, operator in enumerate(made):
                yield self._rendered(task, operator, number)

    def _unmet(self, task_id: str) -> Condition | None:
        condition = condition_of(self._tasks[task_id])
        holds = condition is None or condition.holds(self._context_of(task_id))
        return None if holds else condition

    def _context_of(self, task_id: str) -> Any:
        return {**self._context, "ti": SimpleNamespace(task_id=task_id)}

    def _rendered(self, task: TaskSpec, operator: Any, number: int) -> RenderedTask:
        config, context = task.configs[number], self._context_of(task.task_id)
        name = task_name(task.task_id, number if task.expand else -1)

        def render(value: Any) -> Any:
            return operator.render_template(value, context, self._environment)

        try:
            self._unmet(task.task_id)
            rendered = render(operator_arguments(config))
            connections = tuple(str(render(value)) for value in _connections(config, operator))
        except Exception as error:  # noqa: BLE001 - whatever a filter raises for these values; the task would fail by it
            return RenderedTask(name, task.task_type, None, first_line(f"{type(error).__name__}: {error}"), ())
        return RenderedTask(name, task.task_type, rendered, "", connections)


def _connections(config: Any, operator: Any) -> Iterator[str]:
    """Yield what its operator makes of the connection fields of a task's type; of others' operators, of the arguments too."""
    fields = [field.alias or name for name, field in type(config).model_fields.items()]
    for name in [*fields, *getattr(config, "arguments", ())]:
        if name.endswith("conn_id") and isinstance(value := getattr(operator, name, None), str):
            yield value
