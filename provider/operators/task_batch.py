"""
The frame of a workflow's run: ``start_batch`` opens the TaskBatch and its scope, a guard keeps every task to it.

A TaskBatch is a DAG run, its ``batch_id`` the ``run_id``. Which tasks run is decided once, by ``start_batch``, and stored;
retries and clears obey what is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from provider import settings
from provider.airflow_internals.secrets import redact
from provider.airflow_internals.supervisor import is_of_dags_test, is_resuming, literal_map_length, states_of_tasks
from provider.batch_ids import TEMPORARY_RUN_PREFIX
from provider.exceptions import (
    AcceleratorError,
    ConfigurationError,
    RunConfError,
    SchemaOutOfDateError,
    SettingUnavailableError,
)
from provider.metadata.states import DISABLED_REASON, OUT_OF_SCOPE_REASON
from provider.operators.condition import Condition
from provider.run_conf import Scope, checked_message_id, completed_task_id, requested_scope, run_source, used_params
from provider.task_reports import PARENT_SKIPPED, RUN_IF_FALSE
from provider.texts import first_line, plain

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ScopeGuard", "StartBatchOperator"]

START_BATCH_TASK_ID = "start_batch"
SCOPE_XCOM_KEY = "scope"

#: Time between two looks whether the application database is back.
OUTAGE_PAUSE = timedelta(seconds=15)

log = logging.getLogger(__name__)


class StartBatchOperator(BaseOperator):
    """
    Open the TaskBatch of this run, store its scope and skip every task that is out of it.

    The wish is read from the run's conf, else from its params: ``start_task_id`` (a task id, or a list of them) and ``scope``
    (``workflow``, ``downstream`` or ``task``). Without a start the whole workflow runs; with one, by default, everything
    downstream of it. Tasks that are disabled in the table ``tasks`` are skipped too. The result is pushed as the XCom
    ``scope``: ``{"task_ids": [...] | null, "disabled": [...]}``.

    :param edges: task id → ids of its children, with a key for every task of the workflow but this one.
    :raises AirflowFailException: the wish names a task or a scope that does not exist, or has the wrong type.
    :raises AirflowRescheduleException: the application database is away; the task waits without a worker, for
        ``[accelerator] outage_wait_hours`` at most.
    :raises AirflowException: the application database cannot be used; a retry may help.
    """

    ui_color = "#dfe8f7"

    def __init__(self, *, edges: dict[str, list[str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.edges = edges

    def execute(self, context: Context) -> None:
        """Store the scope and push it as XCom; skip what does not belong to the batch."""
        dag_run = context["dag_run"]
        conf = dag_run.conf if isinstance(dag_run.conf, Mapping) else {}
        try:
            requested = requested_scope({**context["params"], **conf}, self.edges)
            message_id = checked_message_id(conf, self.dag_id, dag_run.run_id)
            done_elsewhere = {task_id for task_id in [completed_task_id(conf)] if task_id in self.edges}
            if dag_run.run_id.startswith(TEMPORARY_RUN_PREFIX):
                scope, disabled = requested, set[str]()
            else:
                scope, disabled = self._open(context, requested, message_id, done_elsewhere)
        except SettingUnavailableError as error:
            raise AirflowException(str(error)) from error
        except (ConfigurationError, RunConfError) as error:
            raise AirflowFailException(str(error)) from error
        in_scope = set(self.edges) if scope.task_ids is None else set(scope.task_ids)
        context["ti"].xcom_push(key=SCOPE_XCOM_KEY, value={"task_ids": scope.task_ids, "disabled": sorted(disabled & in_scope)})
        out = (set(self.edges) - in_scope) | (disabled & set(self.edges))
        self.log.info("Scope %s: %d of %d tasks run.", scope.scope, len(self.edges) - len(out), len(self.edges))
        if out:
            raise DownstreamTasksSkipped(tasks=list(self._instances(sorted(out))))  # type: ignore[no-untyped-call]

    def _open(
        self, context: Context, requested: Scope, message_id: str | None, done_elsewhere: set[str]
    ) -> tuple[Scope, set[str]]:
        """Write the batch in one transaction; return the scope that holds and what is disabled."""
        from provider.metadata.batches import open_batch
        from provider.metadata.definition_rows import disabled_task_ids
        from provider.metadata.engine import write_session

        dag_run = context["dag_run"]
        triggered_by = "test" if is_of_dags_test(dag_run) else None
        with _outage_explained(self.dag_id, dag_run.run_id, "written to", self.task_id, context):
            with write_session() as session:
                disabled = disabled_task_ids(session, self.dag_id)
                scope = open_batch(
                    session,
                    self.dag_id,
                    dag_run.run_id,
                    run_after=dag_run.run_after,
                    requested=requested,
                    source=run_source(plain(dag_run.run_type), triggered_by, by_message=message_id is not None),
                    params=used_params(context["params"], redact),
                    message_id=message_id,
                    all_task_ids=sorted(self.edges),
                    disabled=disabled,
                    done_elsewhere=done_elsewhere,
                )
        return scope, disabled

    def _instances(self, task_ids: Iterable[str]) -> Iterable[str | tuple[str, int]]:
        """Name every task instance to skip; instances of a literal ``expand`` exist already and need their index."""
        dag = self.get_dag()
        for task_id in task_ids:
            yield task_id
            count = literal_map_length(dag.task_dict.get(task_id)) if dag is not None else 0
            yield from ((task_id, index) for index in range(count))


class ScopeGuard:
    """
    ``pre_execute`` of every task behind ``start_batch``: runs the task only if it belongs to the batch.

    Airflow skips what ``start_batch`` names, but a clear of single tasks forgets that. The guard looks at the stored scope
    each time, and gives skipped parents the meaning people expect: a child runs only after every parent in scope succeeded.

    :param on_parent_skip: ``skip`` skips the task when a parent in scope was skipped or is disabled, ``run`` runs it.
    :param run_if: skips the task where it does not hold; the last thing that is looked at.
    :raises AirflowSkipException: the task is out of scope, disabled, behind a skipped parent, or its condition does not hold.
    :raises AirflowFailException: ``start_batch`` has not run in this DAG run, or the condition cannot be evaluated.
    :raises AirflowException: ``start_batch`` runs again, and the application database, which has the scope, cannot be used.
    """

    def __init__(self, on_parent_skip: Literal["skip", "run"] = "skip", run_if: Condition | None = None) -> None:
        if on_parent_skip not in ("skip", "run"):
            raise AcceleratorError(f"on_parent_skip must be 'skip' or 'run', not {on_parent_skip!r}.")
        self.on_parent_skip = on_parent_skip
        self.run_if = run_if

    def __call__(self, context: Context) -> None:
        """Skip the task where there is a reason to; called before it is executed."""
        reason = None if is_resuming(context["ti"]) else self.skip_reason(context)
        if reason is not None:
            # Airflow tells its listeners that a task was skipped, but not why.
            context["ti"].task.skip_reason = reason
            raise AirflowSkipException(reason)

    def skip_reason(self, context: Context) -> str | None:
        """Return why the task must not run, or None if it may."""
        ti = context["ti"]
        scope = ti.xcom_pull(task_ids=START_BATCH_TASK_ID, key=SCOPE_XCOM_KEY, map_indexes=-1)
        if not isinstance(scope, dict) and ti.run_id.startswith(TEMPORARY_RUN_PREFIX):
            # Of `airflow tasks test`: whoever tests a task wants it to run, and no other one runs.
            scope = {"task_ids": None, "disabled": []}
        elif not isinstance(scope, dict):
            scope = _scope_of_batch(ti.dag_id, ti.run_id, context["dag_run"].run_after)
        if scope is None:
            raise AirflowFailException(
                f"run {ti.run_id} of {ti.dag_id} has no stored scope: {START_BATCH_TASK_ID} has not run. "
                f"Clear the task {START_BATCH_TASK_ID} of this run."
            )
        in_scope = None if scope["task_ids"] is None else set(scope["task_ids"])
        if in_scope is not None and ti.task_id not in in_scope:
            return OUT_OF_SCOPE_REASON
        if ti.task_id in scope["disabled"]:
            return DISABLED_REASON
        if skipped := self._skipped_parents(ti, in_scope):
            return f"{PARENT_SKIPPED}{', '.join(skipped)}"
        if self.run_if is not None and not self.run_if.holds(context):
            return f"{RUN_IF_FALSE}{self.run_if}"
        return None

    def _skipped_parents(self, ti: Any, in_scope: set[str] | None) -> list[str]:
        parents = ti.task.upstream_task_ids - {START_BATCH_TASK_ID}
        if in_scope is not None:
            parents &= in_scope
        if self.on_parent_skip == "run" or not parents:
            return []
        # Of a mapped parent one skipped instance is enough.
        return sorted(parent for parent, states in states_of_tasks(ti, parents).items() if "skipped" in states)


def _scope_of_batch(dag_id: str, run_id: str, run_after: datetime) -> dict[str, Any] | None:
    """Read the scope where ``start_batch`` has stored it for good: its XCom is gone while it runs again after a clear."""
    from provider.metadata.batches import stored_scope
    from provider.metadata.definition_rows import disabled_task_ids
    from provider.metadata.engine import read_session

    with _outage_explained(dag_id, run_id, "read from", "the task"):
        with read_session() as session:
            scope = stored_scope(session, dag_id, run_id, run_after)
            disabled = sorted(disabled_task_ids(session, dag_id))
    return None if scope is None else {"task_ids": scope.task_ids, "disabled": disabled}


@contextmanager
def _outage_explained(dag_id: str, run_id: str, done: str, to_clear: str, waiting: Context | None = None) -> Iterator[None]:
    """
    Turn an error of the application database into one that says what to do; a retry may help.

    :param waiting: of a task that may wait until the database is back; None for one that may not.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from provider.metadata.engine import is_outage

    try:
        yield
    except (SQLAlchemyError, SchemaOutOfDateError) as error:
        # Between a new version of the package and its schema there are minutes, in which people upgrade or go back.
        if waiting is not None and (isinstance(error, SchemaOutOfDateError) or is_outage(error)):
            _wait_for_database(waiting, error)
        raise AirflowException(
            f"the scope of batch {run_id} of {dag_id} could not be {done} the application database: {first_line(error, 500)}. "
            f"Check the database and [accelerator] sql_alchemy_conn, then clear {to_clear}."
        ) from error


def _wait_for_database(context: Context, error: Exception) -> None:
    """
    Put the task off, without a worker, unless it has waited long enough.

    :raises AirflowRescheduleException: it is to be tried again.
    """
    now = datetime.now(UTC)
    since = context["ti"].get_first_reschedule_date(context) or now
    longest = timedelta(hours=settings.get_float("outage_wait_hours"))
    if now - since >= longest:
        return
    log.warning(
        "Waiting for the application database since %s, until %s at most ([accelerator] outage_wait_hours); the next look is in "
        "%.0f s: %s",
        *(since.isoformat(timespec="seconds"), (since + longest).isoformat(timespec="seconds")),
        *(OUTAGE_PAUSE.total_seconds(), first_line(error, 500)),
    )
    raise AirflowRescheduleException(now + OUTAGE_PAUSE) from error  # type: ignore[no-untyped-call]
