"""Rows that name a pool which Airflow does not have are told by table, key and column, and stored all the same."""

from __future__ import annotations

import json
from typing import NoReturn

import pytest

from dag_factory import pools
from tests.provider.cli.workflow_files import stored_rows, task_of, workflow_of

LINES = [
    "warning: tasks row b: pool: Airflow has no pool 'other', so what uses it is never started; pools are: default_pool, sales; "
    "create it with `airflow pools set`, or correct the row.",
    "warning: workflows row one: default_args.pool: Airflow has no pool 'sale', so what uses it is never started; did you mean "
    "sales? pools are: default_pool, sales; create it with `airflow pools set`, or correct the row.",
]


@pytest.fixture
def file(write):
    tasks = [task_of("a"), task_of("b", pool="other"), task_of("c", pool="sales"), task_of("d", pool="default_pool")]
    return write(workflow_of("one", *tasks, default_args={"pool": "sale"}))


@pytest.fixture
def two_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "known_pools", lambda: frozenset({"sales", "default_pool"}))


@pytest.mark.usefixtures("two_pools")
def test_every_command_that_checks_rows_warns(accelerator, application_database: str, file) -> None:
    for arguments in (("validate", file), ("import", "--dry-run", file), ("import", file), ("validate",)):
        result = accelerator(*arguments)
        assert (result.code, result.err.splitlines()) == (0, LINES), arguments
    assert len(stored_rows().tasks) == 4
    told = json.loads(accelerator("validate", "--output", "json").out)
    assert [warning["row"] for warning in told["warnings"]] == ["tasks row b", "workflows row one"]
    assert told["problems"] == []


def test_where_pools_cannot_be_seen_nothing_is_said(
    accelerator, embedded_database: str, file, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "known_pools", lambda: None)
    assert accelerator("import", file).err == ""


def test_rows_without_pools_cost_no_look(accelerator, embedded_database: str, write, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> NoReturn:
        raise AssertionError("a look at Airflow's database")

    monkeypatch.setattr(pools, "known_pools", look)
    assert accelerator("import", write(workflow_of("one", task_of("a"), task_of("d", pool="default_pool")))).code == 0
