"""What a rule says, and how lists and times stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from provider.airflow_internals.secrets import redact
from provider.texts import first_line, one_line

#: Most names of a list that are told.
_NAMES = 5
#: Longest sentence, in characters: an error is part of it.
_LENGTH = 2000


@dataclass(frozen=True)
class Answer:
    """
    What came of one rule.

    :param name: what was looked at.
    :param passed: it is not what keeps it from running.
    :param reason: what was seen, in one sentence.
    :param remedy: what to do, in one sentence; empty where there is nothing to do.
    """

    name: str
    passed: bool
    reason: str
    remedy: str = ""


def cause(answers: Sequence[Answer]) -> Answer:
    """Return the first answer that did not pass; the last one where all did."""
    return next((one for one in answers if not one.passed), answers[-1])


def stops(name: str, reason: str, remedy: str = "") -> Answer:
    """Return the answer that this is what keeps it from running; foreign text becomes one line, without secrets."""
    return Answer(name, False, _told(reason), _told(remedy))


def passes(name: str, reason: str, remedy: str = "") -> Answer:
    """Return the answer that this keeps nothing from running."""
    return Answer(name, True, _told(reason), _told(remedy))


def _told(text: str) -> str:
    return one_line(redact(text), _LENGTH)


def because(text: str | None, limit: int = 300) -> str:
    """Return the first line of a foreign text behind a colon, a full stop where it says nothing; masked before it is cut."""
    said = first_line(redact(text or ""), limit)
    return f": {said}" if said else "."


def listed(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    shown = ", ".join(one_line(redact(name), 120) for name in names[:_NAMES])
    return shown if len(names) <= _NAMES else f"{shown} and {len(names) - _NAMES} more"


def moment(value: object) -> str:
    """Return a time as ``2026-01-31T05:00:00Z``, be it a datetime or a text of the API."""
    if not value:
        return "an unknown time"
    at = time_of(value)
    return one_line(redact(str(value)), 40) if at is None else at.strftime("%Y-%m-%dT%H:%M:%SZ")


def time_of(value: object) -> datetime | None:
    """Return a time, be it a datetime or a text of the API; None where it is none."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return at.astimezone(UTC)
