"""What bounds a wait: its end, its pauses, and what of it goes to a trigger."""

from __future__ import annotations

import pytest

from provider.hooks import wait_budget
from provider.hooks.wait_budget import WaitBudget
from tests.provider.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, wait_budget)


@pytest.mark.parametrize(("seconds", "expired"), [(-1.0, True), (0.0, True), (1.0, False)])
def test_wait_ends_at_its_deadline(clock, seconds, expired):
    assert WaitBudget().until(clock.now + seconds).expired is expired


def test_wait_without_a_deadline_never_ends(clock):
    assert not WaitBudget(deadline=clock.now).until(None).expired


def test_nearer_end_holds(clock):
    assert WaitBudget(call=7.0).at_most(60.0) == WaitBudget(call=7.0, deadline=clock.now + 60.0)
    assert WaitBudget(deadline=clock.now + 30.0).at_most(60.0).deadline == clock.now + 30.0
    assert WaitBudget(deadline=clock.now + 90.0).at_most(60.0).deadline == clock.now + 60.0


class TestPause:
    def test_it_is_as_long_as_wished(self, clock):
        assert WaitBudget().pause(5.0) == 5.0
        assert WaitBudget().pause(0.25) == 0.25

    def test_service_can_ask_for_a_longer_one_but_not_for_a_shorter_one(self, clock):
        assert WaitBudget().pause(5.0, 60.0) == 60.0
        assert WaitBudget().pause(5.0, 2.0) == 5.0
        assert WaitBudget().pause(0.25, None) == 0.25

    def test_service_can_not_ask_for_more_than_the_longest(self, clock):
        assert WaitBudget(retry_after=90.0).pause(5.0, 31_536_000.0) == 90.0

    def test_it_does_not_go_beyond_the_end_of_the_wait(self, clock):
        assert WaitBudget(deadline=clock.now + 3.0).pause(5.0) == 3.0
        assert WaitBudget(deadline=clock.now + 9.0).pause(5.0) == 5.0

    def test_there_is_none_after_the_end_of_the_wait(self, clock):
        assert WaitBudget(deadline=clock.now - 3.0).pause(5.0, 60.0) == 0.0


def test_trigger_is_told_what_differs_from_the_defaults():
    assert WaitBudget().to_json() == {}
    assert WaitBudget(deadline=12.5, lookup=7.0, starts=4).to_json() == {"deadline": 12.5, "lookup": 7.0, "starts": 4}
    assert WaitBudget(**WaitBudget(deadline=12.5, lookup=7.0).to_json()) == WaitBudget(deadline=12.5, lookup=7.0)
