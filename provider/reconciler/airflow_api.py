"""
The reader of Airflow's REST API, for where Airflow's database cannot be reached, as on Cloud Composer.

It keeps the runs that it has read and asks in each pass only for what changed: two lists and the audit log while nothing
happens. Of a task instance that has ended it reads once more what its task has left in the task state store, and of one with
several tries the earlier ones. Nothing is asked by POST: Airflow writes each of those to its audit log.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from provider.airflow_internals import audit_log
from provider.airflow_internals.audit_log import PersonAct
from provider.airflow_internals.dags import Unsaid
from provider.hooks.airflow_api import AirflowApi, api_path
from provider.hooks.remote_job import ENDED_STATES, JobNotFoundError
from provider.metadata import batches
from provider.metadata.definitions import task_parameters, workflow_ids
from provider.metadata.engine import read_session
from provider.reconciler import task_store
from provider.reconciler.airflow_state import LeftText, RemoteJobState, RunKey, RunState, Source, TryReport, TryState
from provider.reconciler.api_answers import (
    EdgesAnswer,
    EventAnswer,
    HistoryAnswer,
    RunAnswer,
    StoredAnswer,
    TaskAnswer,
    read,
    read_each,
)
from provider.reconciler.api_run import RunPieces, TaskPieces, may_have_history, may_keep_something

T = TypeVar("T")
R = TypeVar("R")

_EVENTS = sorted({*audit_log.PERSON_EVENTS, *audit_log.ENDED_BY_SCHEDULER})
_ANY = "~"
#: For so long runs of all DAGs are listed at once.
_RECENT = timedelta(hours=1)
#: Runs that are kept. More than that are read again in each pass.
_KEPT = 5000
#: A run that is kept is read whole again after so many seconds: what Airflow deletes it tells nobody.
_WHOLE_SECONDS = 900.0
#: Seconds between two looks at which runs are open: a deletion by Airflow's command line is in no audit log.
_OPEN_RUNS_SECONDS = 60.0
#: Seconds between two looks at which workflows have a batch: that reads all batches. A new one is known by its start_batch.
_BATCHES_SECONDS = 60.0
#: Runs, or task instances, that are read at a time.
_AT_A_TIME = 4
#: Entries of the audit log without a run that are kept.
_WITHOUT_RUN_KEPT = 1000
#: Ids of entries that are remembered, as each is listed several times.
_TAKEN_KEPT = 20_000
#: An entry may be a little older than the run it belongs to: machines' clocks differ.
_CLOCKS = timedelta(seconds=60)


def api_source(api: AirflowApi, known: Collection[str] = ()) -> Source:
    """
    Return Airflow's REST API as where its state is read.

    :param known: DAGs that are workflows, beside those in the tables.
    """
    # A list of changed task instances reads all of them on the other side: that may take a fifth of the time.
    reader = ApiReader(api, known)
    return Source(reader.opened, search_pause=4.0, sweep=3600.0, swept=5, idle=10.0, yields=True, forget=reader.forget)


class ApiReader:
    """
    :class:`provider.reconciler.airflow_state.AirflowState`, read by Airflow's REST API. It lasts; one thread uses it.

    What a run's row was created at is not in the API, nor when a task instance changed last.

    :param api: how it is reached, and as whom.
    :param known: DAGs that are workflows, beside those in the tables.
    """

    def __init__(self, api: AirflowApi, known: Collection[str] = ()) -> None:
        self.api = api
        self._next_look_at_batches = 0.0
        self._found = set(known)
        self.forget()

    def forget(self) -> None:
        """Read everything anew, as it was not asked for what changed meanwhile."""
        self._runs: OrderedDict[RunKey, RunPieces] = OrderedDict()
        self._without_run: OrderedDict[int, EventAnswer] = OrderedDict()
        self._without_run_since = datetime.now(UTC)
        self._next_look_at_open_runs = 0.0
        self._taken: OrderedDict[int, None] = OrderedDict()

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Return it, for a ``with`` statement."""
        yield self

    def workflow_ids(self) -> list[str]:
        """Return the workflows in the tables, those that have ever had a batch, and those whose ``start_batch`` was seen."""
        with read_session() as session:
            if time.monotonic() >= self._next_look_at_batches:
                self._found |= batches.workflow_ids(session)
                self._next_look_at_batches = time.monotonic() + _BATCHES_SECONDS
            return sorted(self._found | workflow_ids(session))

    def changed_runs(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Return the runs of these DAGs whose own row changed since then."""
        wanted, changed = set(dag_ids), set()
        # Of all DAGs at once there would be too many runs in a longer time.
        of_dags = [_ANY] if datetime.now(UTC) - since < _RECENT else sorted(wanted)
        for row in read_each(RunAnswer, (row for dag_id in of_dags for row in self._runs_of(dag_id, since))):
            if row.dag_id not in wanted:
                continue
            key = (row.dag_id, row.run_id)
            changed.add(key)
            pieces = self._runs.get(key)
            if pieces is None or pieces.row == row:
                continue
            # Another one with its id; or its last tasks ended too, and the next search for those may be a while off.
            if pieces.row.run_after != row.run_after or (row.state in ENDED_STATES and pieces.has_open_tasks):
                del self._runs[key]
                continue
            pieces.row = row
            pieces.forget_state()
        return changed | self._vanished()

    def _runs_of(self, dag_id: str, since: datetime) -> Iterator[Any]:
        """Yield the runs of a DAG that changed since then; a workflow in the tables need not be a DAG yet, or any more."""
        path = api_path("dags", dag_id, "dagRuns")
        with suppress(JobNotFoundError):
            yield from self.api.listed(path, "dag_runs", by_cursor=True, updated_at_gte=since.isoformat())

    def _vanished(self) -> set[RunKey]:
        """Return runs that were open and are no more, although nothing says how they ended; they are read again."""
        if time.monotonic() < self._next_look_at_open_runs:
            return set()
        self._next_look_at_open_runs = time.monotonic() + _OPEN_RUNS_SECONDS
        path = api_path("dags", _ANY, "dagRuns")
        rows = self.api.listed(path, "dag_runs", by_cursor=True, state=["queued", "running"])
        there = {(row.dag_id, row.run_id) for row in read_each(RunAnswer, rows)}
        gone = {key for key, pieces in self._runs.items() if pieces.row.state in ("queued", "running")} - there
        for key in gone:
            del self._runs[key]
        return gone

    def runs_with_changed_tasks(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Return the runs of these DAGs with a task instance that changed since then, or to which a person did something."""
        rows = list(self._tasks_of(_ANY, _ANY, updated_at_gte=since.isoformat()))
        self._found |= {row.dag_id for row in rows if (row.task_id, row.operator) == ("start_batch", "StartBatchOperator")}
        wanted, changed = {*dag_ids, *self._found}, set()
        # Not kept while there is more of them to read: what that fails for is read whole the next time.
        reading: dict[RunKey, RunPieces] = {}
        more: list[tuple[RunKey, TaskPieces, TaskPieces | None]] = []
        for row in rows:
            key = (row.dag_id, row.run_id)
            if row.dag_id not in wanted:
                continue
            changed.add(key)
            pieces = reading.get(key) or self._runs.get(key)
            if pieces is None:
                continue
            before = pieces.tasks.get((row.task_id, row.map_index))
            if (task := pieces.take_task(row)) is not None:
                reading[key] = pieces
                self._runs.pop(key, None)
                more.append((key, task, before))
        for _done in _at_once(lambda one: self._read_more(*one, cleared=False), more):
            pass
        self._runs |= reading
        # After the states: whatever a person did was logged before it was done.
        return changed | self._read_audit_log(wanted, since)

    def load_runs(self, keys: Iterable[RunKey]) -> dict[RunKey, RunState]:
        """Return runs, from what is kept where that may still be true; a run that does not exist is not in the answer."""
        keys, oldest = list(keys), time.monotonic() - _WHOLE_SECONDS
        to_read = [key for key in keys if key not in self._runs or self._runs[key].read_at < oldest]
        for key, found in zip(to_read, _at_once(self._read_whole, to_read), strict=True):
            self._runs.pop(key, None)
            if found is not None:
                self._runs[key] = found
        states = {key: self._state(self._runs[key]) for key in keys if key in self._runs}
        while len(self._runs) > _KEPT:
            self._runs.popitem(last=False)
        return states

    def has_run(self, key: RunKey, run_after: datetime) -> bool:
        """Ask anew whether the run with this id is the one that was to start then; another one may have its id meanwhile."""
        row = self._read_row(key)
        is_there = row is not None and row.run_after == run_after
        if not is_there:
            self._runs.pop(key, None)
        return is_there

    def last_report(self, key: RunKey, attempt: TryState) -> TryReport | None:
        """Return the last end that a task's process or the scheduler reported of a try; None where neither did."""
        of_try = {"task_id": attempt.task_id, "try_number": attempt.try_number, "included_events": audit_log.ENDED_BY_AIRFLOW}
        # Entries of a task that is not mapped may have no map index, which cannot be asked for.
        ways: list[dict[str, int]] = [{"map_index": attempt.map_index, "limit": 1}, *([{}] if attempt.map_index < 0 else [])]
        for where in ways:
            answer = self.api.get("eventLogs", dag_id=key[0], run_id=key[1], order_by="-when", **of_try, **where)
            for event in read_each(EventAnswer, answer.get("event_logs") or ()):
                if event.map_index in (None, attempt.map_index):
                    return TryReport(event.at, event.event)
        return None

    def acts_on_runs(self, dag_id: str, run_ids: Collection[str], since: datetime) -> Mapping[str, tuple[PersonAct, ...]]:
        """Return run id → what people did to the run and its tasks since then, oldest first; also of deleted runs."""
        about = {"after": since.isoformat(), "order_by": "event_log_id"}
        found = {
            event.id: event
            for run_id in run_ids
            for event in self._events(dag_id=dag_id, run_id=run_id, included_events=sorted(audit_log.PERSON_EVENTS), **about)
        }
        for event in self._events(included_events=sorted(audit_log.WITHOUT_RUN), **about):
            found[event.id] = event
        entries = (event.as_entry() for event in sorted(found.values(), key=lambda event: (event.at, event.id)))
        return audit_log.acts_of_runs(entries, dag_id, run_ids)

    def parents_of_run(self, key: RunKey) -> Mapping[str, Collection[str]]:
        """Return task id → ids of its direct parents, by the latest version of the DAG; empty where it is gone."""
        answer = self.api.find(api_path("dags", key[0], "tasks")) or {}
        parents: dict[str, set[str]] = {}
        for task in read_each(EdgesAnswer, answer.get("tasks") or ()):
            parents.setdefault(task.task_id, set())
            for child in task.downstream_task_ids:
                parents.setdefault(child, set()).add(task.task_id)
        return parents

    def operator_of_task(self, key: RunKey, task_id: str) -> Mapping[str, Any] | None:
        """
        Return the parameters of a task's operator as its row and its workflow's row have them.

        :return: None where the task is in no row: of DAGs written by hand the API does not tell.
        """
        with read_session() as session:
            parameters = task_parameters(session, key[0], task_id)
        return None if parameters is None else _Said(parameters)

    # What is kept.

    def _state(self, pieces: RunPieces) -> RunState:
        """Return the state of a run, whose acts are weighed with the instants at which its tasks changed."""
        if not pieces.is_assembled:
            self._read_without_run(pieces.row.run_after - _CLOCKS)
            acts = pieces.acts(self._without_run.values())
            pieces.changed_since = {at: self._changed_since(pieces.key, at) for at in pieces.instants(acts)}
            return pieces.state(acts)
        return pieces.state(())

    def _changed_since(self, key: RunKey, at: datetime) -> frozenset[tuple[str, int]]:
        return frozenset((row.task_id, row.map_index) for row in self._tasks_of(*key, updated_at_gte=at.isoformat()))

    def _tasks_of(self, dag_id: str, run_id: str, **where: Any) -> Iterator[TaskAnswer]:
        path = api_path("dags", dag_id, "dagRuns", run_id, "taskInstances")
        return read_each(TaskAnswer, self.api.listed(path, "task_instances", by_cursor=True, **where))

    def _read_row(self, key: RunKey) -> RunAnswer | None:
        found = self.api.find(api_path("dags", key[0], "dagRuns", key[1]))
        return None if found is None else read(RunAnswer, found)

    def _read_whole(self, key: RunKey) -> RunPieces | None:
        """Read a run with all that belongs to it; None where there is none."""
        of_run = self._read_row(key)
        if of_run is None:
            return None
        pieces = RunPieces(of_run, time.monotonic())
        rows = list(self._tasks_of(*key))
        since = (pieces.row.run_after - _CLOCKS).isoformat()
        events = self._events(dag_id=key[0], run_id=key[1], included_events=_EVENTS, after=since, order_by="event_log_id")
        pieces.events = {event.id: event for event in events}
        cleared = any(act.did == "cleared" for act in pieces.acts(self._without_run.values()))
        for row in rows:
            task = pieces.take_task(row)
            assert task is not None, "each row has another task instance"
            self._read_more(key, task, None, cleared=cleared)
        return pieces

    def _read_more(self, key: RunKey, task: TaskPieces, before: TaskPieces | None, *, cleared: bool) -> None:
        """Read what the list of task instances does not have."""
        row = task.row
        path = api_path("dags", key[0], "dagRuns", key[1], "taskInstances", row.task_id)
        if may_have_history(row, before, cleared=cleared):
            answer = self.api.find(f"{path}/tries", map_index=row.map_index) or {}
            tries = list(read_each(HistoryAnswer, answer.get("task_instances") or ()))
            # The list ends with the task instance itself, unless that waits for its retry.
            task.history = tuple(tries if row.state == "up_for_retry" else tries[:-1])
        if may_keep_something(row, before):
            task.kept = self._read_store(f"{path}/state-store", row)

    def _read_store(self, path: str, row: TaskAnswer) -> tuple[RemoteJobState | LeftText, ...]:
        answer = self.api.find(path, also=(500,), map_index=row.map_index, limit=100)
        if answer is not None and "task_state_store" not in answer:
            # Airflow fails like this where one entry is no JSON; the others can be read one by one.
            found = (self.api.find(f"{path}/{key}", also=(500,), map_index=row.map_index) for key in task_store.KEYS)
            answer = {"task_state_store": [one for one in found if one is not None and "key" in one]}
        stored = read_each(StoredAnswer, (answer or {}).get("task_state_store") or ())
        entries = (task_store.read_value(one.key, one.value) for one in stored if one.key in task_store.KEYS)
        return tuple(entry for entry in entries if entry is not None)

    def _read_audit_log(self, dag_ids: Collection[str], since: datetime) -> set[RunKey]:
        """Take the new entries; return the runs that they are about."""
        changed: set[RunKey] = set()
        events = list(self._events(included_events=_EVENTS, after=since.isoformat(), order_by="event_log_id"))
        for event in events:
            if event.id in self._taken:
                continue
            self._taken[event.id] = None
            if event.event in audit_log.WITHOUT_RUN:
                self._without_run[event.id] = event
                changed |= {(act.dag_id, act.run_id) for act in audit_log.read_acts(event.as_entry()) if act.run_id}
            elif event.dag_id and event.run_id:
                changed.add((event.dag_id, event.run_id))
        for kept, most in ((self._without_run, _WITHOUT_RUN_KEPT), (self._taken, _TAKEN_KEPT)):
            while len(kept) > most:
                kept.popitem(last=False)
        changed = {key for key in changed if key[0] in dag_ids}
        for key in changed:
            # A clear or a deletion changes more than rows that are listed; so what people touch is read whole again.
            self._runs.pop(key, None)
        return changed

    def _read_without_run(self, since: datetime) -> None:
        """Take the entries without a run since then, unless that was done."""
        if since < self._without_run_since:
            where = {"included_events": sorted(audit_log.WITHOUT_RUN), "after": since.isoformat(), "order_by": "event_log_id"}
            self._without_run |= {event.id: event for event in self._events(**where)}
            self._without_run_since = since

    def _events(self, **where: Any) -> Iterator[EventAnswer]:
        return read_each(EventAnswer, self.api.listed("eventLogs", "event_logs", **where))


def _at_once(ask: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
    """Ask for some things, a few at a time, and yield the answers in their order; the first that fails ends it."""
    if things:
        with ThreadPoolExecutor(_AT_A_TIME, "accelerator-airflow-api") as pool:
            yield from pool.map(ask, things)


class _Said(dict[str, Any]):
    """Parameters of an operator: one that nobody gave has its default."""

    def get(self, name: str, default: Any = Unsaid.DEFAULT) -> Any:
        """Return a parameter as the definition has it."""
        return super().get(name, default)
