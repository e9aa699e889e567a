"""One workflow's spec → one Airflow DAG. The same spec gives the same serialized DAG, so that nothing makes a new version."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator  # noqa: TID253 - small, and nearly every DAG has one
from airflow.sdk import (  # type: ignore[attr-defined]  # ParamsDict is missing in the stub of Airflow 3.3
    DAG,
    BaseOperator,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    Param,
    ParamsDict,
    conf,
)

from dag_factory.graph import flow_order
from dag_factory.prototypes import Prototypes
from dag_factory.specs import (
    BATCH_WATCHER,
    START_BATCH,
    WORKFLOW_SCHEME,
    WorkflowOptions,
    WorkflowSpec,
)
from dag_factory.task_operator import BaseOperatorArguments, Workbench, asset, task_operator
from dag_factory.task_types.registry import TaskTypes
from dag_factory.templates import BATCH_DATE_FILTER, OWN_FILTERS
from provider.metadata.rows import is_asset
from provider.operators.task_batch import StartBatchOperator
from provider.run_conf import SCOPE, SCOPES, START_TASK_ID

if TYPE_CHECKING:
    from airflow.sdk import Asset, TaskGroup

#: ``start_batch`` needs the application database, which may be away for a moment; so may what the watcher's worker needs.
_START_BATCH_OPTIONS: BaseOperatorArguments = {"retries": 3, "retry_delay": timedelta(seconds=30)}
#: Of what stands for a task in the DAG of another task's process.
_PLACEHOLDER_OPTIONS: BaseOperatorArguments = {"trigger_rule": "none_failed"}


def build_dag(spec: WorkflowSpec, types: TaskTypes, *, only_task: str | None = None, prototypes: Prototypes | None = None) -> DAG:
    """
    Build the DAG of a workflow.

    :param only_task: the task that this process runs. Its operator is made in full; of the others there are those next to it,
        with their id, their place and their trigger rule, but not the import of their service's library.
    :param prototypes: of operators of the same parse.
    :raises UnusableDagError: whatever an operator refuses; the message is the operator's.
    :raises TypeError: Airflow would start an operator without its guard.
    """
    options = spec.options
    dag = DAG(
        dag_id=spec.workflow_id,
        description=options.description,
        schedule=_schedule(options),
        start_date=None if options.starts_at is None else pendulum.instance(options.starts_at, tz=_zone(options.timezone)),
        end_date=None if options.ends_at is None else pendulum.instance(options.ends_at, tz=_zone(options.timezone)),
        catchup=options.catchup,
        max_active_runs=options.max_active_batches,
        max_active_tasks=options.max_active_tasks or _default("max_active_tasks_per_dag"),
        max_consecutive_failed_dag_runs=options.max_failed_batches or _default("max_consecutive_failed_dag_runs_per_dag"),
        dagrun_timeout=None if options.run_timeout_seconds is None else timedelta(seconds=options.run_timeout_seconds),
        dag_display_name=options.display_name or spec.workflow_id,
        is_paused_upon_creation=options.paused_at_first,
        tags=sorted(set(options.tags)),
        user_defined_filters={**OWN_FILTERS, BATCH_DATE_FILTER: partial(_day, options.timezone)},
    )
    owner = options.owner or options.default_args.owner
    bench = Workbench(options, types, {} if owner is None else {"owner": owner}, prototypes or Prototypes())
    children = spec.children()
    start = bench.put(dag.task_group, StartBatchOperator, _START_BATCH_OPTIONS, {"task_id": START_BATCH, "edges": children})
    made = _made_for(spec, children, types, only_task)
    groups = {} if only_task is not None else _groups(spec, dag)
    operators = {
        task.task_id: task_operator(task, bench, groups.get(task.task_group or "", dag.task_group))
        if only_task in (None, task.task_id)
        else bench.put(dag.task_group, BaseOperator, _PLACEHOLDER_OPTIONS, {"task_id": task.task_id})
        for task in spec.tasks
        if task.task_id in made
    }
    with_parents = {child for _, child in spec.edges}
    _connect(start, [operator for task_id, operator in operators.items() if task_id not in with_parents])
    for parent, names in children.items():
        if parent in operators:
            _connect(operators[parent], [operators[name] for name in names if name in operators])
    if spec.is_followed and not last_that_choose(operators.values()):
        parents = [one for one in operators.values() if not one.inherits_from_skipmixin]
        _watch(parents, dag.task_group, bench, [workflow_asset(spec.workflow_id)])
    else:
        _watch(_watched(children, operators), dag.task_group, bench)
    # Only now: every operator copies the params of its DAG when it is made, and Airflow stores each copy.
    if only_task is None:
        from dag_factory.dag_docs import doc_md

        in_order = flow_order(children)
        dag.doc_md = doc_md(spec, in_order)
    else:  # nobody sees the form
        in_order = list(children)
    # Not by the setter, which checks each default by its schema once more, for a sixth of the time of a parse.
    object.__setattr__(dag, "params", ParamsDict(_params(spec, in_order)))
    return dag


def _groups(spec: WorkflowSpec, dag: DAG) -> dict[str, TaskGroup]:
    """Return the groups of tasks by name; the ids of their tasks stay what they are."""
    names = sorted({task.task_group for task in spec.tasks if task.task_group})
    if not names:
        return {}
    from airflow.sdk import TaskGroup

    return {name: TaskGroup(group_id=name, prefix_group_id=False, dag=dag) for name in names}


def _made_for(
    spec: WorkflowSpec, children: Mapping[str, Collection[str]], types: TaskTypes, only_task: str | None
) -> Collection[str]:
    """
    Return the tasks that a process needs: all of them, or in that of one task this one and those next to it.

    Operators of other packages may look at the whole DAG, as those do that choose a branch.
    """
    kinds = {task.task_id: task.task_type for task in spec.tasks}
    if only_task is None or not types.are_built_in([kinds[only_task]] if only_task in kinds else kinds.values()):
        return kinds.keys()
    if only_task == BATCH_WATCHER:  # a cluster policy may give it something to do in a worker
        return kinds.keys()
    if only_task not in kinds:
        return ()
    return {only_task, *children[only_task], *(parent for parent, child in spec.edges if child == only_task)}


def _connect(parent: BaseOperator, children: Sequence[BaseOperator]) -> None:
    """
    Let tasks follow another one, by their ids.

    ``set_downstream`` does the same, and hashes the whole DAG for each edge to see whether there is one alone: nine tenths of
    the time of a workflow of 10,000 tasks.

    :raises ValueError: an operator of another package has left the DAG that it was given.
    """
    for child in children:
        if child.dag is not parent.dag:
            raise ValueError(f"the operator of task {child.task_id} is not in the DAG that it was given")
        child.upstream_task_ids.add(parent.task_id)
    parent.downstream_task_ids.update(child.task_id for child in children)


def last_that_choose(operators: Iterable[BaseOperator]) -> list[BaseOperator]:
    """
    Return the operators that skip what is behind them, and have no task behind them.

    They would skip the watcher: nothing can tell of the success of a batch that ends with one.
    """
    return [one for one in operators if one.inherits_from_skipmixin and not one.downstream_task_ids - {BATCH_WATCHER}]


def _watched(children: Mapping[str, Collection[str]], operators: Mapping[str, BaseOperator]) -> list[BaseOperator]:
    """
    Return the operators that have others behind them; in the place of one that chooses among its children, these.

    It skips every direct child that it does not choose, and would skip the watcher too.
    """
    names: dict[str, None] = {}
    for parent, behind in children.items():
        if behind and parent in operators:
            chooses = operators[parent].inherits_from_skipmixin
            names |= dict.fromkeys(name for name in (behind if chooses else [parent]) if name in operators)
    # Of these, too, some may choose.
    return [operators[name] for name in names if not operators[name].inherits_from_skipmixin]


def _watch(parents: Sequence[BaseOperator], group: TaskGroup, bench: Workbench, outlets: Sequence[Asset] = ()) -> None:
    """
    Let a failure of tasks that have children fail the run.

    Airflow decides a run by its last tasks alone. Where those are out of scope or disabled they are skipped, and the run would
    be a success whatever failed before them. The scheduler ends this task by itself; it takes no worker.

    :param outlets: of a workflow that others follow: what tells of its success, from a worker.
    """
    if parents:
        arguments: BaseOperatorArguments = {"trigger_rule": "none_failed"}
        if outlets:
            arguments |= {"outlets": list(outlets), **_START_BATCH_OPTIONS}
        watcher = bench.put(group, EmptyOperator, arguments, {"task_id": BATCH_WATCHER})
        for parent in parents:
            _connect(parent, [watcher])


def _schedule(options: WorkflowOptions) -> Any:
    """Return what starts the workflow by itself: its timetable, the assets that it comes after, or whichever is first."""
    timetable = _timetable(options)
    if not options.after or not options.enabled:
        return timetable
    assets = [asset(one, "after") if is_asset(one) else workflow_asset(one) for one in options.after]
    if timetable is None:
        return assets
    from airflow.sdk import AssetAll, AssetOrTimeSchedule

    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAll(*assets))


def workflow_asset(workflow_id: str) -> Asset:
    """Return the asset that a successful batch of a workflow updates, where others follow it."""
    return asset(f"{WORKFLOW_SCHEME}://workflows/{workflow_id}", "workflow_id")


def _timetable(options: WorkflowOptions) -> CronTriggerTimetable | CronDataIntervalTimetable | None:
    """
    Return the schedule in the workflow's zone; None for a workflow that is switched off.

    Airflow takes the zone from ``start_date``, which a row need not have; so the timetable is made here, by Airflow's rule.
    """
    if options.schedule is None or not options.enabled:
        return None
    if _cron_has_data_intervals():
        return CronDataIntervalTimetable(options.schedule, timezone=_zone(options.timezone))
    return CronTriggerTimetable(options.schedule, timezone=_zone(options.timezone))


def _params(spec: WorkflowSpec, task_ids: list[str]) -> dict[str, Param]:
    """
    Return the params of the trigger form: the workflow's own in their order, then those of every workflow.

    :param task_ids: in the order in which the form offers them.
    """
    params: dict[str, Param] = {}
    for param in spec.options.params:
        default = {"default": param.default} if param.has_default else {}
        params[param.name] = Param(description=param.description, **default, **param.json_schema())
    params[START_TASK_ID] = Param(
        None,
        description="Tasks to start from. Leave empty to run the whole workflow.",
        type=["array", "string", "null"],
        title="Start from",
        examples=task_ids,
    )
    params[SCOPE] = Param(
        None,
        description="What to run: the whole workflow, the start tasks and everything downstream of them (default with a "
        "start), or the start tasks alone.",
        type=["string", "null"],
        title="Scope",
        enum=[*SCOPES, None],
        values_display={"null": "as usual"},  # else the form says "null"
    )
    return params


def _day(timezone: str, moment: datetime) -> str:
    """Return the day of a moment in a zone, as ``YYYY-MM-DD``."""
    return moment.astimezone(ZoneInfo(timezone)).date().isoformat()


@cache
def _zone(name: str) -> Any:
    return pendulum.timezone(name)


@cache
def _default(option: str) -> int:
    """Return one of Airflow's defaults; read once, since reading the configuration is slow by the standard of a loop."""
    return int(conf.getint("core", option))


@cache
def _cron_has_data_intervals() -> bool:
    return bool(conf.getboolean("scheduler", "create_cron_data_intervals"))
