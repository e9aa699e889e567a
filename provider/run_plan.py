"""
Starting a batch as a message would, without one: the conf of its run, which tasks run in which order, and which are skipped.

Airflow starts it, by ``POST /api/v2/dags/{dag_id}/dagRuns``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

from provider import messages
from provider.exceptions import AcceleratorError, MessageError
from provider.metadata.states import OUT_OF_SCOPE_REASON
from provider.plain_data import parse_json
from provider.run_conf import SCOPE, START_TASK_ID, Scope
from provider.task_reports import PARENT_SKIPPED
from provider.texts import quoted


@dataclass(frozen=True)
class RunPlan:
    """
    What a batch would run.

    :param levels: tasks that run; those of one level need only tasks of the levels before it.
    :param skipped: the others, each with the reason why.
    """

    levels: tuple[tuple[str, ...], ...]
    skipped: tuple[tuple[str, str], ...]


def new_batch_id() -> str:
    """Return an id for a batch that nobody has named."""
    return f"run_{datetime.now(UTC):%Y%m%dT%H%M%S}_{secrets.token_hex(3)}"


def read_params(given: Iterable[str]) -> dict[str, Any]:
    """
    Read params as people write them: ``NAME=VALUE``, the value as JSON, or as a text where it is none.

    :raises AcceleratorError: one has no name, or a name is given twice.
    """
    params: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise AcceleratorError(f"--param {quoted(text)} is no NAME=VALUE.")
        if name in params:
            raise AcceleratorError(f"--param {quoted(name)} is given twice.")
        try:
            params[name] = parse_json(value)
        except (ValueError, RecursionError):
            params[name] = value
    return params


def conf_of_start(task_ids: Collection[str], scope: str, batch_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """
    Return the conf of a run that a person starts, checked as a message that asks for the same.

    :param task_ids: where it starts; none for the whole workflow.
    :raises MessageError: a message would be refused; the text is the same.
    """
    asked = {"task_id": next(iter(task_ids), "start_batch"), "batch_id": batch_id, "scope": scope, "params": params}
    start = messages.read(json.dumps(asked).encode(), {}, "", None)
    if start.problem is not None:
        raise MessageError(start.problem)
    conf = {**(start.params or {}), SCOPE: start.scope}
    return {**conf, START_TASK_ID: sorted(set(task_ids))} if task_ids else conf


def plan_run(edges: Mapping[str, Collection[str]], scope: Scope, skips: Mapping[str, str], tolerant: Collection[str]) -> RunPlan:
    """
    Return what would run if every task that runs succeeded: the guard of the tasks decides by the same rules.

    :param edges: task id → ids of its children, with a key for every task.
    :param scope: what the batch is to run.
    :param skips: task id → why it is skipped for its own sake, such as one that is switched off.
    :param tolerant: tasks that run behind a skipped parent (``on_parent_skip: run``).
    """
    in_scope = set(edges) if scope.task_ids is None else set(scope.task_ids)
    parents: dict[str, set[str]] = {task_id: set() for task_id in in_scope}
    for parent in in_scope:
        for child in in_scope.intersection(edges[parent]):
            parents[child].add(parent)
    skipped = {task_id: OUT_OF_SCOPE_REASON for task_id in edges if task_id not in in_scope}
    levels = []
    order = TopologicalSorter(parents)
    order.prepare()
    while order.is_active():
        ready = order.get_ready()
        for task_id in ready:
            missing = sorted(parents[task_id] & skipped.keys())
            if task_id in skips:
                skipped[task_id] = skips[task_id]
            elif missing and task_id not in tolerant:
                skipped[task_id] = f"{PARENT_SKIPPED}{', '.join(missing)}"
        levels.append(tuple(sorted(task_id for task_id in ready if task_id not in skipped)))
        order.done(*ready)
    return RunPlan(tuple(level for level in levels if level), tuple(sorted(skipped.items())))
