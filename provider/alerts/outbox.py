"""
The table ``alerts`` as an outbox: each event once for each rule, claimed and sent until somebody has taken it.

An alert is committed with what it tells of. It is sent at least once: whoever sends it may die before that is written down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from provider.alerts.happenings import Happening
from provider.alerts.rule_rows import FIRST_PAUSE, LONGEST_PAUSE, RuleInForce, resting_rules, wake
from provider.alerts.rules import EACH_TASK, TOPIC, AlertRule
from provider.metadata.states import ALERT_FAILED, ALERT_SENT, ALERT_WAITING
from provider.metadata.tables import Alert
from provider.metadata.upsert import inserts
from provider.pacing import backoff
from provider.texts import chunks, one_line

#: What of the past is still told when nobody has reconciled for a while.
_OLDEST = timedelta(days=1)
#: How long a claimed alert is its claimer's.
CLAIM_SECONDS = 300.0
#: After how long nobody is told any more.
_GIVE_UP = timedelta(days=2)
_AT_ONCE = 500
#: Alerts in one message.
_MOST_AT_ONCE = 1000
_LONGEST_REASON = 1000
#: After so many sendings in a row of which nobody knows how they ended an alert is given up: it takes what there is not.
MOST_DEATHS = 5
#: Reason of an alert that was not tried yet, since others of its rule took long to fail.
RESTS = "its rule rests for a while: another message of it took too long, and failed"
#: Reasons of an alert whose sending has begun, by how many before that had no outcome.
_BEGUN = [f"its sending has begun; of {number} in a row no end is known" for number in range(1, MOST_DEATHS + 1)]
#: How many sendings in a row have begun and had no outcome: whoever sent it has died.
_DEATHS = case({reason: number for number, reason in enumerate(_BEGUN, 1)}, value=Alert.reason, else_=0)


@dataclass(frozen=True)
class ClaimedAlert:
    """One alert to be sent; columns as in ``alerts``."""

    id: int
    rule_id: str
    event_id: str
    event: str
    workflow_id: str
    batch_id: str | None
    task_id: str | None
    map_index: int
    try_number: int | None
    happened_at: datetime
    details: dict[str, Any]
    #: Sendings that have begun, with this one.
    attempts: int
    #: How many of them in a row, up to the one before, had no outcome.
    deaths: int
    #: Who claimed it until then may say what came of it.
    claimed_until: datetime


def calls(rules: Collection[RuleInForce], happenings: Iterable[Happening]) -> Iterator[tuple[RuleInForce, Happening]]:
    """Yield what these rules ask for of what has happened, each time with the rule."""
    covering: dict[tuple[str, str], list[RuleInForce]] = {}
    for happening in happenings:
        key = (happening.workflow_id, happening.event)
        if key not in covering:
            covering[key] = [one for one in rules if one.rule.covers(*key)]
        yield from ((one, happening) for one in covering[key] if is_about(one.rule, happening))


def unstored(session: Session, called_for: Iterable[tuple[RuleInForce, Happening]]) -> list[dict[str, Any]]:
    """Return the rows of ``alerts`` that rules call for and that are not there yet."""
    now = datetime.now(UTC)
    rows = {(row["rule_id"], row["event_id"]): row for row in _rows(called_for, now)}
    for keys in chunks(list(rows), _AT_ONCE):
        stored = select(Alert.rule_id, Alert.event_id).where(tuple_(Alert.rule_id, Alert.event_id).in_(keys))
        for rule_id, event_id in session.execute(stored):
            del rows[(rule_id, event_id)]
    return list(rows.values())


def store(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Store alerts; what is there already stays."""
    for statement in inserts(session, Alert, rows):
        session.execute(statement.on_conflict_do_nothing())


def is_too_old(happening: Happening, now: datetime) -> bool:
    """Tell whether nobody is told of it any more."""
    return happening.at is not None and happening.at < now - _OLDEST


def _rows(called_for: Iterable[tuple[RuleInForce, Happening]], now: datetime) -> Iterator[dict[str, Any]]:
    for one, happening in called_for:
        at = happening.at or now
        if at < one.since or is_too_old(happening, now):
            continue
        yield {
            "rule_id": one.rule.rule_id,
            "event_id": happening.event_id,
            "event": happening.event,
            "workflow_id": happening.workflow_id,
            "batch_id": happening.batch_id,
            "task_id": happening.task_id,
            "map_index": happening.map_index,
            "try_number": happening.try_number,
            "happened_at": at,
            "details": happening.details,
            "state": ALERT_WAITING,
            "created_at": now,
            "due_at": due_at(one.rule, now),
        }


def is_about(rule: AlertRule, happening: Happening) -> bool:
    """Tell whether a rule asks for this task or batch: without a task, for batches, and for what only tasks can be."""
    if rule.task_id is None:
        return happening.task_id is None or happening.event in ("retry", "blocked")
    return happening.task_id is not None and rule.task_id in (EACH_TASK, happening.task_id)


def due_at(rule: AlertRule, now: datetime) -> datetime:
    """Return when an alert is to be sent: after what else comes of its batch, and after the quiet hours."""
    return _after_quiet_hours(rule, now + timedelta(seconds=rule.group_seconds))


def _after_quiet_hours(rule: AlertRule, due: datetime) -> datetime:
    if rule.quiet_hours is None:
        return due
    begin, end = rule.quiet_hours
    local = due.astimezone(rule.zone)
    clock = local.time().replace(tzinfo=None)
    quiet = begin <= clock < end if begin <= end else clock >= begin or clock < end
    if not quiet:
        return due
    day = local.date() + timedelta(days=1 if clock >= end else 0)
    # In the hour that there is twice, the end may be the first of two, and past.
    return max(due, datetime.combine(day, end, rule.zone).astimezone(UTC))


def _is_due(now: datetime) -> ColumnElement[bool]:
    return and_(_waits(now), Alert.due_at <= now, Alert.rule_id.not_in(resting_rules(now)))


def _waits(now: datetime) -> ColumnElement[bool]:
    """Select alerts that are not sent yet, and that nobody is at: the claim of one that died runs out."""
    return and_(Alert.state == ALERT_WAITING, or_(Alert.claimed_until.is_(None), Alert.claimed_until <= now))


def any_due(session: Session) -> bool:
    """Tell whether an alert is to be sent now."""
    return session.scalar(select(Alert.id).where(_is_due(datetime.now(UTC))).limit(1)) is not None


def claim(session: Session, rules: Mapping[str, AlertRule], spent: Mapping[str, float]) -> list[ClaimedAlert]:
    """
    Claim the next message, and write that its sending begins: whoever dies of it counts nothing afterwards.

    Rules take turns by the time that they took, so none is kept waiting by how much another has, or how slow its server is.

    A message is what is due of one rule and one batch, and what will be soon; one alert to a topic. What nobody has survived to
    send goes apart from what is new, and the last time alone: of what was with it in a message nobody may have died. It comes
    after all others, as does what else its rule tells: should the process die of it once more, all others are sent.

    :param rules: by their ids.
    :param spent: seconds that sending took, by rule.
    :return: in the order in which they happened; none where nothing is due.
    """
    now = datetime.now(UTC)
    of_rules = select(Alert.rule_id, func.max(_DEATHS), func.min(Alert.due_at)).where(_is_due(now)).group_by(Alert.rule_id)
    turns = [(deaths, spent.get(rule_id, 0.0), due, rule_id) for rule_id, deaths, due in session.execute(of_rules)]
    if not turns:
        return []
    rule_id = min(turns)[-1]
    own = and_(Alert.rule_id == rule_id, _waits(now))
    in_turn = (_DEATHS, Alert.attempts, Alert.due_at, Alert.id)
    columns = (Alert.id, Alert.workflow_id, Alert.batch_id, _DEATHS)
    statement = select(*columns).where(own, Alert.due_at <= now).order_by(*in_turn).limit(1)
    first = session.execute(statement.with_for_update(skip_locked=True)).one_or_none()
    if first is None:
        return []
    alert_id, workflow_id, batch_id, deaths = first
    same = [Alert.workflow_id == workflow_id, Alert.batch_id.is_not_distinct_from(batch_id), deaths == _DEATHS]
    rule = rules.get(rule_id)
    if deaths == MOST_DEATHS - 1 or (rule is not None and rule.notifier == TOPIC):
        same = [Alert.id == alert_id]
    # What is due later than by its rule's grouping waits for the end of quiet hours, or has failed.
    soon = now + timedelta(seconds=rule.group_seconds if rule is not None else 0)
    statement = select(Alert).where(own, *same, Alert.due_at <= soon).order_by(*in_turn).limit(_MOST_AT_ONCE)
    rows = session.scalars(statement.with_for_update(skip_locked=True)).all()
    for row in rows:
        row.claimed_until = now + timedelta(seconds=CLAIM_SECONDS)
        if deaths < MOST_DEATHS:
            row.attempts, row.reason = row.attempts + 1, _BEGUN[deaths]
    session.flush()
    names = [field.name for field in fields(ClaimedAlert) if field.name != "deaths"]
    found = [ClaimedAlert(**{name: getattr(row, name) for name in names}, deaths=deaths) for row in rows]
    return sorted(found, key=lambda alert: (alert.happened_at, alert.id))


def mark_sent(session: Session, alerts: Sequence[ClaimedAlert]) -> None:
    """Write that somebody has taken the alerts of a message."""
    values = {"state": ALERT_SENT, "sent_at": datetime.now(UTC), "claimed_until": None, "reason": None}
    for ids in chunks([alert.id for alert in alerts], _AT_ONCE):
        _write(session, Alert.id.in_(ids), alerts[0], values)


def mark_failed(
    session: Session, alerts: Collection[ClaimedAlert], reason: str, rule: AlertRule | None = None, *, for_good: bool = False
) -> None:
    """
    Write why alerts were not sent, and when it is tried again: after 15 s, twice as long each time, half an hour at most.

    :param rule: theirs, in whose quiet hours it is not tried.
    :param for_good: that it makes no sense to try again, as after two days.
    """
    now = datetime.now(UTC)
    for alert in alerts:
        over = for_good or alert.happened_at < now - _GIVE_UP
        due = now + timedelta(seconds=backoff(alert.attempts, first=FIRST_PAUSE, longest=LONGEST_PAUSE))
        values: dict[str, Any] = {"reason": one_line(reason, _LONGEST_REASON), "claimed_until": None}
        values |= {"state": ALERT_FAILED} if over else {"due_at": _after_quiet_hours(rule, due) if rule is not None else due}
        _write(session, Alert.id == alert.id, alert, values)


def _write(session: Session, which: ColumnElement[bool], claimed: ClaimedAlert, values: Mapping[str, Any]) -> None:
    """Write into alerts that are still those of their claimer: one that stood still for minutes has lost them to another."""
    statement = update(Alert).where(which, Alert.state == ALERT_WAITING, Alert.claimed_until == claimed.claimed_until)
    session.execute(statement.values(**values).execution_options(synchronize_session=False))


def retry_failed(session: Session) -> int:
    """Let what was given up be sent once more, and at once; return how many alerts that are."""
    now = datetime.now(UTC)
    values = {"state": ALERT_WAITING, "due_at": now, "attempts": 0, "reason": None}
    statement = update(Alert).where(Alert.state == ALERT_FAILED).values(**values).returning(Alert.rule_id)
    of_rules = session.scalars(statement.execution_options(synchronize_session=False)).all()
    for rule_id in set(of_rules):
        wake(session, rule_id)
    return len(of_rules)


def unsent(session: Session, before: datetime) -> tuple[int, int]:
    """Return how many alerts were given up, and how many wait that were raised before a time and were due then."""
    failed = session.scalar(select(func.count()).select_from(Alert).where(Alert.state == ALERT_FAILED)) or 0
    overdue = select(func.count()).select_from(Alert).where(Alert.state == ALERT_WAITING, Alert.created_at < before)
    return failed, session.scalar(overdue.where(or_(Alert.reason.is_not(None), Alert.due_at < before))) or 0


def newest(session: Session, *, state: str | None, workflow_id: str | None, limit: int) -> list[dict[str, Any]]:
    """
    Return alerts as dicts of their columns, newest first. Of one that waits as its rule rests, that is the reason.

    :param state: only those in it; None for any.
    :param workflow_id: only those of this workflow; None for any.
    """
    rests = and_(Alert.state == ALERT_WAITING, Alert.reason.is_(None), Alert.rule_id.in_(resting_rules(datetime.now(UTC))))
    reason = case((rests, RESTS), else_=Alert.reason).label("reason")
    columns = [reason if column.name == "reason" else column for column in Alert.__table__.columns]
    statement = select(*columns).order_by(Alert.id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(Alert.state == state)
    if workflow_id is not None:
        statement = statement.where(Alert.workflow_id == workflow_id)
    return [dict(row._mapping) for row in session.execute(statement)]
