"""Texts from outside, as people and databases get them."""

from __future__ import annotations

from enum import Enum

import pytest

from provider import texts


class Colour(Enum):
    RED = "red"


def test_one_line_has_no_line_breaks_and_a_limit():
    assert texts.one_line(" a\n\tb  c ", 5) == "a b c"
    assert texts.one_line(" a\n\tb  c ", 4) == "a b…"
    assert texts.one_line(ValueError("a\r\nb")) == "a b"


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("abc", "abd", ("abc", "abd")),
        ("x" * 12, "y" * 12, ("x" * 7 + "…", "y" * 7 + "…")),
        ("a" * 20 + "1" + "b" * 20, "a" * 20 + "2" + "b" * 20, ("…a1bbbb…", "…a2bbbb…")),
        ("a" * 20 + "1", "a" * 20 + "2", ("…aaaaaa1", "…aaaaaa2")),
        ("a" * 20, "a" * 21, ("…aaaaaa", "…aaaaaaa")),
        ("a" * 20, "a" * 40, ("…a", "…aaaaaa…")),
        ("", "a" * 20, ("", "aaaaaaa…")),
        ("aaaab", "a" * 20, ("…ab", "…aaaaaa…")),
    ],
)
def test_two_long_texts_are_cut_around_where_they_begin_to_differ(one, other, shown):
    assert texts.cut_around_difference(one, other, 8) == shown
    assert texts.cut_around_difference(other, one, 8) == shown[::-1]


def test_first_line_is_the_first_that_says_something():
    assert texts.first_line("\n  \n first \nsecond") == "first"
    assert texts.first_line("") == ""


def test_sentence_leaves_the_full_stop_to_the_message_around_it():
    assert texts.sentence("It is\nbroken.") == "It is broken"


def test_quoted_escapes_control_characters_and_tells_how_long_a_value_was():
    assert texts.quoted("\x1b[31m") == "'\\x1b[31m'"
    assert texts.quoted("x" * 100, 10) == "'xxxxxxxxx… (102 characters)"


def test_storable_has_neither_nul_nor_half_a_character():
    assert texts.storable("a\x00b\ud800", 10) == "ab?"
    assert texts.storable("abc", 2) == "ab"


def test_counted_has_one_of_one_thing_alone():
    assert [texts.counted(number, "rule") for number in (0, 1, 2)] == ["0 rules", "1 rule", "2 rules"]


def test_plain_takes_members_of_enumerations_and_texts():
    assert texts.plain(Colour.RED) == texts.plain("red") == "red"


def test_chunks_are_in_order_and_none_is_lost():
    assert list(texts.chunks({3, 1, 2}, 2)) == [[1, 2], [3]]
    assert list(texts.chunks([], 2)) == []
