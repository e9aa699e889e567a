"""Which files start a workflow."""

from __future__ import annotations

import pytest

from provider.metadata.file_patterns import check_file_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("gs://landing/sales/*.csv", "sales/a.csv", True),
        ("gs://landing/sales/*.csv", "sales/.csv", True),
        ("gs://landing/sales/*.csv", "sales/2024/a.csv", False),
        ("gs://landing/sales/*.csv", "sales/a.CSV", False),
        ("gs://landing/sales/*.csv", "archive/sales/a.csv", False),
        ("gs://landing/sales/**/*.csv", "sales/a.csv", True),
        ("gs://landing/sales/**/*.csv", "sales/2024/03/a.csv", True),
        ("gs://landing/**", "anything/at all", True),
        ("gs://landing/*/orders_[0-9]*.{csv,json}", "eu/orders_7.json", True),
        ("gs://landing/*/orders_[0-9]*.{csv,json}", "eu/orders_x.json", False),
        ("gs://land*/a.csv", "a.csv", True),
        ("gs://other/a.csv", "a.csv", False),
        ("gs://landing/a b?.csv", "a bä.csv", True),
        ("gs://landing/sales/orders.csv", "sales/orders.csv", True),
        ("gs://landing/!a.csv", "b.csv", False),
        ("gs://landing/a|b", "a", False),
        ("gs://landing/~", "~", True),
        (r"gs://landing/\*.csv", "*.csv", True),
        (r"gs://landing/\*.csv", "a.csv", False),
    ],
)
def test_a_pattern_matches_an_address(pattern: str, name: str, expected: bool) -> None:
    assert check_file_pattern(pattern) == pattern
    assert matches(pattern, "landing", name) is expected


@pytest.mark.parametrize(
    "pattern", ["", "*.csv", "landing/*.csv", "gs://", "gs://landing", "gs://landing/", "gs:///a", "s3://a/b"]
)
def test_what_can_match_no_object_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="gs://landing"):
        check_file_pattern(pattern)
