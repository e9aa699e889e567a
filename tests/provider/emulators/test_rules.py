from __future__ import annotations

import pytest
from pydantic import ValidationError

from provider.emulators.rules import Rule, RuleBook


def rule(**fields):
    return Rule.model_validate({"service": "dataform", "fault": "drop", **fields})


def hits(book, calls=5, operation="Get"):
    return [book.strike("dataform", operation) is not None for _ in range(calls)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [True, False, False, False, False]),
        ({"nth": 3}, [False, False, True, False, False]),
        ({"nth": 2, "times": 2}, [False, True, True, False, False]),
        ({"times": None}, [True] * 5),
        ({"match": "G?t"}, [True, False, False, False, False]),
        ({"match": "List*"}, [False] * 5),
        ({"service": "pubsub"}, [False] * 5),
    ],
)
def test_which_calls_are_hit(fields, expected):
    assert hits(RuleBook([rule(**fields)])) == expected


def test_probability_is_reproducible():
    first, second, other = (hits(RuleBook([rule(probability=0.3, seed=seed, times=None)]), 200) for seed in (1, 1, 2))
    assert first == second != other
    assert 30 < sum(first) < 90


def test_all_matching_rules_count_and_the_first_due_one_hits():
    book = RuleBook([rule(nth=2), rule(nth=1, times=2)])
    assert hits(book, 3) == [True, True, True]
    assert [item["seen"] for item in book.describe()] == [3, 3]


@pytest.mark.parametrize(
    "fields",
    [
        {"fault": "delay"},
        {"fault": "status"},
        {"fault": "status", "http_status": 500},
        {"fault": "status", "grpc_status": "NO_SUCH"},
        {"service": "powerbi", "fault": "status", "grpc_status": "INTERNAL"},
        {"service": "powerbi", "fault": "status", "http_status": 200},
        {"nth": 0},
        {"probability": 1.5},
        {"falut": "drop"},
    ],
)
def test_rules_that_could_not_work(fields):
    with pytest.raises(ValidationError):
        rule(**fields)
