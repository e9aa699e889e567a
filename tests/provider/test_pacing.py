"""Pauses."""

from __future__ import annotations

from provider.pacing import backoff, jittered


def test_jitter_is_a_tenth_and_differs():
    pauses = {jittered(30.0) for _ in range(20)}

    assert all(27.0 <= pause <= 33.0 for pause in pauses)
    assert len(pauses) > 1


def test_backoff_doubles_up_to_the_longest():
    for failures, expected in {1: 1.0, 2: 2.0, 3: 4.0, 1000: 30.0}.items():
        assert 0.9 * expected <= backoff(failures, first=1.0, longest=30.0) <= 1.1 * expected
