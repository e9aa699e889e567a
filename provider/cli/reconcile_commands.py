"""``accelerator reconcile``: makes the record equal to Airflow's state, once or all the time, or only looks."""

from __future__ import annotations

import argparse
import logging
import signal
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from provider import settings
from provider.cli.output import say, utc, write_data, write_table
from provider.exceptions import AcceleratorError
from provider.metadata.engine import keep_connections, read_session
from provider.metadata.leader_lock import record_current_at
from provider.reconciler.airflow_state import Source
from provider.reconciler.once import Disagreement, disagreements, reconcile_once
from provider.reconciler.sources import choose_source
from provider.texts import task_name

#: How far back a look goes where nothing is said.
_SINCE = timedelta(days=7)


def reconcile(args: argparse.Namespace) -> int:
    """
    Reconcile; return 1 where --check found differences.

    :raises AcceleratorError: the options do not go together.
    :raises ConfigurationError: Airflow's state cannot be read here, or the application database is another machine's.
    """
    if args.check and args.watch:
        raise AcceleratorError("--check looks once and --watch goes on; give one of them.")
    settings.refuse_embedded_database_across_machines()
    keep_connections()
    source, told = choose_source(args.reader)
    if args.output == "table":
        say(f"Reading {told}.")
    since = args.since or datetime.now(UTC) - _SINCE
    if args.check:
        return _check(source, since, args.output)
    if args.watch:
        return _watch(source)
    if reconcile_once(source, since):
        say(f"Batches and task logs of all that changed since {utc(since)} are equal to Airflow's state.")
    else:
        with read_session() as session:
            current_at = record_current_at(session)
        say(f"Another reconciler does this all the time; the record is complete as of {utc(current_at) or 'never'}.")
    return 0


def _check(source: Source, since: datetime, output: str) -> int:
    found = disagreements(source, since)
    if output != "table":
        write_data([asdict(one) for one in found], output)
    elif found:
        columns = ("try", "differs", "task", "workflow", "batch", "recorded", "Airflow")
        write_table(columns, [_cells(one) for one in found], below=("recorded", "Airflow"))
    else:
        say(f"No differences in all that changed since {utc(since)}.")
    return 1 if found else 0


def _cells(one: Disagreement) -> tuple[str, ...]:
    task = task_name(one.task_id or "", one.map_index)
    number = str(one.try_number) if one.task_id is not None else ""
    return (number, one.what, task, one.workflow_id, one.batch_id, one.recorded or "", one.airflow or "")


def _watch(source: Source) -> int:
    from provider.reconciler.loop import ReconcilerLoop
    from provider.reconciler.passes import Reconciler

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    loop = ReconcilerLoop(Reconciler(source), settings.get_float("reconcile_interval"), idle=source.idle)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    loop.run()
    return 0
