"""
What Airflow's audit log tells of people and of the scheduler: who marked, cleared or deleted what, and why a try was ended.

Plain data out of plain data, so that readers of the database and of the REST API share it. The names of the events are those
of the API server's functions and of literals in the scheduler (3.3.2); :func:`problems` looks for both. A note that a person
leaves is logged by the same event as a mark: only what ``extra`` has of the request's body tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "ALL_DAGS",
    "ENDED_BY_AIRFLOW",
    "ENDED_BY_SCHEDULER",
    "PERSON_EVENTS",
    "WITHOUT_RUN",
    "Entry",
    "PersonAct",
    "SchedulerEnd",
    "acts_of_runs",
    "ends_by_scheduler",
    "problems",
    "read_acts",
]

#: What stands for the DAG in the path of a request that names its DAGs in its body.
ALL_DAGS = "~"

#: Events of people: the names of the API server's functions. What a person marks with several tasks chosen in the UI
#: (``bulk_task_instances``) is not in the log at all.
PERSON_EVENTS = frozenset(
    {
        "patch_dag_run",
        "bulk_dag_runs",
        "patch_task_instance",
        "patch_task_group_instances",
        "post_clear_task_instances",
        "clear_dag_run",
        "clear_dag_runs",
        "clear_dag_run_partitions",
        "delete_dag_run",
    }
)
#: Those whose row names no run: it is in the body, or nowhere.
WITHOUT_RUN = frozenset({"bulk_dag_runs", "clear_dag_runs", "clear_dag_run_partitions"})

#: Events by which processes of Airflow end a task instance: the states that they report, and two of ``fail_fast``. The
#: scheduler also writes "failed" for a try that is followed by another.
ENDED_BY_AIRFLOW = ("success", "failed", "skipped", "upstream_failed", "fail task", "skip task")

#: Event by which the scheduler ends a try of which its process says nothing → ``TaskLog.end_cause``.
ENDED_BY_SCHEDULER: Mapping[str, str] = {
    "heartbeat timeout": "heartbeat",
    "state mismatch": "killed",
    "stuck in queued tries exceeded": "scheduler",
    "fail task": "scheduler",
    "skip task": "scheduler",
}

#: States that a mark ends something with; a run can be set to "queued" too.
_ENDS = frozenset({"success", "failed", "skipped"})

#: Longest ``extra`` that is read, in characters.
_LONGEST_EXTRA = 1_000_000

#: File of Airflow → the lines in it that write these events. A file that says it otherwise may write others.
_WRITTEN_BY = {
    "api_fastapi/logging/decorators.py": (
        'event_name = event or request.scope["endpoint"].__name__',
        "extra=json.dumps(extra_fields)",
        "extra_fields = {**extra_fields, **masked_body_json}",
        'run_id=params.get("run_id") or params.get("dag_run_id")',
    ),
    "api_fastapi/core_api/routes/public/dag_run.py": (
        "def patch_dag_run(",
        "def bulk_dag_runs(",
        "def clear_dag_run(",
        "def clear_dag_runs(",
        "def clear_dag_run_partitions(",
        "def delete_dag_run(",
    ),
    "api_fastapi/core_api/routes/public/task_instances.py": (
        "def patch_task_instance(",
        "def patch_task_group_instances(",
        "def post_clear_task_instances(",
    ),
    "api_fastapi/execution_api/routes/task_instances.py": ("event=updated_state.value",),
    "models/taskinstance.py": ('Log(event="fail task"', 'Log(event="skip task"', "Log(TaskInstanceState.FAILED.value, ti)"),
    "jobs/scheduler_job_runner.py": (
        'Log(event="state mismatch"',
        'event="heartbeat timeout"',
        'event="stuck in queued tries exceeded"',
    ),
}


@dataclass(frozen=True)
class Entry:
    """
    One row of the audit log.

    :param extra: JSON of the request's path, query and body, secrets masked; of the scheduler's events a text.
    """

    at: datetime
    event: str
    owner: str | None
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    try_number: int | None
    extra: str | None


@dataclass(frozen=True)
class SchedulerEnd:
    """
    What the scheduler wrote when it ended a try.

    :param cause: ``TaskLog.end_cause``.
    :param text: for people.
    """

    cause: str
    text: str


@dataclass(frozen=True)
class PersonAct:
    """
    What a person did to a run or to a task of it.

    :param did: ``marked`` (with the state), ``cleared`` or ``deleted``.
    :param state: that a mark gave, as Airflow spells it.
    :param run_id: None where the log does not say which runs of the DAG it was.
    :param task_id: None for the whole run, and where several tasks may be meant.
    :param map_index: None for every one.
    :param wide: whether other tasks may have been meant too: those around it, a group of them.
    """

    at: datetime
    person: str
    did: Literal["marked", "cleared", "deleted"]
    dag_id: str
    run_id: str | None
    state: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    wide: bool = False

    @property
    def of_run(self) -> bool:
        """Whether it was done to the run and not to tasks."""
        return self.task_id is None and not self.wide

    def reaches(self, task_id: str, map_index: int) -> bool:
        """Tell whether this may have changed a task instance of the run."""
        if self.task_id is None or self.wide:
            return True
        return self.task_id == task_id and self.map_index in (None, map_index)


def read_acts(entry: Entry) -> list[PersonAct]:
    """
    Return what a person did by one entry; nothing for a note, for other events, and for what makes no sense.

    Stands on ``airflow.api_fastapi.logging.decorators.action_logging`` (3.3.2), which writes an entry before the request is
    carried out, so that one which was refused has an entry too.
    """
    if entry.event not in PERSON_EVENTS:
        return []
    body = _body(entry.extra)
    return list(_acts(entry, body))


def acts_of_runs(entries: Iterable[Entry], dag_id: str, run_ids: Collection[str]) -> dict[str, tuple[PersonAct, ...]]:
    """
    Return run id → what people did to these runs of a DAG and to their tasks, in the order of the entries.

    Stands on ``airflow.api_fastapi.logging.decorators.action_logging`` (3.3.2).
    """
    found: dict[str, list[PersonAct]] = {}
    for entry in entries:
        for act in read_acts(entry):
            if act.dag_id == dag_id and act.run_id is not None and act.run_id in run_ids:
                found.setdefault(act.run_id, []).append(act)
    return {run_id: tuple(acts) for run_id, acts in found.items()}


def ends_by_scheduler(entries: Iterable[Entry]) -> dict[str, dict[tuple[str, int, int], SchedulerEnd]]:
    """
    Return run id → (task_id, map_index, try_number) → why the scheduler ended that try.

    Stands on the entries that ``airflow.jobs.scheduler_job_runner.SchedulerJobRunner`` writes (3.3.2).
    """
    found: dict[str, dict[tuple[str, int, int], SchedulerEnd]] = {}
    for entry in entries:
        cause = ENDED_BY_SCHEDULER.get(entry.event)
        if cause is None or entry.run_id is None or entry.task_id is None or entry.try_number is None:
            continue
        key = (entry.task_id, -1 if entry.map_index is None else entry.map_index, entry.try_number)
        found.setdefault(entry.run_id, {})[key] = SchedulerEnd(cause, entry.extra or entry.event)
    return found


def problems() -> list[str]:
    """Return which events of the audit log this Airflow does not write as we take for granted."""
    return [
        f"{file} does not say {line!r}; what a person did and what a task did cannot be told apart by the audit log"
        for file, line in _missing_lines()
    ]


def _acts(entry: Entry, body: Mapping[str, Any]) -> Iterator[PersonAct]:
    if entry.event == "patch_dag_run":
        yield from _run_mark(entry, body, entry.dag_id, entry.run_id)
    elif entry.event == "bulk_dag_runs":
        yield from _bulk(entry, body)
    elif entry.event in ("patch_task_instance", "patch_task_group_instances"):
        yield from _task_mark(entry, body)
    elif entry.event == "post_clear_task_instances":
        yield from _task_clear(entry, body)
    elif entry.event == "delete_dag_run":
        yield from _act(entry, "deleted", entry.dag_id, entry.run_id)
    elif entry.event == "clear_dag_runs":
        for run in _mappings(body.get("dag_runs")):
            yield from _act(entry, "cleared", _dag_of(entry, run), _text(run.get("dag_run_id")))
    elif entry.event == "clear_dag_run":
        yield from _act(entry, "cleared", entry.dag_id, entry.run_id)
    else:
        yield from _act(entry, "cleared", entry.dag_id, None)


def _run_mark(entry: Entry, body: Mapping[str, Any], dag_id: str | None, run_id: str | None) -> Iterator[PersonAct]:
    if (state := _state(body, "state")) is not None and run_id is not None:
        yield from _act(entry, "marked", dag_id, run_id, state=state)


def _bulk(entry: Entry, body: Mapping[str, Any]) -> Iterator[PersonAct]:
    for action in _mappings(body.get("actions")):
        for run in _list(action.get("entities")):
            if isinstance(run, str):
                run = {"dag_run_id": run}
            if not isinstance(run, Mapping):
                continue
            dag_id, run_id = _dag_of(entry, run), _text(run.get("dag_run_id"))
            if action.get("action") == "delete" and run_id is not None:
                yield from _act(entry, "deleted", dag_id, run_id)
            elif action.get("action") == "update":
                yield from _run_mark(entry, {"update_mask": action.get("update_mask"), **run}, dag_id, run_id)


def _task_mark(entry: Entry, body: Mapping[str, Any]) -> Iterator[PersonAct]:
    state = _state(body, "new_state")
    if state is None:
        return
    group = entry.event == "patch_task_group_instances"
    of_task: dict[str, Any] = {"task_id": None if group else entry.task_id, "map_index": _index(body.get("map_index"))}
    # Those of other runs are in their rows' states alone: the log does not say which runs these were.
    yield from _act(entry, "marked", entry.dag_id, entry.run_id, state=state, wide=group or _is_around(body), **of_task)


def _task_clear(entry: Entry, body: Mapping[str, Any]) -> Iterator[PersonAct]:
    tasks = _list(body.get("task_ids"))
    wide = _is_around(body) or body.get("task_ids") is None
    for task in tasks or [None]:
        task_id, map_index = (task[0], task[1]) if isinstance(task, list) and len(task) == 2 else (task, None)
        named: dict[str, Any] = {"task_id": _text(task_id), "map_index": _index(map_index)}
        yield from _act(entry, "cleared", entry.dag_id, entry.run_id, wide=wide or task_id is None, **named)


def _is_around(body: Mapping[str, Any]) -> bool:
    """Tell whether tasks around the named ones were meant too."""
    return any(body.get(f"include_{which}") for which in ("upstream", "downstream", "future", "past"))


def _act(
    entry: Entry, did: Literal["marked", "cleared", "deleted"], dag_id: str | None, run_id: str | None, **more: Any
) -> Iterator[PersonAct]:
    if dag_id is not None and dag_id != ALL_DAGS:
        yield PersonAct(entry.at, entry.owner or "somebody", did, dag_id, run_id, **more)


def _state(body: Mapping[str, Any], key: str) -> str | None:
    mask = body.get("update_mask")
    if mask is not None and key not in (mask if isinstance(mask, list) else [str(mask)]):
        return None
    value = body.get(key)
    state = value.lower() if isinstance(value, str) else None
    return state if state in _ENDS else None


def _body(extra: str | None) -> Mapping[str, Any]:
    try:
        body = json.loads(extra) if extra and len(extra) <= _LONGEST_EXTRA else {}
    except (ValueError, RecursionError):
        body = {}
    return body if isinstance(body, Mapping) else {}


def _dag_of(entry: Entry, named: Mapping[str, Any]) -> str | None:
    return _text(named.get("dag_id")) or entry.dag_id


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _index(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _missing_lines() -> Iterator[tuple[str, str]]:
    import airflow

    root = Path(airflow.__file__).parent
    for file, lines in _WRITTEN_BY.items():
        path = root / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        yield from ((file, line) for line in lines if line not in text)
