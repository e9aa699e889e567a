"""What no change in Airflow announces: a batch that never came, one that is late, one that takes unusually long."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Row, func, literal, null, or_, select
from sqlalchemy.orm import Session

from provider.alerts.happenings import Happening
from provider.alerts.rule_rows import RuleInForce
from provider.alerts.rules import BY_TIME, DAYS, EACH_TASK, AlertRule
from provider.metadata.renaming import names_of
from provider.metadata.states import PROCESSING, SUCCESS
from provider.metadata.tables import TaskBatch, TaskLog, Workflow

#: Times of day that passed so long ago, while nobody looked, are told of no more.
_MISSED = timedelta(hours=12)
#: What has happened by a time of day is known so long after it: Airflow stamps changes before they are committed.
_SETTLES = timedelta(seconds=30)
#: What is usual is the median of so many successes, of the newest so many batches.
FEWEST_SUCCESSES, _NEWEST = 5, 20
#: What takes no longer than this is never unusually long, in seconds.
SHORTEST_SECONDS = 60.0
_SHORTEST = timedelta(seconds=SHORTEST_SECONDS)
#: Open batches and tasks that are looked at.
_MOST_OPEN = 5000


@dataclass(frozen=True)
class ClockLook:
    """
    What a look at the clock has found.

    :param calls: what has come true, each with the rule that asked: another one may ask for another time, day or factor.
    :param decided: ids of the rules one of whose times of day has passed since the last look, and is decided now.
    :param until: until when they are.
    """

    until: datetime
    calls: list[tuple[RuleInForce, Happening]] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)


def happenings_by_clock(session: Session, rules: Iterable[RuleInForce], now: datetime) -> ClockLook:
    """
    Return what has come true by now.

    :param session: of the application database.
    :param now: with a zone; when Airflow was looked at.
    """
    found, known = ClockLook(now - _SETTLES), _Known(session, now)
    for one in rules:
        if not one.rule.enabled:
            continue
        if BY_TIME & set(one.rule.events):
            _decide(session, one, known, found)
        if "slow" in one.rule.events:
            found.calls.extend((one, happening) for happening in _slow(one.rule, known))
    return found


class _Known:
    """What is asked once in a look, for all rules."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session, self.now = session, now
        self._usual: dict[tuple[str, str | None], float | None] = {}

    def usual_seconds(self, workflow_id: str, task_id: str | None) -> float | None:
        """Return how long a batch, or a task in it, usually takes; None where too few have succeeded to tell."""
        key = (workflow_id, task_id)
        if key not in self._usual:
            self._usual[key] = _usual_seconds(self._session, *key)
        return self._usual[key]

    def running(self, rule: AlertRule) -> list[Row[Any]]:
        """Return the batches or tasks of the rule that run."""
        by_workflow = self._tasks if rule.task_id is not None else self._batches
        if rule.workflow_id is not None:
            return by_workflow.get(rule.workflow_id, [])
        return [row for rows in by_workflow.values() for row in rows]

    @cached_property
    def _tasks(self) -> dict[str, list[Row[Any]]]:
        return _by_workflow(_running_tasks(self._session, self.now))

    @cached_property
    def _batches(self) -> dict[str, list[Row[Any]]]:
        return _by_workflow(_running_batches(self._session, self.now))

    @cached_property
    def zones(self) -> dict[str, str | None]:
        """Names of the zones of all workflows."""
        return {row.workflow_id: row.timezone for row in self._session.execute(select(Workflow.workflow_id, Workflow.timezone))}


def _by_workflow(rows: Iterable[Row[Any]]) -> dict[str, list[Row[Any]]]:
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.workflow_id, []).append(row)
    return found


def _decide(session: Session, one: RuleInForce, known: _Known, found: ClockLook) -> None:
    """
    Find what came true at the rule's times of day that have passed.

    Each is decided once: a batch that is run again, marked or deleted hours later was there in time all the same.
    """
    rule, after = one.rule, max(one.since, one.decided_until or one.since)
    assert rule.at_time is not None, "the rule's model sees to it"
    zone = _zone(rule, known)
    today = found.until.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        end = datetime.combine(day, rule.at_time, zone)
        if not timedelta(0) <= found.until - end < _MISSED or end < after or end == one.decided_until:
            continue
        found.decided.append(rule.rule_id)
        if rule.days is None or DAYS[day.weekday()] in rule.days:
            found.calls.extend((one, happening) for happening in _by_time(session, rule, day, zone))


def _by_time(session: Session, rule: AlertRule, day: date, zone: ZoneInfo) -> Iterator[Happening]:
    assert rule.workflow_id is not None, "the rule's model sees to it"
    assert rule.at_time is not None
    end = datetime.combine(day, rule.at_time, zone)
    first = day if rule.from_time < rule.at_time else day - timedelta(days=1)
    begin, at = datetime.combine(first, rule.from_time, zone).astimezone(UTC), end.astimezone(UTC)
    if begin >= at:  # both are in the hour that a clock leaves out: there is nothing between them
        return
    began = _began(names_of(session, rule.workflow_id), begin, at)
    by = f"{rule.at_time:%H:%M} ({zone.key})"
    identity = (rule.workflow_id, end.isoformat())
    batches = _newest(session, began)
    if "not_started" in rule.events and not batches:
        yield Happening("not_started", rule.workflow_id, identity, at, details={"note": f"no batch had started by {by}"})
    if "late" in rule.events:
        done = select(TaskBatch.batch_id).where(*began, TaskBatch.status == SUCCESS, TaskBatch.ended_at <= at).limit(1)
        if session.scalar(done) is None:
            note = f"no batch had ended with success by {by}: {_told(batches, at)}"
            yield Happening("late", rule.workflow_id, identity, at, details={"note": note})


def _began(names: Collection[str], begin: datetime, at: datetime) -> tuple[ColumnElement[bool], ...]:
    """
    Select the batches that first began in a time.

    One that is run again begins anew in Airflow, and is none of the day on which that happens: its first try says when it began.
    Tries are looked for by a subquery, of those batches alone that do not say themselves that they are older.
    """
    says = func.coalesce(TaskBatch.started_at, TaskBatch.created_at)
    same = (TaskLog.workflow_id == TaskBatch.workflow_id, TaskLog.batch_id == TaskBatch.batch_id)
    tried = select(func.min(TaskLog.started_at)).where(*same).scalar_subquery()
    first_in_time = (func.coalesce(tried, begin) >= begin, or_(says <= at, tried <= at))
    return (TaskBatch.workflow_id.in_(names), says >= begin, *first_in_time)


def _zone(rule: AlertRule, known: _Known) -> ZoneInfo:
    """Return the zone of a rule: its own, or that of its workflow."""
    if rule.timezone is not None:
        return rule.zone
    name = known.zones.get(rule.workflow_id or "")
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):  # the row of a workflow may hold anything
        return ZoneInfo("UTC")


def _newest(session: Session, began: Iterable[ColumnElement[bool]]) -> list[Row[Any]]:
    columns = (TaskBatch.batch_id, TaskBatch.status, TaskBatch.ended_at)
    return list(session.execute(select(*columns).where(*began).order_by(TaskBatch.created_at.desc()).limit(_NEWEST)))


def _told(batches: list[Row[Any]], at: datetime) -> str:
    if not batches:
        return "none was started"
    newest = batches[0]
    more = f", and {len(batches) - 1} more" if len(batches) > 1 else ""
    if newest.ended_at is None or newest.ended_at > at:
        return f"{newest.batch_id} was still running{more}"
    return f"{newest.batch_id} had ended as {newest.status}{more}"


def _slow(rule: AlertRule, known: _Known) -> Iterator[Happening]:
    """Yield what runs longer than usual by the rule's factor."""
    now = known.now
    for running in known.running(rule):
        if running.task_id is not None and rule.task_id not in (EACH_TASK, running.task_id):
            continue
        expected = known.usual_seconds(running.workflow_id, running.task_id)
        seconds = (now - running.started_at).total_seconds()
        if expected is None or seconds <= max(SHORTEST_SECONDS, expected * rule.factor):
            continue
        # A batch that is run again begins again. Of a try Airflow writes the beginning anew each time that it looks once more.
        since = running.started_at if running.task_id is None else running.run_after
        place = [running.batch_id, since.isoformat()]
        if running.task_id is not None:
            place += [running.task_id, str(running.map_index), str(running.try_number)]
        yield Happening(
            "slow",
            running.workflow_id,
            tuple(place),
            now,
            *(running.batch_id, running.task_id, running.map_index, running.try_number),
            details={
                "note": f"runs for {seconds:.0f} s, and takes {expected:.0f} s usually",
                "started_at": running.started_at.isoformat(),
            },
        )


def _running_batches(session: Session, now: datetime) -> list[Row[Any]]:
    columns = (TaskBatch.workflow_id, TaskBatch.batch_id, TaskBatch.started_at)
    of_no_task = (null().label("task_id"), literal(-1).label("map_index"), null().label("try_number"))
    statement = select(*columns, *of_no_task).where(TaskBatch.status == PROCESSING, TaskBatch.started_at < now - _SHORTEST)
    return list(session.execute(statement.order_by(TaskBatch.started_at).limit(_MOST_OPEN)))


def _running_tasks(session: Session, now: datetime) -> list[Row[Any]]:
    columns = (TaskLog.workflow_id, TaskLog.batch_id, TaskLog.started_at, TaskLog.task_id, TaskLog.map_index, TaskLog.try_number)
    same = (TaskBatch.workflow_id == TaskLog.workflow_id) & (TaskBatch.batch_id == TaskLog.batch_id)
    # Between two looks of a sensor its beginning is that of the look before, and says nothing.
    waits = TaskLog.airflow_state.is_not_distinct_from("up_for_reschedule")
    statement = select(*columns, TaskBatch.run_after).join(TaskBatch, same)
    statement = statement.where(TaskLog.status == PROCESSING, TaskLog.started_at < now - _SHORTEST, ~waits)
    statement = statement.where(TaskBatch.run_after.is_not(None))
    return list(session.execute(statement.order_by(TaskLog.started_at).limit(_MOST_OPEN)))


def _usual_seconds(session: Session, workflow_id: str, task_id: str | None) -> float | None:
    """Return how long a batch, or a task in it, usually takes; None where too few have succeeded to tell."""
    names = names_of(session, workflow_id)
    newest = (
        select(TaskBatch.batch_id)
        .where(TaskBatch.workflow_id.in_(names), TaskBatch.status == SUCCESS)
        .order_by(TaskBatch.created_at.desc())
        .limit(_NEWEST)
    )
    model: Any = TaskBatch if task_id is None else TaskLog
    statement = select(model.started_at, model.ended_at).where(
        model.workflow_id.in_(names), model.batch_id.in_(newest), model.status == SUCCESS
    )
    if task_id is not None:
        statement = statement.where(TaskLog.task_id == task_id)
    seconds = [
        (row.ended_at - row.started_at).total_seconds() for row in session.execute(statement) if row.started_at and row.ended_at
    ]
    return median(seconds) if len(seconds) >= FEWEST_SUCCESSES else None
