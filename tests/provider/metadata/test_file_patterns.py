"""Patterns of files: what they match, and that none of them, against no name, raises or goes on for ever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcmatch import glob

from provider.metadata.file_patterns import MAX_ALTERNATIVES, check_file_pattern, matches

LONGEST_NAME = 1024
LONGEST_PATTERN = 1000
PATH_GLOB = glob.GLOBSTAR | glob.BRACE | glob.CASE | glob.DOTGLOB | glob.FORCEUNIX


@pytest.mark.parametrize(
    ("pattern", "name", "matched"),
    [
        ("sales/*.csv", "sales/orders.csv", True),
        ("sales/*.csv", "sales/2024/orders.csv", False),
        ("sales/*.csv", "sales/orders.csv.gz", False),
        ("sales/*.csv", "sales/ORDERS.CSV", False),
        ("sales/*.csv", "sales//orders.csv", False),
        ("sales/*.csv", "sales/orders.csv/", False),
        ("sales/*", "sales/", False),
        ("sales/*", "sales/a\nb", True),
        ("sales/*", "sales/.hidden", True),
        ("sales/**", "sales", False),
        ("sales/**", "sales/2024/orders.csv", True),
        ("**/*.csv", "orders.csv", True),
        ("**/*.csv", "a/b/orders.csv", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c", True),
        ("a/**/**/c", "a/c/d", False),
        ("a**", "ab/c", False),
        ("?.csv", "a.csv", True),
        ("?.csv", "/.csv", False),
        ("[ab].{csv,json}", "b.json", True),
        ("[!ab].csv", "a.csv", False),
        ("{a/b,c}/*.csv", "a/b/x.csv", True),
        (r"\*.csv", "*.csv", True),
        (r"\*.csv", "a.csv", False),
        (r"\{a,b}", "{a,b}", True),
    ],
)
def test_what_a_pattern_matches(pattern: str, name: str, matched: bool) -> None:
    assert check_file_pattern(f"gs://landing/{pattern}")
    assert matches(f"gs://landing/{pattern}", "landing", name) is matched
    assert not matches(f"gs://landing/{pattern}", "other", name)


TOO_MANY = "gs://landing/" + "{a,b}" * 7
TOO_DEEP = "gs://landing/" + "{a," * (MAX_ALTERNATIVES + 1)


@pytest.mark.parametrize("pattern", [TOO_MANY, TOO_DEEP, "gs://landing/{1..1000000}"])
def test_braces_without_measure_are_refused_and_match_nothing(pattern: str) -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_ALTERNATIVES} patterns"):
        check_file_pattern(pattern)
    assert matches(pattern, "landing", "a" * 7) is False


SMALL = st.lists(
    st.sampled_from(["a", "b", "*", "?", "**", "/", "/**/", "{a,b}", "{a/b,*}", "[ab]", "[!a]", "[^b]", r"\*", "."]), max_size=8
).map("".join)
NAMES = st.lists(st.sampled_from(["a", "b", "/", "c", "*", ".csv"]), min_size=1, max_size=8).map("".join)


def has_empty_part(address: str) -> bool:
    return "//" in address or address.endswith("/")


@settings(max_examples=1000, derandomize=True)
@given(SMALL, NAMES)
def test_it_is_the_glob_of_paths_but_for_names_with_empty_parts(pattern: str, name: str) -> None:
    """A path has no empty parts, and ``a//b`` means ``a/b`` there; in Cloud Storage these are two objects."""
    if has_empty_part(f"landing/{name}") or has_empty_part(f"landing/{pattern}"):
        return
    expected = glob.globmatch(f"landing/{name}", f"landing/{pattern}", flags=PATH_GLOB)
    assert matches(f"gs://landing/{pattern}", "landing", name) is bool(expected)


PARTS = ["*", "**", "?*", "*a", "**/", "**/*/", "**/*a", "*{a,b}", "{a,", "[a", "[!a]*", "\\", "{*,**}/", "(a*)*", "a/"]
REPEATED = (
    st.sampled_from(PARTS)
    .flatmap(lambda part: st.integers(1, LONGEST_PATTERN // len(part)).map(lambda times: part * times))
    .flatmap(lambda text: st.sampled_from(["", "b", "/b"]).map(lambda end: text[: LONGEST_PATTERN - 2] + end))
)
LONG = st.sampled_from(["a", "a/", "/", "ab", "aa/", "{", "\n", "\U0001f600"]).map(
    lambda part: (part * LONGEST_NAME)[:LONGEST_NAME]
)


@pytest.mark.timeout(300)  # a watchdog: the wrong way to match takes hours
@settings(max_examples=300, derandomize=True)
@given(
    st.one_of(REPEATED, st.text(max_size=LONGEST_PATTERN), st.lists(REPEATED, max_size=3).map("".join)),
    st.one_of(LONG, st.text(max_size=50)),
)
def test_every_pattern_has_an_answer_for_every_name(pattern: str, name: str) -> None:
    for whole in (pattern, f"gs://landing/{pattern}"):
        assert matches(whole[:LONGEST_PATTERN], "landing", name) in (True, False)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ["**/*/" * 190 + "b", "*a" * 490 + "*b", "**/" * 300 + "b", "{*,**}/" * 6 + "b"])
def test_many_stars_have_an_answer(pattern: str) -> None:
    assert matches(f"gs://landing/{pattern}", "landing", "a/" * 512) is False
    assert matches(f"gs://landing/{pattern}", "landing", "a" * LONGEST_NAME) is False


@pytest.mark.parametrize(
    "pattern", ["", "*.csv", "landing/*.csv", "gs://", "gs://landing", "gs://landing/", "gs:///a", "s3://a/b"]
)
def test_what_can_match_no_object_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="gs://landing"):
        check_file_pattern(pattern)


@pytest.mark.parametrize("pattern", ["caf\u00e9", "cafe\u0301", "caf[\u00e9]", "caf?"])
@pytest.mark.parametrize("name", ["caf\u00e9", "cafe\u0301"])
def test_an_accented_letter_is_the_same_however_it_is_written(pattern: str, name: str) -> None:
    assert matches(f"gs://landing/{pattern}/*.csv", "landing", f"{name}/a.csv")
