"""``accelerator graph`` shows the flow as it is built."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
