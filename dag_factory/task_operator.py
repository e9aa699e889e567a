"""One task's spec → its operator, or the mapped operator of its instances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, cast

from airflow.sdk import BaseOperator

from dag_factory.expansion import labels
from dag_factory.prototypes import Prototypes
from dag_factory.specs import BATCH_WATCHER, TaskOptions, TaskSpec, WorkflowOptions
from dag_factory.task_types import OperatorCall, TaskType
from dag_factory.task_types.registry import TaskTypes
from dag_factory.templates import condition_to_airflow
from provider.airflow_internals.dags import UnusableDagError, finish_instances
from provider.exceptions import AcceleratorError, DefinitionError
from provider.operators.condition import Condition
from provider.operators.task_batch import ScopeGuard
from provider.plain_data import same
from provider.texts import quoted

if TYPE_CHECKING:
    from airflow.sdk import DAG, Asset, TaskGroup


class BaseOperatorArguments(TypedDict, total=False):
    """What the factory says about every task, in the words of ``BaseOperator``."""

    task_id: str
    dag: DAG
    task_group: TaskGroup
    owner: str
    doc_md: str
    trigger_rule: str
    pre_execute: Callable[[Any], None]
    retries: int
    retry_delay: timedelta
    retry_exponential_backoff: float
    max_retry_delay: timedelta
    execution_timeout: timedelta
    pool: str
    pool_slots: int
    priority_weight: int
    weight_rule: str
    queue: str
    executor: str
    depends_on_past: bool
    max_active_tis_per_dag: int
    max_active_tis_per_dagrun: int
    task_display_name: str
    outlets: list[Asset]


@dataclass(frozen=True)
class Workbench:
    """
    What the operators of a workflow are made with.

    :param shared: what all of them are told.
    """

    options: WorkflowOptions
    types: TaskTypes
    shared: BaseOperatorArguments
    prototypes: Prototypes

    def put(
        self, group: TaskGroup, operator: type[BaseOperator], arguments: BaseOperatorArguments, own: Mapping[str, Any]
    ) -> BaseOperator:
        """
        Make an operator of our own, and put it into a group.

        :param arguments: beside those that all have.
        :param own: those that no other one has.
        """
        made = self.prototypes.make(operator, {**arguments, **self.shared}, own)
        _put_into(group, made)
        return made


def _put_into(group: TaskGroup, operator: BaseOperator) -> None:
    """
    Put an operator into a group of a DAG, and so into the DAG.

    Given to its constructor they take as long as all of the rest: for each of the operator's classes the DAG's params are copied.
    """
    group.add(operator)
    operator.task_group = group  # itself, as a constructor has it, and no weak reference
    group.dag.add_task(operator)


def task_operator(task: TaskSpec, bench: Workbench, group: TaskGroup) -> BaseOperator:
    """
    Make the operator of a task, in its DAG.

    :param group: where in the DAG.
    :raises UnusableDagError: whatever an operator refuses; the message is the operator's.
    :raises TypeError: Airflow would start an operator without its guard.
    """
    task_type = bench.types.get(task.task_type)
    if task_type is None:
        raise LookupError(f"task type {task.task_type} is not known")
    alike, own = _alike(task, task_type, bench), _own(task)
    inside: BaseOperatorArguments = {**alike, "dag": group.dag, "task_group": group}
    # What others have written may look at its DAG while it is made. Instances are outside, and nobody runs them: what an operator
    # refuses is to be said at a parse.
    is_outside = bool(task.expand) or bench.types.is_built_in(task.task_type)
    prototypes = bench.prototypes if task_type.keeps_templates else None
    try:
        calls = [task_type.operator(config) for config in task.configs]
        made = _instances(task, task_type, calls, alike if is_outside else inside, own, prototypes)
        operator = _mapped(task, task_type, calls, {**inside, **own}) if task.expand else made[0]
        if is_outside and not task.expand:
            _put_into(group, operator)
    except (Exception, SystemExit) as error:
        reason = str(error) if isinstance(error, AcceleratorError) else f"{type(error).__name__}: {error}"
        raise UnusableDagError(reason, task.task_id) from error
    for instance in made:
        _refuse_unguarded(instance, task)
    return operator


def _alike(task: TaskSpec, task_type: TaskType, bench: Workbench) -> BaseOperatorArguments:
    """Return the arguments that other tasks may have alike."""
    arguments: BaseOperatorArguments = {
        "trigger_rule": "none_failed",
        **_task_arguments(task_type.defaults, bench.options.default_args, task),
        **bench.shared,
    }
    if task.owner is not None:  # else the workflow's wins over that of its default_args
        arguments["owner"] = task.owner
    if task.outlets:
        arguments["outlets"] = [asset(uri, "outlets", task.task_id) for uri in task.outlets]
    return arguments


def _own(task: TaskSpec) -> BaseOperatorArguments:
    """Return the arguments that no other task has, or that are the words of a person; every operator keeps them as they are."""
    arguments: BaseOperatorArguments = {
        "task_id": task.task_id,
        "pre_execute": ScopeGuard(task.on_parent_skip, condition_of(task)),
    }
    if task.doc is not None:
        arguments["doc_md"] = task.doc
    if task.display_name is not None:
        arguments["task_display_name"] = task.display_name
    return arguments


def instances(task: TaskSpec, task_type: TaskType, count: int) -> list[BaseOperator]:
    """Make the operators of the first instances of an expanded task, outside of a DAG, for whoever looks at them."""
    calls = [task_type.operator(config) for config in task.configs[:count]]
    return _instances(task, task_type, calls, {}, {"task_id": task.task_id}, None)


def _instances(
    task: TaskSpec,
    task_type: TaskType,
    calls: Sequence[OperatorCall],
    alike: BaseOperatorArguments,
    own: BaseOperatorArguments,
    prototypes: Prototypes | None,
) -> list[BaseOperator]:
    """Make the operator of each configuration of a task, by its constructor or, as far as there are prototypes, like another."""
    made = []
    for config, (operator, given) in zip(task.configs, calls, strict=False):
        if prototypes is None:
            made.append(operator(**given, **cast("dict[str, Any]", {**alike, **own})))
        else:
            kept = {name: value for name, value in given.items() if name in operator.template_fields}
            others = {name: value for name, value in given.items() if name not in kept}
            made.append(prototypes.make(operator, {**others, **alike}, {**kept, **own}))
        if task_type.finish is not None:
            task_type.finish(config, made[-1])
    return made


def _mapped(task: TaskSpec, task_type: TaskType, calls: Sequence[OperatorCall], arguments: BaseOperatorArguments) -> BaseOperator:
    """Make the operator of which Airflow makes the instances of a task; what they have in common it is given once."""
    if len(several := {operator.__name__ for operator, _ in calls}) > 1:
        raise DefinitionError(f"expand: its instances are of the operators {', '.join(sorted(several))}; make a task for each")
    operator, first = calls[0]
    shared = {name: value for name, value in first.items() if all(name in own and same(own[name], value) for _, own in calls)}
    common = operator.partial(**shared, **arguments, map_index_template=labels(task.expand))
    mapped: Any = common.expand_kwargs([{name: own[name] for name in own if name not in shared} for _, own in calls])
    if (finish := task_type.finish) is not None:
        finish(task.configs[0], mapped)
        finish_instances(mapped, lambda number, made: finish(task.configs[number], made))
    return cast("BaseOperator", mapped)  # which it is for whoever connects and looks at it


def condition_of(task: TaskSpec) -> Condition | None:
    """Return the condition of a task, as its guard takes it."""
    return None if task.run_if is None else Condition(condition_to_airflow(task.run_if), task.run_if)


#: What an operator may not be told, and why.
_REFUSED = {
    "end_from_trigger": "so its end would be told to no listener, and Airflow refuses the whole DAG file",
    "ignore_downstream_trigger_rules": f"so it could skip {BATCH_WATCHER} too, and a batch with a failed task would succeed",
}


def _refuse_unguarded(operator: BaseOperator, task: TaskSpec) -> None:
    """
    Refuse operators that Airflow ends or starts without a task process, in which their guard would run.

    :raises TypeError: the operator is an EmptyOperator, starts or ends in the triggerer, or skips more than its children.
    """
    for name, why in _REFUSED.items():
        if getattr(operator, name, False):
            raise TypeError(f"task {task.task_id}: {type(operator).__name__} sets {name}, {why}; leave it out")
    if operator.inherits_from_empty_operator or operator.start_from_trigger:
        kind = "is an EmptyOperator" if operator.inherits_from_empty_operator else "sets start_from_trigger"
        raise TypeError(
            f"task {task.task_id}: {type(operator).__name__}, made by task type {task.task_type}, {kind}, so Airflow would run "
            "it whether or not its parents did; use an operator that begins in a worker"
        )


#: Options that Airflow has under another name, and those that it has as a timedelta.
_OTHER_NAME = {"priority": "priority_weight", "retry_backoff": "retry_exponential_backoff"}
_SECONDS = {
    "retry_delay_seconds": "retry_delay",
    "max_retry_delay_seconds": "max_retry_delay",
    "timeout_seconds": "execution_timeout",
}


def _task_arguments(*levels: TaskOptions) -> BaseOperatorArguments:
    """
    Return options in Airflow's words; its own defaults hold for what nobody said.

    :param levels: the last one that says something wins.
    """
    said = {name: value for options in levels for name, value in options.said()}
    return cast(
        "BaseOperatorArguments",
        {
            **{_OTHER_NAME.get(name, name): value for name, value in said.items() if name not in _SECONDS},
            **{_SECONDS[name]: timedelta(seconds=value) for name, value in said.items() if name in _SECONDS},
        },
    )


def asset(uri: str, column: str, task_id: str | None = None) -> Asset:
    """
    Return the asset of a URI: its name, too, is the URI, as in other DAGs that give no name.

    :param column: that has the URI, of the workflow's row, or of the row of *task_id*.
    :raises UnusableDagError: Airflow refuses the URI, or writes it in another way: the same asset would have two names, of which
        it deactivates one, and fails the tasks that make it.
    """
    from airflow.sdk import Asset

    try:
        made = Asset(uri)
    except ValueError as error:
        raise UnusableDagError(f"{quoted(uri)} is no URI that Airflow takes: {error}; correct it", task_id, column) from error
    if made.uri != uri:
        raise UnusableDagError(f"Airflow writes {quoted(uri)} as {quoted(made.uri)}; write it so", task_id, column)
    return made
