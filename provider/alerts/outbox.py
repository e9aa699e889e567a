"""
The table ``alerts`` as an outbox: each event once for each rule, claimed and sent until somebody has taken it.

An alert is committed with what it tells of. It is sent at least once: whoever sends it may die before that is written down.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from provider.alerts.happenings import Happening
from provider.alerts.rule_rows import RuleInForce
from provider.alerts.rules import EACH_TASK, AlertRule
from provider.metadata.states import ALERT_FAILED, ALERT_SENT, ALERT_WAITING
from provider.metadata.tables import Alert
from provider.metadata.upsert import inserts
from provider.pacing import backoff
from provider.texts import chunks, one_line

#: What of the past is still told when nobody has reconciled for a while.
_OLDEST = timedelta(days=1)
#: How long a claimed alert is its claimer's.
CLAIM_SECONDS = 300.0
#: The pause after a first failure and the longest one, in seconds, and after how long nobody is told any more.
_FIRST_PAUSE, _LONGEST_PAUSE = 15.0, 1800.0
_GIVE_UP = timedelta(days=2)
_AT_ONCE = 500
#: Alerts in one claim, and so in one message.
_MOST_AT_ONCE = 1000
_LONGEST_REASON = 1000
#: After so many sendings in a row of which nobody knows how they ended an alert is given up: it takes what there is not.
MOST_DEATHS = 5
#: Reason of an alert that was not tried yet, since others of its rule took long to fail.
PUT_OFF = "it was put off: another message of its rule took too long, and failed"
#: Reasons of an alert whose sending has begun, by how many before that had no outcome.
_BEGUN = [f"its sending has begun; of {number} in a row no end is known" for number in range(1, MOST_DEATHS + 1)]


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
    #: Sendings that have begun.
    attempts: int
    reason: str | None = None

    @property
    def deaths(self) -> int:
        """How many sendings in a row, up to the last one, have begun and had no outcome: whoever sent it has died."""
        return 1 + _BEGUN.index(self.reason) if self.reason in _BEGUN else 0


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
    due = now + timedelta(seconds=rule.group_seconds)
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
    return and_(_waits(now), Alert.due_at <= now)


def _waits(now: datetime) -> ColumnElement[bool]:
    """Select alerts that are not sent yet, and that nobody is at: the claim of one that died runs out."""
    return and_(Alert.state == ALERT_WAITING, or_(Alert.claimed_until.is_(None), Alert.claimed_until <= now))


def any_due(session: Session) -> bool:
    """Tell whether an alert is to be sent now."""
    return session.scalar(select(Alert.id).where(_is_due(datetime.now(UTC))).limit(1)) is not None


def claim(session: Session, limit: int = 100, *, last: Collection[str] = ()) -> list[ClaimedAlert]:
    """
    Claim alerts that are due, and with them what else their rules tell of the same batches.

    Rules take turns, each with what has been due for longest, so that none is kept waiting by how much another has.

    :param limit: how many of them that are due; with the others a thousand at most.
    :param last: rules whose turn comes after that of all others.
    :return: in the order in which they are to be sent.
    """
    now = datetime.now(UTC)
    turn = func.row_number().over(partition_by=Alert.rule_id, order_by=(Alert.due_at, Alert.id))
    in_turn = (Alert.rule_id.in_(last), turn, Alert.attempts, Alert.due_at, Alert.id)
    due = select(Alert.rule_id, Alert.workflow_id, Alert.batch_id).where(_is_due(now)).order_by(*in_turn).limit(limit)
    groups = {tuple(group): None for group in session.execute(due)}
    if not groups:
        return []
    of_groups = or_(
        *(
            and_(Alert.rule_id == rule_id, Alert.workflow_id == workflow_id, Alert.batch_id.is_not_distinct_from(batch_id))
            for rule_id, workflow_id, batch_id in groups
        )
    )
    statement = select(Alert).where(_waits(now), of_groups).order_by(Alert.due_at, Alert.id)
    rows = session.scalars(statement.limit(_MOST_AT_ONCE).with_for_update(skip_locked=True)).all()
    for row in rows:
        row.claimed_until = now + timedelta(seconds=CLAIM_SECONDS)
    places = {group: place for place, group in enumerate(groups)}
    ordered = sorted(rows, key=lambda row: places[(row.rule_id, row.workflow_id, row.batch_id)])
    return [ClaimedAlert(**{field.name: getattr(row, field.name) for field in fields(ClaimedAlert)}) for row in ordered]


def begin(session: Session, alerts: Sequence[ClaimedAlert]) -> list[ClaimedAlert]:
    """
    Write that sending one message begins, and return its alerts as they are then.

    Counted before it is sent, for whoever dies of it counts nothing; and for this message alone, not for its whole claim.

    :param alerts: those of the message, as :func:`provider.alerts.delivery.messages_of` has them: with as many deaths each.
    """
    reason = _BEGUN[alerts[0].deaths]
    statement = update(Alert).where(Alert.id.in_([alert.id for alert in alerts]), Alert.state == ALERT_WAITING)
    statement = statement.values(attempts=Alert.attempts + 1, reason=reason)
    session.execute(statement.execution_options(synchronize_session=False))
    return [replace(alert, attempts=alert.attempts + 1, reason=reason) for alert in alerts]


def mark_sent(session: Session, ids: Collection[int]) -> None:
    """Write that somebody has taken alerts."""
    values = {"state": ALERT_SENT, "sent_at": datetime.now(UTC), "claimed_until": None, "reason": None}
    session.execute(update(Alert).where(Alert.id.in_(ids)).values(**values).execution_options(synchronize_session=False))


def release(session: Session, ids: Collection[int]) -> None:
    """Give back claimed alerts that there was no time to send."""
    statement = update(Alert).where(Alert.id.in_(ids), Alert.state == ALERT_WAITING).values(claimed_until=None)
    session.execute(statement.execution_options(synchronize_session=False))


def mark_failed(session: Session, alerts: Collection[ClaimedAlert], reason: str, *, for_good: bool = False) -> None:
    """
    Write why alerts were not sent, and when it is tried again: after 15 s, twice as long each time, half an hour at most.

    :param for_good: that it makes no sense to try again, as after two days.
    """
    now = datetime.now(UTC)
    for alert in alerts:
        over = for_good or alert.happened_at < now - _GIVE_UP
        pause = backoff(alert.attempts, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
        values: dict[str, Any] = {"reason": one_line(reason, _LONGEST_REASON), "claimed_until": None}
        values |= {"state": ALERT_FAILED} if over else {"due_at": now + timedelta(seconds=pause)}
        session.execute(update(Alert).where(Alert.id == alert.id).values(**values).execution_options(synchronize_session=False))


def put_off(session: Session, failed: Sequence[ClaimedAlert]) -> None:
    """
    Let all that waits of a rule wait as long as a message of it that failed, and say so in what was not tried yet.

    For messages that take long to fail: each of them would take its time from the other rules.

    :param failed: those of the message, after :func:`mark_failed`; where it was given up, the next one is tried.
    """
    waiting = Alert.state == ALERT_WAITING
    of_message = Alert.id.in_([alert.id for alert in failed])
    until = session.scalar(select(func.max(Alert.due_at)).where(waiting, of_message))
    if until is None:
        return
    values = {"due_at": until, "reason": case((Alert.reason.is_(None), PUT_OFF), else_=Alert.reason)}
    statement = update(Alert).where(waiting, Alert.rule_id == failed[0].rule_id, Alert.due_at < until).values(**values)
    session.execute(statement.execution_options(synchronize_session=False))


def retry_failed(session: Session) -> int:
    """Let what was given up be sent once more; return how many alerts that are."""
    now = datetime.now(UTC)
    values = {"state": ALERT_WAITING, "due_at": now, "attempts": 0, "reason": None}
    statement = update(Alert).where(Alert.state == ALERT_FAILED).values(**values).returning(Alert.id)
    return len(session.execute(statement.execution_options(synchronize_session=False)).all())


def unsent(session: Session, before: datetime) -> tuple[int, int]:
    """Return how many alerts were given up, and how many wait that were raised before a time and were due then."""
    failed = session.scalar(select(func.count()).select_from(Alert).where(Alert.state == ALERT_FAILED)) or 0
    overdue = select(func.count()).select_from(Alert).where(Alert.state == ALERT_WAITING, Alert.created_at < before)
    return failed, session.scalar(overdue.where(or_(Alert.reason.is_not(None), Alert.due_at < before))) or 0


def newest(session: Session, *, state: str | None, workflow_id: str | None, limit: int) -> list[dict[str, Any]]:
    """
    Return alerts as dicts of their columns, newest first.

    :param state: only those in it; None for any.
    :param workflow_id: only those of this workflow; None for any.
    """
    statement = select(*Alert.__table__.columns).order_by(Alert.id.desc()).limit(limit)
    if state is not None:
        statement = statement.where(Alert.state == state)
    if workflow_id is not None:
        statement = statement.where(Alert.workflow_id == workflow_id)
    return [dict(row._mapping) for row in session.execute(statement)]
