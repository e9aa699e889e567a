"""``accelerator graph`` shows the flow as it is built."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from provider.cli import graph_commands
from tests.dag_factory.definitions import Rows, good_rows, store

ORDER = ["load_orders", "archive_orders", "stg_orders", "refresh_daily_sales"]


@pytest.fixture
def stored(application_database: str) -> Rows:
    rows = good_rows()
    rows.task("archive_orders")["enabled"] = False
    store(rows)
    return rows


def test_a_table_in_the_order_of_the_flow(stored: Rows, accelerator: Any) -> None:
    result = accelerator("graph", "daily_sales")

    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert [line[0] for line in lines if line[0] in ORDER] == ORDER
    assert "gcs_archive (switched off)" in result.out
    assert lines[-1] == ["refresh_daily_sales", "power_bi_refresh", "archive_orders,", "stg_orders"]


def test_json_says_the_same(stored: Rows, accelerator: Any) -> None:
    found = json.loads(accelerator("graph", "daily_sales", "--format", "json").out)

    assert [task["task_id"] for task in found] == ORDER
    assert found[1] == {"task_id": "archive_orders", "task_type": "gcs_archive", "enabled": False, "parents": ["load_orders"]}
    assert found[3]["parents"] == ["archive_orders", "stg_orders"]


def test_mermaid_has_every_task_and_edge(stored: Rows, accelerator: Any) -> None:
    lines = accelerator("graph", "daily_sales", "--format", "mermaid").out.splitlines()

    assert lines[0] == "flowchart LR"
    assert lines[1:5] == [f'    t{number}["{task_id}"]' for number, task_id in enumerate(ORDER)]
    assert sorted(lines[5:9]) == ["    t0 --> t1", "    t0 --> t2", "    t1 --> t3", "    t2 --> t3"]
    assert lines[9:] == ["    classDef off stroke-dasharray: 4", "    class t1 off"]


def test_what_the_workflow_comes_after(stored: Rows, accelerator: Any) -> None:
    stored.workflow("daily_sales")["after"] = ["calendar", 'x://"y"']
    store(stored)
    assert accelerator("graph", "daily_sales").out.startswith('daily_sales starts after calendar, x://"y".\n')
    drawn = accelerator("graph", "daily_sales", "--format", "mermaid").out.splitlines()
    assert drawn[5:9] == ['    b0(["calendar"])', '    b1(["x://#quot;y#quot;"])', "    b0 -.-> t0", "    b1 -.-> t0"]


def test_of_a_file_without_a_database(workflows_file: Any, accelerator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://nobody@127.0.0.1:1/none")
    result = accelerator("graph", "daily_sales", "--file", workflows_file, "--format", "json")

    assert result.code == 0
    assert json.loads(result.out)


def test_a_workflow_that_is_not_there(stored: Rows, accelerator: Any) -> None:
    result = accelerator("graph", "daily_sale")

    assert result.code == 1
    assert "there is no workflow daily_sale in the tables" in result.err
    assert "daily_sales" in result.err


def test_a_workflow_that_cannot_be_built(stored: Rows, accelerator: Any) -> None:
    stored.depend("refresh_daily_sales", "load_orders")
    store(stored)
    result = accelerator("graph", "daily_sales")

    assert result.code == 1
    assert "dependencies form a cycle" in result.out
    assert result.err == "error: workflow daily_sales cannot be built.\n"


def test_dot_has_every_task_and_edge(stored: Rows, accelerator: Any) -> None:
    stored.workflow("daily_sales")["after"] = ["calendar", 'x://"y"\\n']
    store(stored)
    lines = [line.strip() for line in accelerator("graph", "daily_sales", "--format", "dot").out.splitlines()]

    assert lines[0] == "digraph daily_sales {"
    assert lines[3:7] == [
        "t0 [label=load_orders style=rounded]",
        "t1 [label=archive_orders style=dashed]",
        "t2 [label=stg_orders style=rounded]",
        "t3 [label=refresh_daily_sales style=rounded]",
    ]
    assert lines[7:9] == ["b0 [label=calendar shape=oval]", r'b1 [label="x://\"y\"\\n" shape=oval]']
    assert lines[9:11] == ["b0 -> t0 [style=dashed]", "b1 -> t0 [style=dashed]"]
    assert sorted(lines[11:-1]) == ["t0 -> t1", "t0 -> t2", "t1 -> t3", "t2 -> t3"]


@pytest.mark.skipif(shutil.which("dot") is None, reason="no Graphviz on this machine")
def test_svg_is_a_picture_of_every_task(stored: Rows, accelerator: Any) -> None:
    result = accelerator("graph", "daily_sales", "--format", "svg")

    assert (result.code, result.err) == (0, "")
    picture = ElementTree.fromstring(result.out)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")} == set(ORDER)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (None, "the program dot of Graphviz is not on the PATH; install it"),
        ("sleep 60", "dot has not drawn 4 tasks in 0 s. Or take --format dot"),
        ("echo 'Format: \"svg\" not recognized.' >&2; exit 1", 'dot cannot draw it: Format: "svg" not recognized. Or take'),
    ],
)
def test_without_a_picture(
    stored: Rows, accelerator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str | None, said: str
) -> None:
    if does is not None:
        program = tmp_path / "dot"
        program.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(graph_commands, "_PATIENCE", 0.3)
    result = accelerator("graph", "daily_sales", "--format", "svg")

    assert (result.code, result.out) == (1, "")
    assert said in result.err


def test_without_the_package_of_graphviz(stored: Rows, accelerator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "graphviz", None)
    result = accelerator("graph", "daily_sales", "--format", "dot")

    assert (result.code, result.out) == (1, "")
    assert 'run: pip install "airflow-provider-cloud-accelerator[graphviz]"' in result.err
