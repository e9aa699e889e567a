"""``accelerator pause``, ``resume``, ``enable`` and ``disable``: workflows and tasks that are not to run for a while."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from provider.cli.ids import refuse_undefined, refuse_unknown_workflow
from provider.cli.output import say
from provider.cli.who import who
from provider.metadata.engine import read_session, write_session
from provider.metadata.versions import one_at_a_time
from provider.switches import switch

if TYPE_CHECKING:
    from provider.hooks.airflow_api import AirflowApi

_PAUSED = (
    "is paused: messages still start batches, which wait; of batches that run no further task begins until `accelerator resume`."
)
_RESUMED = "is resumed: batches that wait begin, and those that had begun go on."
_MEANING = {
    (False, False): "its schedule stops and its messages wait; batches that run go on, and people can still start it.",
    (False, True): "it is skipped in batches that start from now on; in those that have started it still runs.",
    (True, False): "its schedule goes on, and the messages that wait start their batches.",
    (True, True): "it runs in batches that start from now on.",
}


def pause(args: argparse.Namespace) -> int:
    """Pause workflows in Airflow; returns 1 where one could not be."""
    return _set_paused(args.workflow_ids, paused=True)


def resume(args: argparse.Namespace) -> int:
    """Let paused workflows go on; returns 1 where one could not."""
    return _set_paused(args.workflow_ids, paused=False)


def enable(args: argparse.Namespace) -> int:
    """Switch a workflow or tasks of it on."""
    return _switch(args, enabled=True)


def disable(args: argparse.Namespace) -> int:
    """Switch a workflow or tasks of it off."""
    return _switch(args, enabled=False)


def _set_paused(workflow_ids: list[str], *, paused: bool) -> int:
    """
    Let Airflow pause workflows or end that.

    :raises AcceleratorError: one of them is known to nobody; then nothing is changed.
    :raises ConfigurationError: Airflow's REST API cannot be reached from here.
    """
    # Imports Airflow, which who switches rows does not wait for.
    from provider.reconciler.sources import open_api

    with read_session() as session:
        for workflow_id in workflow_ids:
            refuse_unknown_workflow(session, workflow_id)
    api, _conn_id = open_api()
    done = [_patch(api, workflow_id, paused=paused) for workflow_id in dict.fromkeys(workflow_ids)]
    return 0 if all(done) else 1


def _patch(api: AirflowApi, workflow_id: str, *, paused: bool) -> bool:
    from provider.hooks.airflow_api import api_path
    from provider.hooks.remote_job import RemoteCallError

    try:
        api.patch(api_path("dags", workflow_id), {"is_paused": paused}, update_mask="is_paused")
    except RemoteCallError as error:
        sys.stderr.write(f"error: Airflow did not {'pause' if paused else 'resume'} {workflow_id}: {error}\n")
        return False
    say(f"{workflow_id} {_PAUSED if paused else _RESUMED}")
    return True


def _switch(args: argparse.Namespace, *, enabled: bool) -> int:
    """
    Write ``enabled``.

    :raises AcceleratorError: there is no such workflow, or it has no such task; then nothing is changed.
    """
    tasks = list(dict.fromkeys(args.task))
    with write_session() as session:
        one_at_a_time(session)
        refuse_undefined(session, args.workflow_id, tasks)
        changed = switch(session, args.workflow_id, tasks, enabled=enabled, by=who())
    word = "enabled" if enabled else "disabled"
    for row_id in tasks or [args.workflow_id]:
        name = f"task {row_id} of {args.workflow_id}" if tasks else row_id
        say(f"{name} is {word}: {_MEANING[enabled, bool(tasks)]}" if row_id in changed else f"{name} was {word} already.")
    return 0
