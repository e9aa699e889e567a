"""Cron expressions, time zones and start dates of rows."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter
from croniter.croniter import CroniterError

from provider.texts import one_line, quoted

CRON_PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


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

    :raises ValueError: there is no such zone.
    """
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        close = difflib.get_close_matches(value, available_timezones(), n=1)
        hint = f"did you mean {close[0]}?" if close else "use a name such as Europe/Berlin or UTC"
        raise ValueError(f"{quoted(value)} is not a time zone; {hint}") from None
    return value


def parse_start_date(value: str, timezone: str) -> datetime:
    """
    Return a start date in a zone.

    :param value: ISO 8601 date or time; without an offset it is meant in ``timezone``.
    :raises ValueError: another form.
    """
    zone = ZoneInfo(timezone)
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=zone) if parsed.tzinfo is None else parsed.astimezone(zone)
    except (ValueError, OverflowError):
        raise ValueError(f"{quoted(value)} is not a date; write it like 2026-01-31 or 2026-01-31T05:00:00") from None
