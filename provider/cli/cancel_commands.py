"""``accelerator cancel``: ends batches that run, and says before what that ends."""

from __future__ import annotations

import argparse
import sys

from provider.batch_ids import as_arguments
from provider.cancel import CancelPlan, cancel_body, has_ended, read_cancel_plan
from provider.cli.ids import only_batch, warn_of_old_record
from provider.cli.output import say
from provider.cli.who import who
from provider.hooks.airflow_api import AirflowApi, api_path
from provider.metadata.engine import read_session
from provider.metadata.leader_lock import record_current_at
from provider.reconciler.sources import open_api

_ENDED = ("success", "failed")


def cancel(args: argparse.Namespace) -> int:
    """
    Cancel batches, or with --dry-run only say what that would end; returns 1 where one could not be.

    :raises AcceleratorError: there is no such batch, or one has ended; then none is cancelled.
    :raises ConfigurationError: Airflow's REST API cannot be reached from here.
    """
    with read_session() as session:
        warn_of_old_record(record_current_at(session), "what runs now may differ")
        batches = [only_batch(session, batch_id, args.workflow) for batch_id in dict.fromkeys(args.batch_ids)]
        plans = [read_cancel_plan(session, batch) for batch in batches]
    for plan in plans:
        running = ", ".join(plan.running) or "nothing"
        say(f"Batch {plan.batch_id} of {plan.workflow_id}: running: {running}; {plan.waiting} more have not begun.")
        for text in plan.jobs:
            say(text)
    if args.dry_run:
        say("Nothing was cancelled (dry run).")
        return 0
    api, _conn_id = open_api()
    sent = [_send(api, plan) for plan in plans]
    return 0 if all(sent) else 1


def _send(api: AirflowApi, plan: CancelPlan) -> bool:
    from provider.hooks.remote_job import RemoteCallError

    path = api_path("dags", plan.workflow_id, "dagRuns", plan.batch_id)
    try:
        # It may have ended since the record was written, and a success is not to become a failure.
        state = str(api.get(path).get("state"))
        if state not in _ENDED:
            api.patch(path, cancel_body(f"{who()} with `accelerator cancel`"))
    except RemoteCallError as error:
        sys.stderr.write(f"error: batch {plan.batch_id} of {plan.workflow_id} is not cancelled: {error}\n")
        return False
    if state in _ENDED:
        sys.stderr.write(f"error: {has_ended(plan.batch_id, plan.workflow_id, state)}\n")
        return False
    shown = f"`accelerator logs {as_arguments(plan.batch_id)}` shows its end."
    say(f"Batch {plan.batch_id} of {plan.workflow_id} is cancelled; {shown}")
    return True
