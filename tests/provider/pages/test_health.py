"""The doctor's rounds: one at a time, kept for a while, and whoever asks does not wait."""

from __future__ import annotations

import threading

import pytest

from provider.doctor.examination import Finding, State
from provider.pages import health
from provider.pages.health import Rounds
from tests.provider.pages.conftest import Pages
from tests.waiting import wait_for

FINDING = Finding("scheduler", State.ERROR, "not alive", "Start it.")


def test_one_round_at_a_time_which_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, began = threading.Event(), []

    def look() -> list[Finding]:
        began.append(1)
        assert go_on.wait(30)
        return [FINDING]

    rounds = Rounds(look)
    for _ in range(3):
        assert rounds.told() == {"findings": [], "seen_at": None, "looking": True}
    go_on.set()
    assert wait_for(lambda: rounds.told()["seen_at"], 30)
    told = rounds.told()
    assert (told["looking"], [one["check"] for one in told["findings"]], len(began)) == (False, ["scheduler"], 1)
    monkeypatch.setattr(health, "KEPT_SECONDS", 0.0)
    assert rounds.told()["findings"] == told["findings"]
    assert wait_for(lambda: len(began) == 2, 30)


def test_a_round_that_fails_is_told_once_and_the_next_begins() -> None:
    rounds = Rounds(lambda: [][1])
    with pytest.raises(IndexError):
        wait_for(lambda: rounds.told()["seen_at"], 30)
    assert rounds.told()["looking"] is False


@pytest.mark.usefixtures("embedded_database")
def test_the_route_hands_on_what_the_doctor_says(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_rounds", Rounds(lambda: [FINDING]))
    assert wait_for(lambda: pages.json("health")["seen_at"], 30)
    assert pages.json("health")["findings"] == [
        {"check": "scheduler", "state": "error", "seen": "not alive", "remedy": "Start it."}
    ]
