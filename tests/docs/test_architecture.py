"""The map against the land: where the page sends a reader, there is what it promises."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
BEGINNINGS = re.findall(r"^\| [^|]+ \| `([\w/.]+\.py)` \(([^)]+)\)", PAGE.partition("## Where a change begins")[2], re.MULTILINE)


def test_there_is_a_beginning_for_what_people_want() -> None:
    assert len(BEGINNINGS) >= 20


@pytest.mark.parametrize(("file", "names"), BEGINNINGS, ids=lambda value: value[:40])
def test_a_change_begins_where_the_page_says(file: str, names: str) -> None:
    code = (ROOT / file).read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`([^`]+)`", names) if not re.search(rf"\b{name}\b", code)] == []


def test_the_houses_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.partition("## Houses")[2].partition("\n## ")[0], re.MULTILINE)
    houses = [[name.strip("/").removesuffix(".py").replace("/", ".") for name in re.findall(r"`([^`]+)`", row)] for row in rows]
    assert houses == [re.split(r" [:|] ", layer) for layer in layers]


def test_every_path_on_the_page_is_there() -> None:
    paths = re.findall(r"`((?:provider|dag_factory|tests|docs|dags|demo)/[\w/.]*)`", PAGE)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_table_of_the_application_database_is_on_the_page() -> None:
    from provider.metadata.tables import Base

    part = PAGE.partition("## Application database")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \| ", part, re.MULTILINE)) == set(Base.metadata.tables)
