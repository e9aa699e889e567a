"""What came of the definitions, for tests that compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dag_factory.building import Built
from tests.dag_factory.definitions import Rows, store


def spoil(rows: Rows) -> None:
    """Make the workflow daily_sales a bad one."""
    rows.task("stg_orders")["retries"] = -1
    store(rows)


def ids(built: Built) -> list[str]:
    return sorted(built.dags)


def lines(built: Built) -> list[str]:
    return [str(problem) for problem in built.problems]


@contextmanager
def wanted(monkeypatch: pytest.MonkeyPatch, dag_id: str, task_id: str | None = None) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        if task_id is not None:
            patch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", task_id)
        yield
