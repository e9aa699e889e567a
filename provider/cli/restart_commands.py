"""``accelerator restart``: runs tasks of batches again, those that failed or from one on, and says before what that repeats."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from provider.airflow_internals.secrets import redact
from provider.batch_ids import as_arguments
from provider.cli.ids import only_batch, refuse_unknown_workflow, warn_of_old_record
from provider.cli.output import busy, say, write_data, write_table
from provider.exceptions import AcceleratorError
from provider.metadata.batch_queries import newest_batches, task_logs_of
from provider.metadata.definition_rows import read_predecessors
from provider.metadata.definitions import edges_of
from provider.metadata.engine import read_session
from provider.metadata.leader_lock import record_current_at
from provider.metadata.renaming import called_now
from provider.metadata.rows import StoredTaskBatch
from provider.metadata.states import ERROR
from provider.restart import NothingToRestartError, RestartPlan, plan_rerun, plan_restart
from provider.texts import task_name

if TYPE_CHECKING:
    from provider.hooks.airflow_api import AirflowApi
    from provider.hooks.remote_job import RemoteCallError


def restart(args: argparse.Namespace) -> int:
    """
    Run batches again, or with --dry-run only say what that would do; returns 1 where one could not be.

    :raises AcceleratorError: the options do not go together, or there is no such batch.
    :raises ConfigurationError: Airflow's REST API cannot be reached from here.
    """
    if bool(args.batch_ids) == args.failed:
        raise AcceleratorError("name the batches to run again, or give --failed for all that have failed; not both.")
    if (args.task or args.from_tasks) and len(args.batch_ids) != 1:
        raise AcceleratorError("--task and --from choose tasks of one batch; name one.")
    if args.task and args.from_tasks:
        raise AcceleratorError("give --task or --from, not both.")
    plans = _plans(args)
    if args.output != "table":
        write_data([asdict(plan) for plan in plans], args.output)
    else:
        _show(plans)
    if args.dry_run or not plans:
        return 0
    with busy("Asking Airflow"):
        # Airflow takes seconds to import, and a look needs nothing of it.
        from provider.reconciler.sources import open_api

        api, _conn_id = open_api()
        refused = [_send(api, plan) for plan in plans]
    for plan, error in zip(plans, refused, strict=True):
        if error is not None:
            sys.stderr.write(f"error: batch {plan.batch_id} of {plan.workflow_id} does not run again: {error}\n")
        elif args.output == "table":
            shown = f"`accelerator logs {as_arguments(plan.batch_id, args.workflow)}` shows how far it is."
            say(f"Batch {plan.batch_id} of {plan.workflow_id} runs again; {shown}")
    return 1 if any(refused) else 0


def _plans(args: argparse.Namespace) -> list[RestartPlan]:
    plans = []
    with read_session() as session:
        current_at = record_current_at(session)
        predecessors = read_predecessors(session, enabled_only=True)
        if args.failed:
            batches = newest_batches(session, workflow_id=args.workflow, status=ERROR, limit=args.limit)
            if args.workflow is not None and not batches:
                refuse_unknown_workflow(session, args.workflow)
        else:
            batches = [only_batch(session, batch_id, args.workflow) for batch_id in args.batch_ids]
        for batch in batches:
            if (now := called_now(session, batch["workflow_id"])) is not None:
                error = _renamed(batch, now)
                if not args.failed:
                    raise error
                sys.stderr.write(f"note: {error}\n")
                continue
            logs = task_logs_of(session, batch["workflow_id"], batch["batch_id"])
            edges = edges_of(session, batch["workflow_id"]) if args.task or args.from_tasks else []
            try:
                if args.from_tasks:
                    plans.append(plan_rerun(batch, logs, edges, args.from_tasks, predecessors))
                else:
                    plans.append(plan_restart(batch, logs, edges, args.task, predecessors))
            except NothingToRestartError:
                if not args.failed:
                    _tell_nothing(batch)
                    raise
    warn_of_old_record(current_at, "what failed since is not in it")
    return plans


def _renamed(batch: StoredTaskBatch, now: str) -> AcceleratorError:
    return AcceleratorError(
        f"batch {batch['batch_id']} is one of {batch['workflow_id']}, which is called {now} now, and Airflow runs nothing of the "
        f"old name again; start a batch of {now} instead, by `accelerator run {now}`."
    )


def _tell_nothing(batch: StoredTaskBatch) -> None:
    if batch["error"]:
        sys.stderr.write(f"Batch {batch['batch_id']} says: {redact(batch['error'])}\n")


def _show(plans: list[RestartPlan]) -> None:
    if not plans:
        say("There is nothing to run again.")
    for plan in plans:
        say(f"Batch {plan.batch_id} of {plan.workflow_id}: {len(plan.runs)} to run again, {plan.keeps} that succeeded stay.")
        if plan.runs:
            rows = [(one.status, task_name(one.task_id, one.map_index), one.why) for one in plan.runs]
            write_table(("status", "task", "why"), rows)
        for text in (*plan.repeats, *plan.follows):
            say(text)


def _send(api: AirflowApi, plan: RestartPlan) -> RemoteCallError | None:
    """Let Airflow clear what the plan says; return why it does not."""
    from provider.hooks.airflow_api import api_path
    from provider.hooks.remote_job import RemoteCallError

    try:
        api.post(api_path("dags", plan.workflow_id, "clearTaskInstances"), plan.body)
    except RemoteCallError as error:
        return error
    return None
