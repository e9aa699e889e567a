from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from provider.emulators.timeline import Phase, Timeline, Timers

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return START + timedelta(seconds=seconds)


def test_natural_end():
    timeline = Timeline(START, timedelta(seconds=10))
    assert [timeline.phase(at(second)) for second in (0, 9.9, 10)] == [Phase.RUNNING, Phase.RUNNING, Phase.DONE]
    assert not timeline.cancel(at(10))


def test_cancellation():
    timeline = Timeline(START, timedelta(seconds=10), cancel_duration=timedelta(seconds=8))
    assert timeline.cancel(at(5))
    assert not timeline.cancel(at(6))
    assert timeline.phase(at(12.9)) is Phase.CANCELING
    assert timeline.phase(at(13)) is Phase.CANCELLED
    assert timeline.ends_at == at(13)


@pytest.fixture
def timers():
    timers = Timers()
    yield timers
    timers.stop()


def test_callbacks_run_at_their_moment_in_order(timers):
    seen: list[datetime] = []
    done = threading.Event()
    now = datetime.now(UTC)
    moments = [now + timedelta(seconds=offset) for offset in (0.15, 0.05, 0.1)]
    for moment in moments:
        timers.at(moment, seen.append)
    timers.at(now + timedelta(seconds=0.2), lambda _: done.set())
    assert done.wait(10)
    assert seen == sorted(moments)


def test_a_reader_sees_nothing_before_it_is_recorded(timers):
    with timers.lock:  # the timer thread cannot run
        seen: list[datetime] = []
        timers.at(datetime.now(UTC) - timedelta(seconds=1), seen.append)
        timers.now()
        assert len(seen) == 1
