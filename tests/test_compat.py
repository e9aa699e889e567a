"""The table of `make compat`, without making environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import compat
from tests.compat import Environment, Outcome, Unavailable

REPORT = (
    """<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"><testcase/></testsuite></testsuites>"""
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "FOLDER", tmp_path)


def test_errors_in_fixtures_count_as_failed() -> None:
    assert compat.read_report(REPORT) == {"passed": 4, "failed": 3, "skipped": 3}


def test_a_list_that_cannot_be_had_is_a_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(url: str) -> str:
        raise Unavailable(f"{url} cannot be had: no route")

    monkeypatch.setattr(compat, "fetch", away)
    rows = list(compat.environments())

    assert [row.name for row in rows if isinstance(row, Environment)] == [
        "lowest",
        "airflow-oldest",
        "python-3.11",
        "python-3.12",
        "python-3.13",
    ]
    (missing,) = (row for row in rows if isinstance(row, tuple))
    assert missing[0] == "airflow-constraints"
    assert "no route" in missing[1]


def test_an_environment_without_its_python_is_skipped() -> None:
    outcome = compat.examine(Environment("future", "3.99", "a Python to come"), [])

    assert (outcome.skipped, outcome.good) == (True, True)
    assert outcome.note == "there is no Python 3.99 on this machine"


def test_an_environment_is_made_anew_when_its_list_changes() -> None:
    one, other = Environment("a", "3.11", "", pins="x==1"), Environment("a", "3.11", "", pins="x==2")

    assert one.fingerprint("python") == one.fingerprint("python")
    assert len({one.fingerprint("python"), one.fingerprint("other"), other.fingerprint("python")}) == 3


@pytest.mark.parametrize(
    ("counts", "skipped", "good"),
    [
        ({"passed": 1, "failed": 0, "skipped": 0}, False, True),
        ({"passed": 1, "failed": 1, "skipped": 0}, False, False),
        ({}, False, False),
        ({}, True, True),
    ],
)
def test_the_table_names_each_environment_and_what_came_of_it(counts: dict[str, int], skipped: bool, good: Any) -> None:
    outcome = Outcome(Environment("lowest", "3.11", "lowest versions"), "3.3.0", counts, 12.3, "see the log", skipped)

    assert outcome.good is good
    row = compat.table([outcome]).splitlines()[1]
    assert row.split()[:3] == ["lowest", "3.11", "3.3.0"]
    assert row.endswith("skipped: see the log" if skipped else "lowest versions; see the log")
