"""``accelerator run``: starts a batch, or shows what one would do; waits for its end where it is told to."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider.airflow_internals.supervisor import AirflowRefusedError
from provider.batch_ids import check_dag_id
from provider.cli.ids import refuse_undefined
from provider.cli.output import json_text, say, write_table
from provider.dispatch.by_api import ApiRuns
from provider.dispatch.outcomes import refused_run
from provider.exceptions import AcceleratorError, RunConfError
from provider.hooks.airflow_api import AirflowApi, api_path
from provider.hooks.remote_job import RemoteCallError
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.states import DISABLED_REASON
from provider.reconciler.sources import open_api
from provider.run_conf import requested_scope
from provider.run_plan import conf_of_start, new_batch_id, plan_run, read_params
from provider.texts import first_line

if TYPE_CHECKING:
    from dag_factory.specs import WorkflowSpec
    from provider.metadata.rows import DefinitionRows


@dataclass(frozen=True)
class _Start:
    """A batch that is to be started."""

    workflow_id: str
    batch_id: str
    conf: dict[str, Any]
    params: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    """
    Start a batch; with --dry-run only say what it would do, with --wait wait for its end and return 1 where that is an ERROR.

    :raises AcceleratorError: there is no such workflow or task, or a message that asks for the same would be refused.
    :raises ConfigurationError: Airflow's REST API cannot be reached from here.
    """
    if args.from_tasks and args.only_tasks:
        raise AcceleratorError("give --from or --only, not both.")
    task_ids = args.from_tasks or args.only_tasks
    scope = "downstream" if args.from_tasks else "task" if args.only_tasks else "workflow"
    with read_session() as session:
        refuse_undefined(session, args.workflow_id, task_ids)
        rows = read_definitions(session, [args.workflow_id])
    params, batch_id = read_params(args.params), args.batch_id or new_batch_id()
    conf = conf_of_start(task_ids, scope, batch_id, params)
    start = _Start(check_dag_id(args.workflow_id), batch_id, conf, params)
    if args.dry_run:
        _rehearse(start, rows)
        return 0
    return _start(start, wait_seconds=args.timeout if args.wait else None)


def _start(start: _Start, *, wait_seconds: int | None) -> int:
    api, _conn_id = open_api()
    is_paused = _ask_whether_paused(api, start.workflow_id)
    runs = ApiRuns(api)
    try:
        is_new = runs.start(start.workflow_id, start.batch_id, start.conf)
    except AirflowRefusedError as error:
        if runs.forbidden is None and (error.status is None or error.status >= 500):
            raise AcceleratorError(
                f"it is not known whether batch {start.batch_id} was started: {first_line(error)} See `accelerator logs "
                f"{start.batch_id}`; started again with this --batch-id, it runs once."
            ) from error
        raise AcceleratorError(f"{refused_run(error, start.params)}; nothing was started.") from error
    if not is_new:
        raise AcceleratorError(f"batch {start.batch_id} of {start.workflow_id} exists already; give another --batch-id.")
    say(f"Batch {start.batch_id} of {start.workflow_id} is started: {_page(api.settings.address, start)}")
    if is_paused:
        say(f"It waits, since {start.workflow_id} is paused: `accelerator resume {start.workflow_id}` lets it go on.")
    if wait_seconds is None:
        return 0
    from provider.cli.batch_wait import wait_for_end

    return wait_for_end(api, start.workflow_id, start.batch_id, seconds=wait_seconds)


def _ask_whether_paused(api: AirflowApi, workflow_id: str) -> bool:
    try:
        dag = api.find(api_path("dags", workflow_id))
    except RemoteCallError as error:
        raise AcceleratorError(f"{first_line(error)} Nothing was started.") from error
    if dag is None:
        raise AcceleratorError(
            f"Airflow has no DAG {workflow_id} yet, so nothing was started. It sees what was imported within half a minute, or "
            "as [dag_processor] min_file_process_interval says; where it still does not, `accelerator doctor` and "
            "`accelerator validate` tell why."
        )
    return dag.get("is_paused") is True


def _page(address: str, start: _Start) -> str:
    return f"{address}/{api_path('dags', start.workflow_id, 'runs', start.batch_id)}/plugin/task-batch"


def _rehearse(start: _Start, rows: DefinitionRows) -> None:
    """Say what a batch would do; this calls neither Airflow nor a service."""
    from dag_factory.rendering import MOST_SHOWN, Rehearsal
    from dag_factory.task_types.registry import task_types
    from provider.airflow_internals.secrets import redact

    spec = _valid(rows, start.workflow_id)
    now = datetime.now(UTC)
    try:
        rehearsal = Rehearsal(spec, task_types(), start.conf, batch_id=start.batch_id, run_after=now, mask=redact)
    except RunConfError as error:
        raise AcceleratorError(f"{refused_run(error, start.params)}; nothing was started.") from error
    disabled = [task.task_id for task in spec.tasks if not task.enabled]
    skips = {**rehearsal.unmet(), **dict.fromkeys(disabled, DISABLED_REASON)}
    tolerant = [task.task_id for task in spec.tasks if task.on_parent_skip == "run"]
    plan = plan_run(spec.children(), requested_scope(start.conf, spec.children()), skips, tolerant)
    in_order = [task_id for level in plan.levels for task_id in level]
    say(f"Batch {start.batch_id} of {start.workflow_id} would run {len(in_order)} of {len(spec.tasks)} tasks.")
    if not spec.options.enabled:
        say("The workflow is disabled: a message would wait, this start would not.")
    for number, level in enumerate(plan.levels, 1):
        say(f"{number}. {', '.join(level)}")
    if plan.skipped:
        write_table(("skipped", "why"), plan.skipped)
    for task in rehearsal.rendered(in_order):
        say("")
        by = f" by connection {', '.join(task.connections)}" if task.connections else ", by no connection"
        if task.config is None:
            say(f"{task.name} cannot be rendered, and would fail: {task.problem}")
            continue
        say(f"{task.name}: {task.task_type}{by}")
        say(json_text(redact(task.config)))
    say("")
    if any(len(task.expand) > MOST_SHOWN for task in spec.tasks):
        say(f"Of a task that is expanded, the first {MOST_SHOWN} instances are shown.")
    say("batch_date is that of a start now. What a service finds by name, and the ids of its jobs, are known only in the run.")
    say("Nothing was started (dry run).")


def _valid(rows: DefinitionRows, workflow_id: str) -> WorkflowSpec:
    from dag_factory.validation import validate

    spec = validate(rows).workflows.get(workflow_id)
    if spec is None:
        raise AcceleratorError(f"the rows of {workflow_id} cannot be used; `accelerator validate` says why.")
    return spec
