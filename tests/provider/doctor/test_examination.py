"""Checks are carried out beside each other: none hides another, none holds the others up, none tells a secret."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from provider.doctor.examination import Check, State, Verdict, examine, ok
from provider.exceptions import ConfigurationError, UnseenError

URL = "postgresql://bob:s3cr-et@127.0.0.1:1/shop"


@pytest.fixture(autouse=True)
def _database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", URL)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def raised(error: Exception) -> Verdict:
    raise error


def test_findings_are_in_the_order_of_the_checks_and_say_what_was_seen() -> None:
    bad = Verdict(State.WARNING, "two of three", "Get a third.")
    found = examine([Check("b", lambda: ok("all"), "-"), Check("none", lambda: None, "-"), Check("a", lambda: bad, "-")])
    assert [(one.check, one.state, one.seen, one.remedy) for one in found] == [
        ("b", "ok", "all", ""),
        ("a", "warning", "two of three", "Get a third."),
    ]


def test_a_check_that_hangs_is_an_error_and_the_others_are_told(gate: threading.Event) -> None:
    def hang() -> Verdict:
        gate.wait()
        return ok("late")

    found = examine([Check("hangs", hang, "Wake it."), Check("well", lambda: ok("all"), "-")], seconds=0.1)
    assert [(one.check, one.state, one.seen, one.remedy) for one in found] == [
        ("hangs", "error", "no answer within 0.1 seconds", "Wake it."),
        ("well", "ok", "all", ""),
    ]


def test_checks_run_beside_each_other() -> None:
    both = threading.Barrier(2, timeout=10)

    def meet() -> Verdict:
        both.wait()
        return ok("met")

    found = examine([Check("one", meet, "-"), Check("two", meet, "-")])
    assert [one.state for one in found] == [State.OK, State.OK]


@pytest.mark.parametrize(
    ("error", "state", "seen", "remedy"),
    [
        (ConfigurationError("no host"), State.ERROR, "no host", "Mend it."),
        (KeyError("x"), State.ERROR, "KeyError: 'x'", "Mend it."),
        (UnseenError("not from here", "Go there."), State.UNKNOWN, "not from here", "Go there."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_check_that_fails_is_told_and_hides_no_other(error: Exception, state: State, seen: str, remedy: str) -> None:
    first, second = examine([Check("fails", lambda: raised(error), "Mend it."), Check("well", lambda: ok("all"), "-")])
    assert (first.state, first.seen, first.remedy) == (state, seen, remedy)
    assert second.state is State.OK


def test_the_password_of_the_database_is_masked_in_a_drivers_text() -> None:
    error = OperationalError("SELECT 1", {}, Exception("no route with s3cr-et"))
    (found,) = examine([Check("database", lambda: raised(error), "-")])
    assert found.seen == "OperationalError: no route with ***"


def test_what_airflow_knows_as_a_secret_is_masked_everywhere() -> None:
    from airflow.sdk.log import mask_secret

    mask_secret("nobody-else-masks-this")
    verdict = Verdict(State.ERROR, "nobody-else-masks-this was refused", "Do not use nobody-else-masks-this.")
    (found,) = examine([Check("it", lambda: verdict, "-")])
    assert (found.seen, found.remedy) == ("*** was refused", "Do not use ***.")


def test_a_foreign_text_is_one_line() -> None:
    (found,) = examine([Check("it", lambda: ok("a\n\x1b[31mb"), "-")])
    assert found.seen == "a \\x1b[31mb"
