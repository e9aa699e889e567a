"""JSON, YAML and CSV have the same data, and none of them steers a terminal."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from provider.cli.output import write_data

EVIL = "\x1b[2J\u202e\u2028"
ROWS: list[dict[str, Any]] = [
    {"id": 1, "at": datetime(2026, 11, 30, 6, tzinfo=UTC), "params": {"a": [1, "b"]}, "error": None},
    {"id": -2, "at": None, "params": {}, "error": f"=cmd|'/c calc'!A0 {EVIL}, \"quoted\"\nsecond line", "more": True},
]


def written(capsys: pytest.CaptureFixture[str], output: str, data: Any = ROWS, **how: Any) -> str:
    write_data(data, output, **how)
    return capsys.readouterr().out


def test_yaml_has_what_json_has(capsys: pytest.CaptureFixture[str]) -> None:
    harmless = [row for row in ROWS if row["error"] is None]
    assert yaml.safe_load(written(capsys, "yaml", harmless)) == json.loads(written(capsys, "json", harmless))


def test_csv_has_a_column_for_each_key_and_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = csv.DictReader(io.StringIO(written(capsys, "csv")))
    assert first == {"id": "1", "at": "2026-11-30T06:00:00Z", "params": '{"a": [1, "b"]}', "error": "", "more": ""}
    assert (second["id"], second["more"]) == ("-2", "True")


def test_csv_has_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    _, second = csv.DictReader(io.StringIO(written(capsys, "csv")))
    assert second["error"].startswith("'=cmd|")


def test_csv_is_of_the_rows_where_the_data_are_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, "csv", {"batch": {}, "task_logs": ROWS}, rows=[{"task": "a"}]) == "task\na\n"


@pytest.mark.parametrize("output", ["json", "yaml", "csv"])
def test_nothing_steers_the_terminal(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = written(capsys, output)
    assert not set(EVIL) & set(text) - set("[2J")


@pytest.mark.parametrize("output", ["json", "yaml", "csv"])
def test_nothing_is_nothing(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert written(capsys, output, []) == {"json": "[]\n", "yaml": "[]\n", "csv": ""}[output]
