"""What no change in Airflow announces: a batch that never came, one that is late, one that takes unusually long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, func, literal, null, select
from sqlalchemy.orm import Session

from provider.alerts.happenings import Happening
from provider.alerts.rule_rows import RuleInForce
from provider.alerts.rules import BY_TIME, DAYS, EACH_TASK, AlertRule
from provider.metadata.states import PROCESSING, SUCCESS
from provider.metadata.tables import TaskBatch, TaskLog, Workflow

#: Times of day that passed so long ago, while nobody looked, are told of no more.
_MISSED = timedelta(hours=12)
#: What is usual is the median of so many successes, of the newest so many batches.
FEWEST_SUCCESSES, _NEWEST = 5, 20
#: What takes no longer than this is never unusually long, in seconds.
SHORTEST_SECONDS = 60.0
#: Open batches and tasks that are looked at.
_MOST_OPEN = 5000

_begun_at = func.coalesce(TaskBatch.started_at, TaskBatch.created_at)


def happenings_by_clock(session: Session, rules: Iterable[RuleInForce], now: datetime) -> list[Happening]:
    """
    Return what has come true by now.

    :param session: of the application database.
    :param now: with a zone.
    """
    found: dict[str, Happening] = {}
    for one in rules:
        rule = one.rule
        happenings: list[Happening] = []
        if BY_TIME & set(rule.events):
            happenings += _by_time(session, rule, now)
        if "slow" in rule.events:
            happenings += _slow(session, rule, now)
        found.update({happening.event_id: happening for happening in happenings})
    return list(found.values())


def _by_time(session: Session, rule: AlertRule, now: datetime) -> Iterator[Happening]:
    assert rule.workflow_id is not None, "the rule's model sees to it"
    assert rule.at_time is not None
    zone = _zone(session, rule)
    for day in (now.astimezone(zone).date(), now.astimezone(zone).date() - timedelta(days=1)):
        end = datetime.combine(day, rule.at_time, zone)
        if not timedelta(0) <= now - end < _MISSED or (rule.days is not None and DAYS[day.weekday()] not in rule.days):
            continue
        first = day if rule.from_time < rule.at_time else day - timedelta(days=1)
        begin = datetime.combine(first, rule.from_time, zone)
        batches = _batches_between(session, rule.workflow_id, begin.astimezone(UTC), end.astimezone(UTC))
        by = f"{rule.at_time:%H:%M} ({zone.key})"
        identity = (rule.workflow_id, end.isoformat())
        at = end.astimezone(UTC)
        if "not_started" in rule.events and not batches:
            yield Happening("not_started", rule.workflow_id, identity, at, details={"note": f"no batch had started by {by}"})
        done = any(batch.status == SUCCESS and batch.ended_at is not None and batch.ended_at <= at for batch in batches)
        if "late" in rule.events and not done:
            note = f"no batch had ended with success by {by}: {_told(batches, at)}"
            yield Happening("late", rule.workflow_id, identity, at, details={"note": note})


def _zone(session: Session, rule: AlertRule) -> ZoneInfo:
    """Return the zone of a rule: its own, or that of its workflow."""
    if rule.timezone is not None:
        return rule.zone
    name = session.scalar(select(Workflow.timezone).where(Workflow.workflow_id == rule.workflow_id))
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError):  # the row of a workflow may hold anything
        return ZoneInfo("UTC")


def _batches_between(session: Session, workflow_id: str, begin: datetime, end: datetime) -> list[Row[Any]]:
    columns = (TaskBatch.batch_id, TaskBatch.status, TaskBatch.started_at, TaskBatch.ended_at)
    statement = select(*columns).where(TaskBatch.workflow_id == workflow_id, _begun_at >= begin, _begun_at <= end)
    return list(session.execute(statement.order_by(TaskBatch.created_at.desc()).limit(_NEWEST)))


def _told(batches: list[Row[Any]], at: datetime) -> str:
    if not batches:
        return "none was started"
    newest = batches[0]
    more = f", and {len(batches) - 1} more" if len(batches) > 1 else ""
    if newest.ended_at is None or newest.ended_at > at:
        return f"{newest.batch_id} was still running{more}"
    return f"{newest.batch_id} had ended as {newest.status}{more}"


def _slow(session: Session, rule: AlertRule, now: datetime) -> Iterator[Happening]:
    """Yield what runs longer than usual by the rule's factor."""
    usual: dict[tuple[str, str | None], float | None] = {}
    for running in _running(session, rule):
        key = (running.workflow_id, running.task_id)
        if key not in usual:
            usual[key] = _usual_seconds(session, *key)
        expected = usual[key]
        seconds = (now - running.started_at).total_seconds()
        if expected is None or seconds <= max(SHORTEST_SECONDS, expected * rule.factor):
            continue
        place = [running.batch_id, running.started_at.isoformat()]
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


def _running(session: Session, rule: AlertRule) -> list[Row[Any]]:
    of_tasks = rule.task_id is not None
    model: Any = TaskLog if of_tasks else TaskBatch
    columns = [model.workflow_id, model.batch_id, model.started_at]
    if of_tasks:
        columns += [TaskLog.task_id, TaskLog.map_index, TaskLog.try_number]
    else:
        columns += [null().label("task_id"), literal(-1).label("map_index"), null().label("try_number")]
    statement = select(*columns).where(model.status == PROCESSING, model.started_at.is_not(None))
    if rule.workflow_id is not None:
        statement = statement.where(model.workflow_id == rule.workflow_id)
    if of_tasks and rule.task_id != EACH_TASK:
        statement = statement.where(TaskLog.task_id == rule.task_id)
    return list(session.execute(statement.order_by(model.started_at).limit(_MOST_OPEN)))


def _usual_seconds(session: Session, workflow_id: str, task_id: str | None) -> float | None:
    """Return how long a batch, or a task in it, usually takes; None where too few have succeeded to tell."""
    newest = (
        select(TaskBatch.batch_id)
        .where(TaskBatch.workflow_id == workflow_id, TaskBatch.status == SUCCESS)
        .order_by(TaskBatch.created_at.desc())
        .limit(_NEWEST)
    )
    model: Any = TaskBatch if task_id is None else TaskLog
    statement = select(model.started_at, model.ended_at).where(
        model.workflow_id == workflow_id, model.batch_id.in_(newest), model.status == SUCCESS
    )
    if task_id is not None:
        statement = statement.where(TaskLog.task_id == task_id)
    seconds = [
        (row.ended_at - row.started_at).total_seconds() for row in session.execute(statement) if row.started_at and row.ended_at
    ]
    return median(seconds) if len(seconds) >= FEWEST_SUCCESSES else None
