"""Cycles: found, named, and always the same one."""

from __future__ import annotations

import random

import pytest

from dag_factory.graph import find_cycle


@pytest.mark.parametrize(
    ("children", "cycle"),
    [
        ({}, None),
        ({"a": []}, None),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, None),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}, ["b", "c", "d", "b"]),
        ({"z": ["y"], "y": ["z"], "b": ["a"], "a": ["b"]}, ["a", "b", "a"]),
    ],
)
def test_a_cycle_is_named_from_parent_to_child(children: dict[str, list[str]], cycle: list[str] | None) -> None:
    assert find_cycle(children) == cycle


def test_the_same_graph_gives_the_same_cycle() -> None:
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("b", "d"), ("d", "a"), ("e", "b"), ("c", "e")]
    found = set()
    for seed in range(50):
        order = random.Random(seed)
        children: dict[str, list[str]] = {node: [] for node in order.sample("abcde", 5)}
        for parent, child in order.sample(edges, len(edges)):
            children[parent].append(child)
        found.add(tuple(find_cycle(children) or ()))

    assert found == {("a", "b", "c", "a")}


def test_a_chain_may_be_of_any_length() -> None:
    length = 10_000
    children = {f"t{i:05}": [f"t{i + 1:05}"] for i in range(length)}
    last = f"t{length:05}"
    assert find_cycle({**children, last: []}) is None
    cycle = find_cycle({**children, last: ["t00000"]})

    assert cycle == [*children, last, "t00000"]
