"""
The frame of a workflow's run: ``start_batch`` opens the TaskBatch and its scope, a guard keeps every task to it.

A TaskBatch is a DAG run, its ``batch_id`` the ``run_id``. Which tasks run is decided once, by ``start_batch``, and stored;
retries and clears obey what is stored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, DownstreamTasksSkipped

from provider import settings
from provider.batch_ids import TEMPORARY_RUN_PREFIX
from provider.exceptions import AcceleratorError, ConfigurationError
from provider.metadata.batches import DISABLED_REASON, OUT_OF_SCOPE_REASON, Scope, open_batch, run_source

if TYPE_CHECKING:
    from airflow.sdk import Context

START_BATCH_TASK_ID = "start_batch"
SCOPE_XCOM_KEY = "scope"
SCOPES = ("workflow", "downstream", "task")
RESERVED_PARAMS = frozenset({"start_task_id", "scope", "_accelerator"})
"""Keys of a run's conf that belong to us; everything else is a parameter of the workflow."""

_SHOWN_IDS = 20


class StartBatchOperator(BaseOperator):
    """
    Open the TaskBatch of this run, store its scope and skip every task that is out of it.

    The wish is read from the run's conf, else from its params: ``start_task_id`` (a task id, or a list of them) and ``scope``
    (``workflow``, ``downstream`` or ``task``). Without a start the whole workflow runs; with one, by default, everything
    downstream of it. Tasks that are disabled in the table ``tasks`` are skipped too. The result is pushed as the XCom
    ``scope``: ``{"task_ids": [...] | null, "disabled": [...]}``.

    :param edges: task id → ids of its children, with a key for every task of the workflow but this one.
    :raises AirflowFailException: the wish names a task or a scope that does not exist, or has the wrong type.
    :raises AirflowException: the application database cannot be used; a retry may help.
    """

    ui_color = "#dfe8f7"

    def __init__(self, *, edges: dict[str, list[str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.edges = edges

    def execute(self, context: Context) -> None:
        try:
            settings.refuse_embedded_database_across_machines()
        except ConfigurationError as error:
            raise AirflowFailException(str(error)) from error
        dag_run = context["dag_run"]
        conf = dag_run.conf if isinstance(dag_run.conf, Mapping) else {}
        requested = requested_scope({**context["params"], **conf}, self.edges)
        message_id = _message_id(conf, dag_run.run_type)
        done_elsewhere = {task_id for task_id in [completed_task_id(conf)] if task_id in self.edges}
        if dag_run.run_id.startswith(TEMPORARY_RUN_PREFIX):
            scope, disabled = requested, set[str]()
        else:
            scope, disabled = self._open(context, requested, message_id, done_elsewhere)
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
        from provider.metadata.definitions import disabled_task_ids
        from provider.metadata.engine import write_session

        dag_run = context["dag_run"]
        by_test = getattr(dag_run, "triggering_user_name", None) == "dag_test"
        with _outage_explained(self.dag_id, dag_run.run_id, "written to", self.task_id):
            with write_session() as session:
                disabled = disabled_task_ids(session, self.dag_id)
                scope = open_batch(
                    session,
                    self.dag_id,
                    dag_run.run_id,
                    requested=requested,
                    source=run_source(
                        _text(dag_run.run_type), "test" if by_test else None, by_message=isinstance(message_id, str)
                    ),
                    params=used_params(context["params"]),
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
            count = _literal_map_length(dag.task_dict.get(task_id)) if dag is not None else 0
            yield from ((task_id, index) for index in range(count))


class ScopeGuard:
    """
    ``pre_execute`` of every task behind ``start_batch``: runs the task only if it belongs to the batch.

    Airflow skips what ``start_batch`` names, but a clear of single tasks forgets that. The guard looks at the stored scope
    each time, and gives skipped parents the meaning people expect: a child runs only after every parent in scope succeeded.

    :param on_parent_skip: ``skip`` skips the task when a parent in scope was skipped or is disabled, ``run`` runs it.
    :raises AirflowSkipException: the task is out of scope, disabled, or behind a skipped parent.
    :raises AirflowFailException: ``start_batch`` has not run in this DAG run.
    :raises AirflowException: ``start_batch`` runs again, and the application database, which has the scope, cannot be used.
    """

    def __init__(self, on_parent_skip: Literal["skip", "run"] = "skip") -> None:
        if on_parent_skip not in ("skip", "run"):
            raise AcceleratorError(f"on_parent_skip must be 'skip' or 'run', not {on_parent_skip!r}.")
        self.on_parent_skip = on_parent_skip

    def __call__(self, context: Context) -> None:
        reason = None if _is_resuming(context["ti"]) else self.skip_reason(context)
        if reason is not None:
            # Airflow tells its listeners that a task was skipped, but not why.
            context["ti"].task.skip_reason = reason
            raise AirflowSkipException(reason)

    def skip_reason(self, context: Context) -> str | None:
        """Return why the task must not run, or None if it may."""
        ti = context["ti"]
        scope = ti.xcom_pull(task_ids=START_BATCH_TASK_ID, key=SCOPE_XCOM_KEY, map_indexes=-1)
        if not isinstance(scope, dict):
            scope = _scope_of_batch(ti.dag_id, ti.run_id)
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
        parents = ti.task.upstream_task_ids - {START_BATCH_TASK_ID}
        if in_scope is not None:
            parents &= in_scope
        if self.on_parent_skip == "run" or not parents:
            return None
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=sorted(parents), run_ids=[ti.run_id]).get(ti.run_id, {})
        skipped = sorted(parent for parent in parents if _was_skipped(parent, states))
        return f"parent skipped: {', '.join(skipped)}" if skipped else None


def _scope_of_batch(dag_id: str, run_id: str) -> dict[str, Any] | None:
    """Read the scope where ``start_batch`` has stored it for good: its XCom is gone while it runs again after a clear."""
    from provider.metadata.batches import stored_scope
    from provider.metadata.definitions import disabled_task_ids
    from provider.metadata.engine import read_session

    with _outage_explained(dag_id, run_id, "read from", "the task"):
        with read_session() as session:
            scope = stored_scope(session, dag_id, run_id)
            disabled = sorted(disabled_task_ids(session, dag_id))
    return None if scope is None else {"task_ids": scope.task_ids, "disabled": disabled}


@contextmanager
def _outage_explained(dag_id: str, run_id: str, done: str, to_clear: str) -> Iterator[None]:
    """Turn an error of the application database into one that says what to do; a retry may help."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise AirflowException(
            f"the scope of batch {run_id} of {dag_id} could not be {done} the application database: {_first_line(error)}. "
            f"Check the database and [accelerator] sql_alchemy_conn, then clear {to_clear}."
        ) from error


def requested_scope(wish: Mapping[str, Any], edges: Mapping[str, Collection[str]]) -> Scope:
    """
    Turn ``start_task_id`` and ``scope`` of a run's conf or params into the tasks to run.

    :param wish: whatever the run was given; only these two keys are looked at.
    :param edges: task id → ids of its children, with a key for every task.
    :raises AirflowFailException: wrong type, unknown task or scope.
    """
    starts, name = wish.get("start_task_id"), wish.get("scope")
    starts = [starts] if isinstance(starts, str) else starts or []
    if not isinstance(starts, list) or not all(isinstance(start, str) for start in starts):
        raise AirflowFailException("start_task_id must be a task id or a list of task ids; start the run again with one.")
    if unknown := sorted(set(starts) - set(edges)):
        known = sorted(edges)
        more = f" and {len(known) - _SHOWN_IDS} more" if len(known) > _SHOWN_IDS else ""
        raise AirflowFailException(
            f"start_task_id names {_short(unknown)}, which this workflow does not have. Its tasks are: "
            f"{', '.join(known[:_SHOWN_IDS])}{more}."
        )
    if name is None:
        name = "downstream" if starts else "workflow"
    if name not in SCOPES:
        raise AirflowFailException(f"scope must be one of {', '.join(SCOPES)}, not {_short(name)}.")
    if name == "workflow":
        return Scope(sorted(set(starts)) or None, "workflow", None)
    if not starts:
        raise AirflowFailException(f"scope {name} needs a start_task_id: say from which task.")
    tasks = set(starts) if name == "task" else downstream_of(starts, edges)
    return Scope(sorted(set(starts)), name, sorted(tasks))


def downstream_of(starts: Iterable[str], edges: Mapping[str, Collection[str]]) -> set[str]:
    """Return the given tasks and everything that can be reached from them."""
    reached: set[str] = set()
    pending = list(starts)
    while pending:
        task_id = pending.pop()
        if task_id not in reached:
            reached.add(task_id)
            pending.extend(edges.get(task_id, ()))
    return reached


def used_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's parameters without our own keys, as JSON can hold them, with secrets masked by Airflow's rules."""
    from airflow.sdk.log import redact  # type: ignore[attr-defined]

    kept = {key: value for key, value in params.items() if key not in RESERVED_PARAMS}
    masked = redact(json.loads(json.dumps(kept, default=str)))
    return masked if isinstance(masked, dict) else {}


def request_message_id(conf: object, run_type: object) -> str | None:
    """Return the message that a run's conf was made from, or None where the dispatcher did not start the run."""
    by_task = _text(run_type) == "operator_triggered"  # a person's run may have a copy of such a conf
    request = conf.get("_accelerator") if by_task and isinstance(conf, Mapping) else None
    message_id = request.get("message_id") if isinstance(request, Mapping) else None
    return message_id if isinstance(message_id, str) and 0 < len(message_id) <= 250 else None


def completed_task_id(conf: object) -> str | None:
    """Return the task whose reported end made the dispatcher start a run behind it, from the run's conf."""
    request = conf.get("_accelerator") if isinstance(conf, Mapping) else None
    task_id = request.get("completed_task_id") if isinstance(request, Mapping) else None
    return task_id if isinstance(task_id, str) else None


def _message_id(conf: Mapping[str, Any], run_type: object) -> str | None:
    message_id = request_message_id(conf, run_type)
    if message_id is None and conf.get("_accelerator") is not None:
        raise AirflowFailException("_accelerator in the run's conf belongs to the dispatcher; start the run again without it.")
    return message_id


def _was_skipped(task_id: str, states: Mapping[str, Any]) -> bool:
    """Tell whether a task, or any instance of a mapped one (``<task_id>_<index>``), was skipped."""
    if task_id in states:
        return _text(states[task_id]) == "skipped"
    instance = re.compile(re.escape(task_id) + r"_\d+")
    return any(_text(state) == "skipped" for name, state in states.items() if instance.fullmatch(name))


def _is_resuming(ti: Any) -> bool:
    """Tell whether the task comes back from a deferral; it was let in when it started."""
    server = getattr(ti, "_ti_context_from_server", None)
    return bool(getattr(server, "next_method", None))


def _literal_map_length(task: Any) -> int:
    """Return how many instances a mapped task has from the start; 0 where another task's result decides, or for no map."""
    # A decorated task keeps its map under the longer name, and an empty one under the other.
    expand_input = getattr(task, "op_kwargs_expand_input", None) or getattr(task, "expand_input", None)
    values = getattr(expand_input, "value", None)
    if isinstance(values, Mapping):
        return math.prod(len(value) if isinstance(value, Collection) else 0 for value in values.values()) if values else 0
    return len(values) if isinstance(values, Collection) else 0


def _text(value: object) -> str:
    """Return the plain text of an Airflow state or type, which is an enum or a string."""
    return str(getattr(value, "value", value))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:500]
