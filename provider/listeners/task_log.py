"""
The listener. Hooks are hints: none fires for every transition, and what they say may never be committed.

In a task process they write provisional TaskLog rows, so that people see a task move at once and read the exception that
Airflow itself does not keep. In the scheduler they only wake the reconciler, which reads what is committed and has the last
word. No hook may fail, slow or block anything, so each catches whatever happens and does its work elsewhere.

Loaded by every Airflow process: nothing heavy is imported here. Hooks declare only the arguments that they use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from airflow.listeners import hookimpl

from provider.airflow_internals.processes import is_in_task_process, is_job

log = logging.getLogger(__name__)


def _harmless(call: Callable[..., object], *arguments: Any) -> None:
    """Call, whatever comes of it: even SystemExit in a hook has failed tasks. Only Ctrl-C is somebody's wish."""
    try:
        call(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException:
        log.warning("The task log of the application database was not updated; the reconciler will do it.", exc_info=True)


@hookimpl
def on_starting(component: Any) -> None:
    """Start the reconciler where a job starts that turns out to be the scheduler."""
    _harmless(_process_starts, component)


@hookimpl
def before_stopping(component: Any) -> None:
    """Let the reconciler take a last look."""
    _harmless(_process_stops, component)


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Record that a try has begun."""
    _harmless(_task_instance, task_instance, "running", None)


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """Record that a try has succeeded."""
    _harmless(_task_instance, task_instance, "success", None)


@hookimpl
def on_task_instance_failed(task_instance: Any, error: Any) -> None:
    """Record that a try has failed; ``up_for_retry`` comes this way too."""
    _harmless(_task_instance, task_instance, "failed", error)


@hookimpl
def on_task_instance_skipped(task_instance: Any) -> None:
    """Record that a task has skipped itself."""
    _harmless(_task_instance, task_instance, "skipped", None)


@hookimpl
def on_dag_run_running(dag_run: Any) -> None:
    """Wake the reconciler."""
    _harmless(_dag_run, dag_run)


@hookimpl
def on_dag_run_success(dag_run: Any) -> None:
    """Wake the reconciler, or be it at the end of ``airflow dags test``."""
    _harmless(_dag_run, dag_run)


@hookimpl
def on_dag_run_failed(dag_run: Any) -> None:
    """Wake the reconciler, or be it at the end of ``airflow dags test``."""
    _harmless(_dag_run, dag_run)


def _process_starts(component: Any) -> None:
    if is_job(component):
        # What task processes write with: those that the LocalExecutor forks off have it then, and need not import it each.
        import provider.listeners.task_process
        import provider.metadata.engine
        import provider.metadata.task_logs  # noqa: F401
        from provider.metadata.database_url import import_driver
        from provider.reconciler import host

        import_driver()

        host.start(component)


def _process_stops(component: Any) -> None:
    if is_job(component):
        from provider.reconciler import host

        host.stop(component)


def _task_instance(task_instance: Any, state: str, error: Any) -> None:
    if is_in_task_process(task_instance):
        from provider.listeners import task_process

        task_process.recorder.record(task_instance, state, error)
        return
    from provider.reconciler import host

    host.hint(task_instance, error)


def _dag_run(dag_run: Any) -> None:
    from provider.listeners import dag_test
    from provider.reconciler import host

    if not host.hint():
        dag_test.run_changed(dag_run)
