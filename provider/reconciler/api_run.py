"""One DAG run as the REST API has given it, piece by piece, and the state that follows from the pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from provider.airflow_internals import audit_log
from provider.airflow_internals.audit_log import PersonAct
from provider.hooks.remote_job import ENDED_STATES
from provider.reconciler.airflow_state import LeftText, RemoteJobState, RunKey, RunState, TryState
from provider.reconciler.api_answers import EventAnswer, HistoryAnswer, RunAnswer, TaskAnswer

#: (task_id, map_index)
TaskKey = tuple[str, int]

#: States of a task instance that goes on, or may be the first try: it has a history only if its number says so.
_WITHOUT_HISTORY = frozenset({"running", "deferred", "success", "failed"})
#: Instants of which it is asked which tasks changed later, at most.
_INSTANTS = 20
#: Operators that keep nothing in the task state store.
_KEEP_NOTHING = frozenset({"StartBatchOperator", "EmptyOperator"})
#: States in which a task has left nothing new there.
_NOT_YET = frozenset({"queued", "scheduled"})


@dataclass
class TaskPieces:
    """
    A task instance.

    :param history: its earlier tries.
    :param kept: what it has left in the task state store.
    """

    row: TaskAnswer
    history: tuple[HistoryAnswer, ...] = ()
    kept: tuple[RemoteJobState | LeftText, ...] = ()


@dataclass
class RunPieces:
    """
    A run.

    :param read_at: when it was read whole, on the monotonic clock.
    :param events: id → entry of the audit log that names this run.
    :param changed_since: instant → the task instances that changed at it or later; see :meth:`instants`.
    """

    row: RunAnswer
    read_at: float
    tasks: dict[TaskKey, TaskPieces] = field(default_factory=dict)
    events: dict[int, EventAnswer] = field(default_factory=dict)
    changed_since: Mapping[datetime, frozenset[TaskKey]] = field(default_factory=dict)
    _state: RunState | None = None

    @property
    def key(self) -> RunKey:
        """What names the run."""
        return (self.row.dag_id, self.row.run_id)

    def take_task(self, row: TaskAnswer) -> TaskPieces | None:
        """
        Take the newest row of a task instance.

        :return: its pieces, where it changed.
        """
        key = (row.task_id, row.map_index)
        known = self.tasks.get(key)
        if known is not None and known.row == row:
            return None
        # A task that is expanded keeps its row, under the first map index.
        for other in [other for other, pieces in self.tasks.items() if pieces.row.id == row.id and other != key]:
            del self.tasks[other]
        self.tasks[key] = TaskPieces(row, known.history, known.kept) if known is not None else TaskPieces(row)
        self.forget_state()
        return self.tasks[key]

    def forget_state(self) -> None:
        """Let the next state follow from what the pieces are then."""
        self._state = None

    @property
    def is_assembled(self) -> bool:
        """Whether nothing changed since the last :meth:`state`."""
        return self._state is not None

    @property
    def has_open_tasks(self) -> bool:
        """Whether a task instance, as far as is known, has not ended."""
        return any(pieces.row.state not in ENDED_STATES for pieces in self.tasks.values())

    def acts(self, without_run: Iterable[EventAnswer]) -> tuple[PersonAct, ...]:
        """
        Return what people did to the run, oldest first.

        :param without_run: entries of the audit log whose run is in their text, if anywhere.
        """
        entries = sorted({**self.events, **{one.id: one for one in without_run}}.values(), key=lambda one: (one.at, one.id))
        found = audit_log.acts_of_runs((one.as_entry() for one in entries), self.row.dag_id, [self.row.run_id])
        return found.get(self.row.run_id, ())

    def instants(self, acts: Iterable[PersonAct]) -> list[datetime]:
        """
        Return the instants of which it matters which tasks changed at them or later; the API tells no more of that.

        These are what people did, and a failed run's end where it may have ended tasks.
        """
        found = {act.at for act in acts}
        if self.row.state == "failed" and self.row.ended_at is not None:
            skipped = (one.row for one in self.tasks.values() if one.row.state == "skipped")
            if any(row.ended_at is None or row.ended_at < self.row.ended_at for row in skipped):
                found.add(self.row.ended_at)
        return sorted(found)[-_INSTANTS:]

    def state(self, acts: tuple[PersonAct, ...]) -> RunState:
        """Return what follows from the pieces; the same object until one of them changes."""
        if self._state is None:
            self._state = self._assembled(acts)
        return self._state

    def _assembled(self, acts: tuple[PersonAct, ...]) -> RunState:
        row = self.row
        tries: list[TryState] = []
        jobs: dict[TaskKey, RemoteJobState] = {}
        texts: dict[TaskKey, LeftText] = {}
        # Those of the history first, and all in an order that is the same for the same rows.
        for _key, pieces in sorted(self.tasks.items()):
            tries += [one.as_try() for one in sorted(pieces.history, key=lambda one: one.try_number)]
        for key, pieces in sorted(self.tasks.items()):
            tries.append(pieces.row.as_try(self._changed_at(key, pieces.row)))
            for one in pieces.kept:
                if isinstance(one, RemoteJobState):
                    jobs[key] = one
                else:
                    texts[key] = one
        ends = audit_log.ends_by_scheduler(one.as_entry() for one in sorted(self.events.values(), key=lambda one: one.id))
        return RunState(
            dag_id=row.dag_id,
            run_id=row.run_id,
            state=row.state,
            run_type=row.run_type,
            triggered_by=row.triggered_by,
            conf=row.conf or {},
            run_after=row.run_after,
            created_at=None,
            started_at=row.started_at,
            ended_at=row.ended_at,
            tries=tuple(tries),
            acts=acts,
            scheduler_ends=ends.get(row.run_id, {}),
            jobs=jobs,
            texts=texts,
        )

    def _changed_at(self, key: TaskKey, row: TaskAnswer) -> datetime | None:
        """Return the latest moment at which, as is known, the row had not yet got its last change."""
        known = {row.ended_at} if row.state in ENDED_STATES else {row.scheduled_at, row.queued_at, row.started_at}
        known |= {at for at, tasks in self.changed_since.items() if key in tasks}
        # Whatever ended a task of this run did so after the run had begun.
        begun = self.row.started_at if row.state in ENDED_STATES else None
        return max((at for at in known if at is not None), default=begun)


def may_have_history(row: TaskAnswer, known: TaskPieces | None, *, cleared: bool) -> bool:
    """
    Tell whether the earlier tries of a task instance have to be read.

    :param known: what was known of it before.
    :param cleared: whether a person cleared tasks of its run.
    """
    if known is not None:
        return (known.row.id, known.row.try_number, known.row.state == "up_for_retry") != (
            row.id,
            row.try_number,
            row.state == "up_for_retry",
        )
    if row.try_number > 1:
        return True
    return row.started_at is not None and (cleared or row.state not in _WITHOUT_HISTORY)


def may_keep_something(row: TaskAnswer, known: TaskPieces | None) -> bool:
    """
    Tell whether what a task has left in the task state store has to be read.

    :param known: what was known of it before; a first try that has just begun has left nothing yet.
    """
    if row.state == "running" and known is not None and row.try_number <= 1:
        return False
    return row.started_at is not None and row.state not in _NOT_YET and row.operator not in _KEEP_NOTHING
