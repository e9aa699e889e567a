"""What came of a round in Airflow and in the tables, against the definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provider.metadata.states import STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE
from tests.storms.scopes_definition import BLOCKED_BY, START_BATCH, SUCCESS, Reason
from tests.storms.scopes_events import Event
from tests.storms.scopes_plan import Step, Workflow


@dataclass(frozen=True)
class Log:
    """The newest TaskLog of a task."""

    status: str
    message: str | None


@dataclass(frozen=True)
class Found:
    """
    What there is at the end of a round.

    :param events: what the tasks wrote down in this round, in its order.
    :param states: task → Airflow's state, ``start_batch`` among them.
    :param batch: the row of ``task_batches``.
    """

    events: Sequence[Event]
    states: Mapping[str, str | None]
    run_state: str
    batch: Mapping[str, Any] | None
    logs: Mapping[str, Log]

    def mirrored(self) -> bool:
        """Tell whether the tables say what Airflow says, and why where a reason is due."""
        if self.batch is None or self.batch["status"] != STATUS_OF_RUN_STATE[self.run_state]:
            return False
        for task, state in self.states.items():
            log = self.logs.get(task)
            if log is None or log.status != STATUS_OF_TASK_STATE[state] or (state != SUCCESS and log.message is None):
                return False
        return True


def deviations(workflow: Workflow, step: Step, found: Found) -> Iterator[str]:
    """Yield a line for each thing that is not as the definition says."""
    yield from _executions(step, found)
    yield from _order(step, found.events)
    yield from _states(workflow, step, found)
    yield from _reasons(step, found.logs)
    yield from _stored_batch(workflow, found)


def _executions(step: Step, found: Found) -> Iterator[str]:
    intended = step.intended.ran
    began = Counter(event.task_id for event in found.events if event.kind == "start")
    for task in sorted(intended.keys() | began):
        if task not in intended:
            yield f"{task} ran and must not"
        elif not began[task]:
            yield f"{task} did not run and must"
        elif began[task] != len(intended[task]):
            yield f"{task} ran {began[task]} times, intended {len(intended[task])}"
    ended = Counter(event.task_id for event in found.events if event.kind == "end")
    yield from (f"{task} began and did not end" for task in sorted(began - ended))


def _order(step: Step, events: Sequence[Event]) -> Iterator[str]:
    last_end = {event.task_id: place for place, event in enumerate(events) if event.kind == "end"}
    first_start = {event.task_id: place for place, event in reversed(list(enumerate(events))) if event.kind == "start"}
    for parent, child in sorted(step.intended.order):
        if parent in last_end and child in first_start and first_start[child] < last_end[parent]:
            yield f"{child} began before its parent {parent} had ended"


def _states(workflow: Workflow, step: Step, found: Found) -> Iterator[str]:
    intended = {START_BATCH: SUCCESS, **step.intended.states}
    for task, state in intended.items():
        if found.states.get(task) != state:
            yield f"{task} is {found.states.get(task)}, intended {state}"
        log = found.logs.get(task)
        status = STATUS_OF_TASK_STATE[found.states.get(task)]
        if log is None:
            yield f"{task} has no TaskLog"
        elif log.status != status:
            yield f"TaskLog of {task} is {log.status}, and in Airflow it is {found.states.get(task)}"
    if found.run_state != step.intended.run_state:
        yield f"the run is {found.run_state}, intended {step.intended.run_state}"


def _reasons(step: Step, logs: Mapping[str, Log]) -> Iterator[str]:
    for task, reason in step.intended.reasons.items():
        message = logs[task].message if task in logs else None
        if not _fits(reason, message or ""):
            names = f" one of {', '.join(sorted(reason.names))}" if reason.names else ""
            yield f"the reason of {task} is {message!r}, intended {reason.begins!r}{names}"


def _fits(reason: Reason, message: str) -> bool:
    if reason.begins == BLOCKED_BY:
        named = message.removeprefix(BLOCKED_BY).split(", ")
        return message.startswith(BLOCKED_BY) and set(named) <= reason.names
    return message == reason.begins if reason.exact else message.startswith(reason.begins)


def _stored_batch(workflow: Workflow, found: Found) -> Iterator[str]:
    batch = found.batch
    if batch is None:
        yield "there is no TaskBatch"
        return
    if batch["status"] != STATUS_OF_RUN_STATE[found.run_state]:
        yield f"the TaskBatch is {batch['status']}, and the run is {found.run_state}"
    stored = set(workflow.tasks if batch["scope_task_ids"] is None else batch["scope_task_ids"])
    if stored != workflow.scope:
        yield f"the scope is stored as {sorted(stored)}, intended {sorted(workflow.scope)}"
    if set(batch["start_task_ids"] or ()) != set(workflow.wish.starts):
        yield f"the starts are stored as {batch['start_task_ids']}, intended {sorted(workflow.wish.starts)}"
