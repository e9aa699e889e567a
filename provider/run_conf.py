"""
What the conf of a DAG run may carry, and what it says: the one place that knows its keys. No Airflow.

Two keys say what the batch runs; the form of every workflow has them too. One, ``_accelerator``, is the dispatcher's and says
which request the run was made for. All others are parameters of the workflow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from provider.exceptions import RunConfError
from provider.texts import quoted

#: Where the batch starts: a task id, or a list of them.
START_TASK_ID = "start_task_id"

#: How much of the workflow runs from there; one of :data:`SCOPES`.
SCOPE = "scope"

#: Whose run it is: see :class:`Origin`. People may not set it.
ORIGIN = "_accelerator"

#: The keys that the form of every workflow has, beside the workflow's own parameters.
FORM_KEYS = frozenset({START_TASK_ID, SCOPE})

#: The keys that belong to us; everything else is a parameter of the workflow.
RESERVED_KEYS = (START_TASK_ID, SCOPE, ORIGIN)

ScopeName = Literal["workflow", "downstream", "task"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)

#: Longest message id that there can be: what its column takes.
_LONGEST_MESSAGE_ID = 250

_SHOWN_IDS = 20
_SHOWN_CHARACTERS = 200

_SOURCE_OF_RUN_TYPE = {
    "scheduled": "schedule",
    "operator_triggered": "dag",
    "asset_triggered": "asset",
    "asset_materialization": "asset",
}
_SOURCE_OF_TRIGGER = {"rest_api": "api", "operator": "dag", "timetable": "schedule"}


@dataclass(frozen=True)
class Origin:
    """
    The request that a run was made for, and the run itself: a copy of the conf in another run is no proof of anything.

    :param request_id: its row in ``batch_requests``.
    :param message_id: the message's own id.
    :param workflow_id: DAG id of the run.
    :param batch_id: run id of the run.
    :param completed_task_id: the task whose reported end made the dispatcher start the run behind it; None for any other run.
    """

    request_id: int
    message_id: str
    workflow_id: str
    batch_id: str
    completed_task_id: str | None = None

    def as_conf(self) -> dict[str, Any]:
        """Return the value of the key ``_accelerator``."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Parent:
    """
    The task that a run was started by, and the run itself, as in :class:`Origin`.

    :param workflow_id: DAG id of the run.
    :param batch_id: run id of the run.
    :param started_by: DAG id, run id, task id and map index of the task.
    :param chain: DAG ids of the workflows that started one another up to this run, the first one first.
    """

    workflow_id: str
    batch_id: str
    started_by: tuple[str | int, ...]
    chain: tuple[str, ...]

    def as_conf(self) -> dict[str, Any]:
        """Return the value of the key ``_accelerator``."""
        return {**asdict(self), "started_by": list(self.started_by), "chain": list(self.chain)}


@dataclass(frozen=True)
class Scope:
    """
    What a batch runs.

    :param start_task_ids: where it starts; None for the whole workflow.
    :param scope: ``workflow``, ``downstream`` or ``task``.
    :param task_ids: the tasks in scope, sorted, without ``start_batch``; None for every task of the workflow.
    """

    start_task_ids: list[str] | None
    scope: str
    task_ids: list[str] | None


def conf_of_run(
    params: Mapping[str, Any], *, scope: str, start_task_ids: list[str] | None, origin: Origin | Parent
) -> dict[str, Any]:
    """
    Return the conf of a run that is started for a request, or by a task.

    :param params: values for the workflow's parameters.
    :param start_task_ids: None for the whole workflow.
    """
    conf = {**params, SCOPE: scope, ORIGIN: origin.as_conf()}
    return conf if start_task_ids is None else {**conf, START_TASK_ID: start_task_ids}


def reserved_among(params: Iterable[str]) -> list[str]:
    """Return the keys of ours that somebody has given as parameters."""
    given = set(params)
    return [key for key in RESERVED_KEYS if key in given]


def used_params(conf: Mapping[str, Any], mask: Callable[[Any], Any]) -> dict[str, Any]:
    """
    Return a run's parameters without our own keys, as JSON can hold them.

    :param conf: the run's conf, or its params.
    :param mask: takes secrets out of the whole, as Airflow's ``redact`` does.
    """
    kept = {key: value for key, value in conf.items() if key not in RESERVED_KEYS}
    masked = mask(json.loads(json.dumps(kept, default=str)))
    return masked if isinstance(masked, dict) else {}


def origin_of(conf: object) -> Mapping[str, Any] | None:
    """Return what a run's conf says of its origin, unchecked; None where it says nothing that can be read."""
    origin = conf.get(ORIGIN) if isinstance(conf, Mapping) else None
    return origin if isinstance(origin, Mapping) else None


def message_id(conf: object, dag_id: str, run_id: str) -> str | None:
    """Return the message that this run's conf was made from, or None where it was made for no message, or for another run."""
    found = _own(conf, dag_id, run_id).get("message_id")
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_MESSAGE_ID else None


def chain_of(conf: object, dag_id: str, run_id: str) -> tuple[str, ...]:
    """Return the workflows that started one another up to this run, the first one first; empty where no task started it."""
    found = _own(conf, dag_id, run_id).get("chain")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def starter_of(conf: object, dag_id: str, run_id: str) -> tuple[str | int, ...]:
    """Return DAG id, run id, task id and map index of the task that started this run; empty where none did."""
    found = _own(conf, dag_id, run_id).get("started_by")
    return tuple(found) if isinstance(found, list) else ()


def _own(conf: object, dag_id: str, run_id: str) -> Mapping[str, Any]:
    """Return what a run's conf says of its origin; nothing where that is another run's."""
    origin = origin_of(conf) or {}
    return origin if (origin.get("workflow_id"), origin.get("batch_id")) == (dag_id, run_id) else {}


def checked_message_id(conf: Mapping[str, Any], dag_id: str, run_id: str) -> str | None:
    """
    Return the message that this run's conf was made from, as :func:`message_id` does.

    :raises RunConfError: the conf was made for another run.
    """
    found = message_id(conf, dag_id, run_id)
    if found is None and conf.get(ORIGIN) is not None and not chain_of(conf, dag_id, run_id):
        raise RunConfError("_accelerator in the run's conf belongs to the dispatcher; start the run again without it.")
    return found


def completed_task_id(conf: object) -> str | None:
    """Return the task whose reported end made the dispatcher start a run behind it, from the run's conf."""
    task_id = (origin_of(conf) or {}).get("completed_task_id")
    return task_id if isinstance(task_id, str) else None


def run_source(run_type: str, triggered_by: str | None, *, by_message: bool) -> str:
    """
    Name what started a run: ``message``, ``test``, ``ui``, ``api``, ``cli``, ``dag``, ``schedule``, ``backfill``, ``asset``.

    :param run_type: Airflow's run type.
    :param triggered_by: Airflow's ``DagRun.triggered_by``; None where it is not known, as in a task process. What a person
        started is then ``manual``, until the reconciler says more.
    :param by_message: whether the run's conf carries the dispatcher's request.
    """
    if by_message:
        return "message"
    if triggered_by == "test":
        return "test"
    if run_type != "manual":
        return _SOURCE_OF_RUN_TYPE.get(run_type, run_type)
    return _SOURCE_OF_TRIGGER.get(triggered_by, triggered_by) if triggered_by else "manual"


def requested_scope(wish: Mapping[str, Any], edges: Mapping[str, Collection[str]]) -> Scope:
    """
    Turn ``start_task_id`` and ``scope`` of a run's conf or params into the tasks to run.

    :param wish: whatever the run was given; only these two keys are looked at.
    :param edges: task id → ids of its children, with a key for every task.
    :raises RunConfError: wrong type, unknown task or scope.
    """
    starts, name = wish.get(START_TASK_ID), wish.get(SCOPE)
    starts = [starts] if isinstance(starts, str) else starts or []
    if not isinstance(starts, list) or not all(isinstance(start, str) for start in starts):
        raise RunConfError("start_task_id must be a task id or a list of task ids; start the run again with one.")
    if unknown := sorted(set(starts) - set(edges)):
        known = sorted(edges)
        more = f" and {len(known) - _SHOWN_IDS} more" if len(known) > _SHOWN_IDS else ""
        raise RunConfError(
            f"start_task_id names {quoted(unknown, _SHOWN_CHARACTERS)}, which this workflow does not have. Its tasks are: "
            f"{', '.join(known[:_SHOWN_IDS])}{more}."
        )
    if name is None:
        name = "downstream" if starts else "workflow"
    if name not in SCOPES:
        raise RunConfError(f"scope must be one of {', '.join(SCOPES)}, not {quoted(name, _SHOWN_CHARACTERS)}.")
    if name == "workflow":
        return Scope(sorted(set(starts)) or None, "workflow", None)
    if not starts:
        raise RunConfError(f"scope {name} needs a start_task_id: say from which task.")
    tasks = set(starts) if name == "task" else downstream_of(starts, edges)
    return Scope(sorted(set(starts)), name, sorted(tasks))


def downstream_of(starts: Iterable[str], edges: Mapping[str, Collection[str]]) -> list[str]:
    """Return the given nodes and everything that can be reached from them, the nearest first."""
    reached = list(dict.fromkeys(starts))
    known = set(reached)
    for node in reached:  # which grows meanwhile
        new = [child for child in dict.fromkeys(edges.get(node, ())) if child not in known]
        reached += new
        known.update(new)
    return reached
