"""Options of workflows and tasks, and what Airflow stores of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from dag_factory.specs import TaskOptions
from tests.dag_factory.definitions import Rows, good_rows
from tests.dag_factory.stored_dag import build, stored

#: Column → a value, what Airflow calls it, and what it stores.
WORKFLOW_OPTIONS: dict[str, tuple[Any, str, Any]] = {
    "end_date": ("2027-01-01", "end_date", datetime(2026, 12, 31, 23, tzinfo=UTC)),
    "max_active_tasks": (3, "max_active_tasks", 3),
    "max_failed_batches": (2, "max_consecutive_failed_dag_runs", 2),
    "run_timeout_seconds": (3600, "dagrun_timeout", timedelta(hours=1)),
    "paused_at_first": (True, "is_paused_upon_creation", True),
    "display_name": ("Sales *of* the day", "dag_display_name", "Sales *of* the day"),
}
TASK_OPTIONS: dict[str, tuple[Any, str, Any]] = {
    "retries": (7, "retries", 7),
    "retry_delay_seconds": (90, "retry_delay", timedelta(seconds=90)),
    "retry_backoff": (2.5, "retry_exponential_backoff", 2.5),
    "max_retry_delay_seconds": (600, "max_retry_delay", timedelta(minutes=10)),
    "timeout_seconds": (60, "execution_timeout", timedelta(minutes=1)),
    "pool": ("night", "pool", "night"),
    "pool_slots": (2, "pool_slots", 2),
    "priority": (9, "priority_weight", 9),
    "weight_rule": ("absolute", "weight_rule", "absolute"),
    "queue": ("large", "queue", "large"),
    "executor": ("LocalExecutor", "executor", "LocalExecutor"),
    "depends_on_past": (True, "depends_on_past", True),
    "max_active_tis_per_dag": (4, "max_active_tis_per_dag", 4),
    "max_active_tis_per_dagrun": (5, "max_active_tis_per_dagrun", 5),
    "owner": ("finance", "owner", "finance"),
    "display_name": ("Orders!", "task_display_name", "Orders!"),
}


@pytest.mark.parametrize("column", WORKFLOW_OPTIONS)
def test_an_option_of_a_workflow_is_what_airflow_stores(rows: Rows, column: str) -> None:
    value, name, expected = WORKFLOW_OPTIONS[column]
    before = DagSerialization.from_dict(stored(build(rows)))
    rows.workflow("daily_sales")[column] = value
    after = DagSerialization.from_dict(stored(build(rows)))

    assert (getattr(before, name) != expected, getattr(after, name)) == (True, expected)


@pytest.mark.parametrize("column", TASK_OPTIONS)
def test_an_option_of_a_task_is_what_airflow_stores_and_wins_over_its_workflow(rows: Rows, column: str) -> None:
    value, name, expected = TASK_OPTIONS[column]

    def told() -> Any:
        found = getattr(DagSerialization.from_dict(stored(build(rows))).get_task("stg_orders"), name)
        return "absolute" if type(found).__name__ == "_AbsolutePriorityWeightStrategy" else found

    assert told() != expected
    rows.task("stg_orders")[column] = value
    assert told() == expected
    if column in TaskOptions.model_fields:
        rows.workflow("daily_sales")["default_args"] = {column: value}
        rows.workflow("daily_sales")["owner"] = None
        del rows.task("stg_orders")[column]
        assert told() == expected


def test_every_option_is_in_these_tables() -> None:
    assert set(TASK_OPTIONS) == {*TaskOptions.model_fields, "display_name"}


def test_options_win_by_nearness() -> None:
    stg = build(good_rows()).get_task("stg_orders")

    assert (stg.retries, stg.pool, stg.retry_delay, stg.execution_timeout) == (1, "sales", timedelta(seconds=60), None)
