"""Carrying out checks: beside each other, each within its time, and none hides another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from provider import settings
from provider.airflow_internals.secrets import redact
from provider.exceptions import AcceleratorError, ConfigurationError, UnseenError
from provider.texts import first_line, one_line
from provider.threads import in_thread, within

#: How long one check may take as a whole, in seconds.
CHECK_SECONDS = 20.0
#: Longest text of a finding.
_LONGEST = 600

_THREAD = "accelerator-doctor"


class State(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    #: It could not be looked at from here.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """
    What a check says.

    :param seen: what it has seen.
    :param remedy: one sentence that says what to do; empty where there is nothing to do.
    """

    state: State
    seen: str
    remedy: str = ""


@dataclass(frozen=True)
class Finding:
    """The verdict of a check, with the check's name; without secrets."""

    check: str
    state: State
    seen: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """
    One check.

    :param look: returns the verdict; None where the check does not concern this installation.
    :param remedy: what to do where looking fails or hangs.
    """

    name: str
    look: Callable[[], Verdict | None]
    remedy: str


def ok(seen: str) -> Verdict:
    """Return the verdict that all is well."""
    return Verdict(State.OK, seen)


def examine(checks: Iterable[Check], *, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """
    Carry out checks beside each other.

    :param seconds: time of each check; one that hangs is an error.
    :return: in the order of the checks, without those that do not concern this installation.
    """
    mask = _mask()
    running = [(check, in_thread(partial(within, seconds, check.look, _THREAD), _THREAD)) for check in checks]
    findings = []
    for check, future in running:
        verdict = _verdict(check, future.result, mask)
        if verdict is not None:
            seen, remedy = (one_line(redact(text), _LONGEST) for text in (verdict.seen, verdict.remedy))
            findings.append(Finding(check.name, verdict.state, seen, remedy))
    return findings


def _verdict(check: Check, look: Callable[[], Verdict | None], mask: Callable[[str], str]) -> Verdict | None:
    try:
        return look()
    except UnseenError as unseen:
        return Verdict(State.UNKNOWN, str(unseen), unseen.remedy)
    except (AcceleratorError, TimeoutError) as error:
        return Verdict(State.ERROR, str(error), check.remedy)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks count too
        return Verdict(
            State.ERROR, f"{type(error).__name__}: {first_line(mask(str(getattr(error, 'orig', None) or error)))}", check.remedy
        )


def _mask() -> Callable[[str], str]:
    """Return what takes the secrets of the database's URL out of a foreign text."""
    from provider.metadata.database_url import UrlMask, parse_database_url

    try:
        return UrlMask(parse_database_url(settings.get("sql_alchemy_conn")))
    except ConfigurationError:
        return lambda text: text  # nothing has spoken to a database with a URL that cannot be read
