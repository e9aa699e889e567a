"""What is read of strangers, and what of it cannot be held."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from provider.plain_data import ConstantError, Flaw, RepeatedKeyError, Unstorable, number_in, parse_json, same, unstorable


def found(data: Any, max_depth: int = 10) -> list[tuple[Flaw, str]]:
    return [(one.flaw, one.path) for one in unstorable(data, max_depth=max_depth)]


def test_json_is_read() -> None:
    data = {"a": [1, -2.5, True, None, "ä\U0001f600"], "b": {"": {}}}
    assert parse_json(json.dumps(data)) == data


def test_a_repeated_key_is_named_and_found_at_once() -> None:
    with pytest.raises(RepeatedKeyError, match='the key "b" is given twice') as caught:
        parse_json('{"a": 1, "x": {"b": 1, "c": 2, "b": 3}}')
    assert caught.value.key == "b"
    # Two equal keys among very many: work that grew with the square of their number would take minutes.
    keys = [*(f"k{number}" for number in range(50_000)), "k49999"]
    with pytest.raises(RepeatedKeyError):
        parse_json("{" + ",".join(f'"{key}":1' for key in keys) + "}")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_that_json_does_not_know(word: str) -> None:
    with pytest.raises(ConstantError) as caught:
        parse_json(f"[{word}]")
    assert caught.value.word == word


@pytest.mark.parametrize("text", ["", "[1,]", "{'a': 1}", "9" * 5_000])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


@pytest.mark.parametrize(
    ("data", "flaws"),
    [
        ({"a": [1, 2.5, "x", None, True, {}]}, []),
        ({"a": {"b": ["x", "a\x00b"]}}, [(Flaw.NUL, "a.b[1]")]),
        ({"a": "\ud800"}, [(Flaw.HALF_CHARACTER, "a")]),
        ({"a": {"x\udfff": 1}}, [(Flaw.HALF_CHARACTER, "a (a key)")]),
        ({"x\x00": 1}, [(Flaw.NUL, "(a key)")]),
        ([float("inf"), float("nan")], [(Flaw.NOT_FINITE, "[1]"), (Flaw.NOT_FINITE, "[0]")]),
        ({"a": {1: "x"}}, [(Flaw.KEY_IS_NO_TEXT, "a")]),
        (2**64, [(Flaw.TOO_LARGE, "")]),
        (-(2**63) - 1, [(Flaw.TOO_LARGE, "")]),
        ((1, (2**64 - 1, -(2**63))), []),
        ([[[]]], []),
        ([[[[]]]], [(Flaw.TOO_DEEP, "[0][0][0]")]),
    ],
)
def test_what_cannot_be_held_and_where_it_is(data: Any, flaws: list[tuple[Flaw, str]]) -> None:
    assert found(data, max_depth=3) == flaws


def test_the_depth_of_data_has_no_limit_of_its_own() -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    (one,) = unstorable(deep, max_depth=40)
    assert (one.flaw, one.path) == (Flaw.TOO_DEEP, "[0]" * 40)


def test_a_long_key_is_not_written_out_for_all_that_is_below_it() -> None:
    """Paths of all values together would have some ten gigabytes here."""
    assert found({"k" * 200_000: list(range(50_000))}) == []


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), 1.5, "ä\U0001f600"])
def test_what_is_let_through_passes_from_a_task_to_its_supervisor(value: object) -> None:
    assert list(unstorable(value, max_depth=1)) == []
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value)) == value


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800"])
def test_what_is_kept_out_would_not(value: object) -> None:
    assert list(unstorable(value, max_depth=1)) == [
        Unstorable(Flaw.HALF_CHARACTER if isinstance(value, str) else Flaw.TOO_LARGE, "", value)
    ]
    with pytest.raises((OverflowError, UnicodeEncodeError)):
        msgspec.msgpack.encode(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.10", Decimal("0.1")),
        (0.1, Decimal("0.1")),
        (1 << 64, Decimal(18446744073709551616)),
        ("1" * 400, Decimal("1" * 400)),
        ("1" * 401, None),  # its first 400 digits are another number
        pytest.param(1 << 20_000, None, id="of more digits than Python writes"),
        ("1e400", None),
        (float("inf"), None),
        ("nan", None),
        (True, None),
        ("twelve", None),
    ],
)
def test_the_number_in_a_value(value: object, number: Decimal | None) -> None:
    assert number_in(value) == number


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[(1, True), (0, False), (1, 1.0), (0.0, -0.0), (None, False), ("1", 1), ([], {}), ([], ()), (Decimal(1), 1)],
        *[({"a": 1}, {"a": 1, "b": 1}), ({"a": 1}, {"b": 1}), ([1], [1, 1]), ([1, 2], [2, 1]), ((1,), (True,))],
        ({"a": [{"b": 1}], "c": 2}, {"a": [{"b": True}], "c": 2}),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)),
    ],
)
def test_what_is_written_in_another_way_is_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize("value", [1, True, 2.5, float("nan"), None, "ä", [1, [True]], {"a": [{"b": 1}]}, Decimal("1.0"), (1, 2)])
def test_what_is_written_alike_is_the_same(value: Any) -> None:
    assert same(value, copy.deepcopy(value))


def test_the_order_of_keys_makes_no_difference() -> None:
    assert same({"a": {"x": 1, "y": 2}, "b": 2}, {"b": 2, "a": {"y": 2, "x": 1}})


def test_what_is_nested_very_deep_is_compared() -> None:
    one: Any = 1
    other: Any = True
    for _ in range(100_000):
        one, other = [one], [other]
    assert not same(one, other)
