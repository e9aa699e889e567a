"""
The door to the task's supervisor, and to what it has told the task: all of it that Airflow does not call public.

Each function says what it stands on. ``tests/provider/airflow_internals/test_supervisor.py`` holds Airflow to it, and
:func:`problems` tells at run time what would otherwise go wrong without an error.

Imported by every DAG file, so Airflow's own modules are imported where they are used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provider.exceptions import AcceleratorError
from provider.texts import plain


class AirflowRefusedError(AcceleratorError):
    """
    Airflow's API refused what a task asked for, or did not answer.

    :param text: what it said.
    :param status: HTTP status; None where there was no answer.
    :param reason: Airflow's own code, such as ``not_found``; None where it gave none.
    """

    def __init__(self, text: str, *, status: int | None, reason: str | None) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class FoundRun:
    """A DAG run that is there: its conf, and its type and state in Airflow's words."""

    conf: Mapping[str, Any]
    run_type: str
    state: str


def trigger_dag_run(dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
    """
    Start a DAG run without a logical date.

    Stands on the message ``airflow.sdk.execution_time.comms.TriggerDagRun`` to
    ``airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS``, of which the supervisor makes a POST with the ids put into the
    path as they are, and on its answers: anything, or an ``ErrorResponse`` with ``DAGRUN_ALREADY_EXISTS`` (3.3.2).

    :param run_id: quoted.
    :return: False where there is such a run already.
    :raises AirflowRefusedError: for every other refusal.
    """
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

    answer = _ask(TriggerDagRun(dag_id=dag_id, run_id=run_id, logical_date=None, conf=conf))
    if not isinstance(answer, ErrorResponse):
        return True
    if answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
        raise _refusal_of_response(answer)
    return False


def get_dag_run(dag_id: str, run_id: str) -> FoundRun:
    """
    Return a DAG run.

    Stands on the message ``airflow.sdk.execution_time.comms.GetDagRun`` and on its answer ``DagRunResult`` with ``conf``,
    ``run_type`` and ``state`` (3.3.2).

    :param run_id: quoted.
    :raises AirflowRefusedError: there is none (404), or Airflow does not answer.
    """
    from airflow.sdk.execution_time.comms import DagRunResult, ErrorResponse, GetDagRun

    answer = _ask(GetDagRun(dag_id=dag_id, run_id=run_id))
    if isinstance(answer, ErrorResponse):
        raise _refusal_of_response(answer)
    if not isinstance(answer, DagRunResult):
        raise TypeError(f"Airflow answered GetDagRun with {type(answer).__name__}; expected a DagRunResult.")
    return FoundRun(answer.conf or {}, plain(answer.run_type), plain(answer.state))


def count_dag_runs(dag_id: str, states: Sequence[str]) -> int:
    """
    Return how many runs of a DAG are in one of these states.

    Stands on the static method ``airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_dr_count``, which also works
    without a task instance (3.3.2).

    :raises AirflowRefusedError: Airflow does not answer.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    with _refusals():
        return RuntimeTaskInstance.get_dr_count(dag_id, states=list(states))


#: As Airflow calls a task instance that its DAG has no task for any more.
GONE = "removed"


def task_instance_state(*, dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str | None:
    """
    Return the committed state of one task instance; None where it has none yet, and :data:`GONE` where it does not exist.

    Somebody has deleted the run of one that does not exist: Airflow deletes no others.

    Stands on the static method ``airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states``, which works in
    the triggerer too, and on its answer: run id → name → state, where the name of a mapped task instance is
    ``<task_id>_<map_index>`` (3.3.2).

    :param map_index: None or -1 for a task that is not mapped.
    :raises AirflowRefusedError: Airflow refused or could not answer.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    index = -1 if map_index is None else map_index
    with _refusals():
        states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, map_index=index, task_ids=[task_id], run_ids=[run_id])
    state = states.get(run_id, {}).get(task_id if index < 0 else f"{task_id}_{index}", GONE)
    return None if state is None else plain(state)


def states_of_tasks(ti: Any, task_ids: Collection[str]) -> dict[str, set[str]]:
    """
    Return the states of tasks in the run of a task instance: task id → the states of its instances, none for one without any.

    The method ``airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states`` of a task's own instance is public;
    the names in its answer are not, see :func:`task_instance_state` (3.3.2).

    :param ti: the running task's instance.
    :raises AirflowRefusedError: Airflow refused or could not answer.
    """
    with _refusals():
        answer = ti.get_task_states(dag_id=ti.dag_id, task_ids=sorted(task_ids), run_ids=[ti.run_id]).get(ti.run_id, {})
    found: dict[str, set[str]] = {}
    for task_id in task_ids:
        instance = re.compile(re.escape(task_id) + r"_\d+")
        names = [task_id] if task_id in answer else [name for name in answer if instance.fullmatch(name)]
        found[task_id] = {plain(answer[name]) for name in names}
    return found


def is_resuming(ti: Any) -> bool:
    """
    Tell whether a task comes back from a deferral.

    Stands on the private attribute ``_ti_context_from_server`` of
    ``airflow.sdk.execution_time.task_runner.RuntimeTaskInstance``, and on the field ``next_method`` of what it holds (3.3.2).
    Without them every task looks like one that begins: see :func:`problems`.
    """
    server = getattr(ti, "_ti_context_from_server", None)
    return bool(getattr(server, "next_method", None))


def run_after_of(ti: Any) -> datetime | None:
    """
    Return when Airflow was to start the run of a task instance, which the context of a task has too, for more than it costs.

    Stands on the private attribute ``_ti_context_from_server`` of
    ``airflow.sdk.execution_time.task_runner.RuntimeTaskInstance``, and on ``dag_run.run_after`` of what it holds (3.3.2).
    Without them it is None, and what a process of a deleted run tells may go to another run with its id: see :func:`problems`.
    """
    server = getattr(ti, "_ti_context_from_server", None)
    found: datetime | None = getattr(getattr(server, "dag_run", None), "run_after", None)
    return found


def is_of_dags_test(dag_run: Any) -> bool:
    """
    Tell whether a task's run is one of ``airflow dags test``.

    Stands on the name that ``airflow.sdk.DAG.test`` gives to ``triggering_user_name``: a task is not told more of it (3.3.2).
    """
    return getattr(dag_run, "triggering_user_name", None) == "dag_test"


def literal_map_length(task: Any) -> int:
    """
    Return how many instances a mapped task has from the start; 0 where another task's result decides, or for no map.

    Stands on ``airflow.sdk.definitions.mappedoperator.MappedOperator.expand_input``,
    ``airflow.sdk.bases.decorator.DecoratedMappedOperator.op_kwargs_expand_input``, and on the ``value`` of either: a mapping for
    ``expand``, a list for ``expand_kwargs`` (3.3.2). Without them the instances of a literal map that are out of scope are not
    skipped by ``start_batch`` but by their own guard: see :func:`problems`.
    """
    # A decorated task keeps its map under the longer name, and an empty one under the other.
    expand_input = getattr(task, "op_kwargs_expand_input", None) or getattr(task, "expand_input", None)
    values = getattr(expand_input, "value", None)
    if isinstance(values, Mapping):
        return math.prod(len(value) if isinstance(value, Collection) else 0 for value in values.values()) if values else 0
    return len(values) if isinstance(values, Collection) else 0


def problems() -> list[str]:
    """Return what this Airflow lacks of that which would be missed without an error."""
    from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
    from airflow.sdk.bases.decorator import DecoratedMappedOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from_server = "_ti_context_from_server" in RuntimeTaskInstance.__private_attributes__
    found = []
    if not from_server or "next_method" not in TIRunContext.model_fields:
        found.append(
            "it does not tell a task whether it comes back from a deferral "
            "(RuntimeTaskInstance._ti_context_from_server.next_method): the guard of a batch's scope runs again then, and may "
            "skip a task whose remote job is running"
        )
    elif "dag_run" not in TIRunContext.model_fields or "run_after" not in DagRun.model_fields:
        found.append(
            "it does not tell a task when its run was to start (RuntimeTaskInstance._ti_context_from_server.dag_run.run_after): "
            "what a task of a deleted run still writes may go to another batch with the same id"
        )
    if not hasattr(MappedOperator, "expand_input") or not hasattr(DecoratedMappedOperator, "op_kwargs_expand_input"):
        found.append(
            "it does not tell how long a literal map is (expand_input): start_batch cannot skip the instances of "
            "mapped tasks that are out of scope; each takes a worker to skip itself"
        )
    return found


def _ask(message: Any) -> Any:
    """Send a message to this task's supervisor and return its answer."""
    from airflow.sdk.execution_time import task_runner

    with _refusals():
        return task_runner.SUPERVISOR_COMMS.send(message)


@contextmanager
def _refusals() -> Iterator[None]:
    """
    Turn Airflow's errors into :class:`AirflowRefusedError`.

    A supervisor sends an ``ErrorResponse``, which raises ``AirflowRuntimeError``; where the supervisor is this process,
    ``ServerResponseError`` of its client comes at first hand.
    """
    from airflow.sdk.api.client import ServerResponseError
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        yield
    except AirflowRuntimeError as error:
        raise _refusal_of_response(error.error) from error
    except ServerResponseError as error:
        body = getattr(error, "detail", None)
        raise _refusal(getattr(error.response, "status_code", None), body, str(error)) from error


def _refusal_of_response(response: Any) -> AirflowRefusedError:
    """Read an ``ErrorResponse``: its ``detail`` has ``status_code`` and, as ``detail``, the body of the API's answer."""
    detail: dict[str, Any] = response.detail or {}
    return _refusal(detail.get("status_code"), detail.get("detail"), f"{response.error.value}: {response.detail}")


def _refusal(status: int | None, body: Any, text: str) -> AirflowRefusedError:
    """
    Read the body of an answer of Airflow's API: ``{"reason", "message"}``, with or without a ``detail`` around it.

    :param text: what there is to say where the body says nothing.
    """
    inner = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(inner, dict) and "message" in inner:
        return AirflowRefusedError(str(inner["message"]), status=status, reason=inner.get("reason"))
    return AirflowRefusedError(str(inner or text), status=status, reason=None)
