"""Cron expressions, time zones and start dates of rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter
from croniter.croniter import CroniterError

from dag_factory.problems import nearest
from provider.texts import one_line, quoted

#: Start dates lie in these years. Airflow computes the runs around a start date, and fails at the ends of the calendar
#: without a word: the workflow would never run.
FIRST_YEAR, LAST_YEAR = 1900, 2199

#: Airflow's words for schedules, and what they mean.
CRON_PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}

#: A run without a start date is made up for when it was due so little ago: a part of the time between two, and at least so much.
_MADE_UP_PART, _MADE_UP_AT_LEAST = 10, timedelta(minutes=5)


@lru_cache(maxsize=4096)
def check_schedule(value: str) -> str:
    """
    Check a cron expression of five fields or one of :data:`CRON_PRESETS`.

    :raises ValueError: it is neither, or it names a day that never comes.
    """
    if value in CRON_PRESETS:
        return value
    hint = f"use five cron fields such as '0 5 * * *', or one of {', '.join(CRON_PRESETS)}"
    # croniter would draw R fields by lot at every parse.
    if value.startswith("@") or len(value.split()) != 5 or re.search(r"(^|[\s,(])r", value, re.IGNORECASE):
        raise ValueError(f"{quoted(value)} is not a schedule; {hint}")
    try:
        croniter(value, datetime(2024, 1, 1, tzinfo=UTC)).get_next(datetime)
    except (CroniterError, ValueError, OverflowError) as error:
        raise ValueError(f"{quoted(value)} is not a schedule ({one_line(error, 200)}); {hint}") from None
    return value


def check_timezone(value: str) -> str:
    """
    Check a name of the IANA time zone database.

    :raises ValueError: there is no such zone, or it says something else on each machine.
    """
    if not _is_zone(value):
        close = nearest(value, _zones())
        hint = f"did you mean {close}?" if close else "use a name such as Europe/Berlin or UTC"
        raise ValueError(f"{quoted(value)} is not a time zone; {hint}")
    return value


#: Names that the database has, and that stand for whatever a machine is set to, or for nothing.
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})


@lru_cache(maxsize=4096)
def _is_zone(value: str) -> bool:
    # right/ counts leap seconds, and not every machine has it or posix/.
    if value in _NO_ZONES or value.startswith(("right/", "posix/")):
        return False
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        return False
    return True


@cache
def _zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones() - _NO_ZONES))


def parse_start_date(value: str, timezone: str) -> datetime:
    """
    Return a start date in a zone.

    :param value: ISO 8601 date or time; without an offset it is meant in ``timezone``.
    :raises ValueError: another form, or a year that Airflow cannot compute with.
    """
    zone = ZoneInfo(timezone)
    try:
        parsed = datetime.fromisoformat(value)
        moment = parsed.replace(tzinfo=zone) if parsed.tzinfo is None else parsed.astimezone(zone)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(value)} is not a date; write it like 2026-01-31 or 2026-01-31T05:00:00") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"{quoted(value)} is not in the years {FIRST_YEAR} to {LAST_YEAR}; write another one")
    return moment


def missed_run(schedule: str, timezone: str, start: datetime | None, now: datetime) -> datetime | None:
    """
    Return the run that Airflow starts at once for a workflow that it does not know yet and that has no ``catchup``.

    The rule is that of ``airflow.timetables.trigger.CronTriggerTimetable``.

    :param start: start date; None where the workflow has none.
    :return: when that run was due, in *timezone*; None where the first run is still to come.
    """
    moment = now.astimezone(ZoneInfo(timezone))
    cron = CRON_PRESETS.get(schedule, schedule)
    due: datetime = croniter(cron, moment + timedelta(seconds=1)).get_prev(datetime)
    if start is not None:
        return due if due >= start else None
    coming: datetime = croniter(cron, moment).get_next(datetime)
    return due if moment - due <= max((coming - due) / _MADE_UP_PART, _MADE_UP_AT_LEAST) else None
