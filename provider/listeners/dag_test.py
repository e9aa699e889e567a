"""
Reconciling at the end of ``airflow dags test``, which has no scheduler: the CLI's own process does everything.

A run is mirrored when its end is committed. Where it never comes to that (Ctrl-C, a crash of the command), it is mirrored
as it stands when the process exits.
"""

from __future__ import annotations

import atexit
import logging
from typing import Any

from provider.airflow_internals.processes import is_of_dags_test

log = logging.getLogger(__name__)
_open_runs: set[tuple[str, str]] = set()
#: Runs whose end somebody is about to commit.
_ending_runs: set[tuple[str, str]] = set()
_registered = False
_listening = False


def watch(dag_id: str, run_id: str) -> None:
    """Mirror this run when the process exits, unless its end was seen before."""
    global _registered
    _open_runs.add((dag_id, run_id))
    if not _registered:
        _registered = True
        atexit.register(_at_exit)


def run_changed(dag_run: Any) -> None:
    """
    Mirror a run of ``dags test`` once the transaction that ends it is committed.

    :param dag_run: Airflow's ORM DagRun, in the middle of that transaction, but not always attached to its session.
    """
    if not is_of_dags_test(dag_run):
        return
    global _listening
    if not _listening:
        from sqlalchemy import event
        from sqlalchemy.orm import Session

        _listening = True
        event.listen(Session, "after_commit", _committed)
    watch(dag_run.dag_id, dag_run.run_id)
    _ending_runs.add((dag_run.dag_id, dag_run.run_id))


def _committed(_session: Any) -> None:
    """Look whether this commit, of whatever session, was the one that ended a run."""
    keys = list(_ending_runs)
    if keys:
        _ending_runs.clear()  # our own sessions commit too
        _ending_runs.update(_mirror(keys))


def _at_exit() -> None:
    _mirror(list(_open_runs))


def _mirror(keys: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Mirror runs as they are; return those that have not ended."""
    from provider.reconciler.passes import reconcile_runs

    try:
        _open_runs.difference_update(reconcile_runs(keys))
    except BaseException:
        # The command's result must not depend on ours.
        log.warning("The application database does not show the end of this run yet.", exc_info=True)
        return set()
    return _open_runs.intersection(keys)
