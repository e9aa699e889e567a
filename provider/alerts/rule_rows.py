"""The table ``alert_rules``: what people have written into it, and since when it is so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Float, Integer, Select, Text, case, cast, delete, func, select, update
from sqlalchemy.orm import Session

from provider.alerts.rules import LONGEST_CONFIG, MOST_RULES, AlertRule, ReadRules, read_rules
from provider.metadata.tables import AlertRule as RuleRow
from provider.metadata.upsert import upsert
from provider.metadata.written_rows import columns_as_written, rows_as_written
from provider.pacing import backoff
from provider.texts import one_line

#: Columns of a rule that are the reconciler's.
_OWN = ("created_at", "in_force_as", "in_force_since", "decided_until", "slow_failures", "rests_until")
#: The pause after a first failure and the longest one, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 1800.0


@dataclass(frozen=True)
class RuleInForce:
    """
    A rule, and since when it is as it is.

    :param since: what has happened before is not told.
    :param decided_until: its times of day until then are decided; None where none has passed.
    """

    rule: AlertRule
    since: datetime
    decided_until: datetime | None = None
    #: Whether it is written down since when it is as it is.
    is_noted: bool = False


def stored_rules(session: Session, allowed: Collection[str]) -> ReadRules:
    """Read and check all rules, in the order of their ids; parameters as in :func:`provider.alerts.rules.read_rules`."""
    rows = _rows(session)
    read = read_rules([_peoples(row) for row in rows[:MOST_RULES]], allowed)
    if len(rows) > MOST_RULES:
        problem = f"there are more than {MOST_RULES} rules; this one and all after it are not looked at. Delete some."
        return ReadRules(read.rules, {**read.problems, one_line(rows[MOST_RULES]["rule_id"], 200): problem})
    return read


def rules_in_force(session: Session, allowed: Collection[str]) -> list[RuleInForce]:
    """
    Return the rules that can be used, and those that rest: once they are enabled, they tell of what happens then.

    A rule that has been changed since the last look is in force from now on; the caller's transaction may be one that reads, so
    :func:`note_changed_rules` writes that down.
    """
    rows = {row["rule_id"]: row for row in _rows(session)[:MOST_RULES]}
    now = datetime.now(UTC)
    found = []
    for rule in read_rules(map(_peoples, rows.values()), allowed).rules:
        row = rows[rule.rule_id]
        is_known = row["in_force_as"] == rule.digest
        since = _moment(row["in_force_since" if is_known else "created_at"]) if is_known or row["in_force_as"] is None else now
        # Where the clock was ahead for a moment, what is written of the future is no reason to be silent until then.
        decided = _moment(row["decided_until"])
        found.append(RuleInForce(rule, min(since or now, now), decided if decided and decided <= now else None, is_known))
    return found


def _rows(session: Session) -> list[dict[str, Any]]:
    table = RuleRow.__table__
    columns = columns_as_written(table)
    if session.get_bind().dialect.name == "sqlite":
        columns = [_of_sqlite(column) for column in columns]
    return rows_as_written(session, select(*columns).order_by(RuleRow.rule_id).limit(MOST_RULES + 1), table)


def _of_sqlite(column: Any) -> Any:
    """Return a column as text: SQLite lets people write anything of any length into all of them, times and bytes included."""
    if isinstance(column.type, Integer | Float):
        return column
    written = func.substr(cast(column, Text), 1, LONGEST_CONFIG + 1)
    return case((func.typeof(column) == "blob", "bytes, and no text"), else_=written).label(column.name)


def _peoples(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _OWN}


def _moment(value: datetime | str | None) -> datetime | None:
    """Return a time as UTC; None where it is none."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        return None


def note_changed_rules(session: Session, rules: Collection[RuleInForce]) -> None:
    """Write down since when rules are as they are, where that is not known yet."""
    for one in rules:
        if one.is_noted:
            continue
        session.execute(
            update(RuleRow)
            .where(RuleRow.rule_id == one.rule.rule_id, RuleRow.in_force_as.is_distinct_from(one.rule.digest))
            .values(in_force_as=one.rule.digest, in_force_since=one.since)
            .execution_options(synchronize_session=False)
        )


def note_decided(session: Session, rule_ids: Collection[str], until: datetime) -> None:
    """Write down until when the times of day of rules are decided."""
    statement = update(RuleRow).where(RuleRow.rule_id.in_(rule_ids)).values(decided_until=until)
    session.execute(statement.execution_options(synchronize_session=False))


def let_rest(session: Session, rule_id: str) -> None:
    """
    Let a rule rest of which a message took long, and failed: all of its messages would take that time from the other rules.

    For 15 s, twice as long each time in a row, half an hour at most.
    """
    counted = update(RuleRow).where(RuleRow.rule_id == rule_id).values(slow_failures=RuleRow.slow_failures + 1)
    failures = session.scalar(counted.returning(RuleRow.slow_failures).execution_options(synchronize_session=False))
    if failures is not None:
        until = datetime.now(UTC) + timedelta(seconds=backoff(failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE))
        session.execute(update(RuleRow).where(RuleRow.rule_id == rule_id).values(rests_until=until))


def wake(session: Session, rule_id: str) -> None:
    """Let a rule rest no more: a message of it took no longer than usual."""
    rested = update(RuleRow).where(RuleRow.rule_id == rule_id, RuleRow.slow_failures > 0)
    session.execute(rested.values(slow_failures=0, rests_until=None).execution_options(synchronize_session=False))


def resting_rules(now: datetime) -> Select[str]:
    """Select the ids of the rules that rest."""
    return select(RuleRow.rule_id).where(RuleRow.rests_until > now)


def store_rules(session: Session, rules: Sequence[AlertRule], *, prune: bool = False) -> None:
    """
    Store rules in place of those of the same ids.

    :param prune: also delete all others.
    """
    if prune:
        session.execute(delete(RuleRow).where(RuleRow.rule_id.not_in([rule.rule_id for rule in rules])))
    rows = [_columns(rule) for rule in rules]
    if rows:
        upsert(session, RuleRow, rows, update=[name for name in rows[0] if name != "rule_id"])


def _columns(rule: AlertRule) -> dict[str, Any]:
    """Return a rule as a row, its lists and times as people write them in one."""
    quiet = rule.quiet_hours
    return {
        **rule.model_dump(),
        "events": ",".join(rule.events),
        "days": None if rule.days is None else ",".join(rule.days),
        "from_time": f"{rule.from_time:%H:%M}",
        "at_time": None if rule.at_time is None else f"{rule.at_time:%H:%M}",
        "quiet_hours": None if quiet is None else f"{quiet[0]:%H:%M}-{quiet[1]:%H:%M}",
    }
