"""Checks of data against a server that runs SQL."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.exceptions import ConfigurationError
from provider.operators.bigquery_check import BigQueryDataCheckOperator
from tests.provider.operators.bigquery_world import QUERY, World
from tests.provider.operators.killed_try import KillableTask


def check(world: World, sql: str, **arguments: Any) -> KillableTask:
    return world.task(BigQueryDataCheckOperator, sql=sql, **{**QUERY, **arguments})


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("SELECT TRUE AS a, 1 AS b, 'x' AS c, 0.5 AS d, DATE '2026-01-31' AS e, [1] AS f", {}),
    ("SELECT 1 AS n UNION ALL SELECT 0 ORDER BY n DESC", {}),
    ("SELECT 7 AS n, 7.0 AS f, NUMERIC '7.00' AS d, '7' AS t", {"pass_value": 7}),
    ("SELECT 7 AS n", {"pass_value": "7"}),
    ("SELECT 90 AS n, 110 AS m", {"pass_value": 100, "tolerance": 0.1}),
    ("SELECT -95 AS n", {"pass_value": -100, "tolerance": 0.1}),
    ("SELECT 0.3 AS n", {"pass_value": 0.3}),
    ("SELECT 'done' AS state", {"pass_value": "done"}),
    ("SELECT DATE '2026-01-31' AS day", {"pass_value": "2026-01-31"}),
    ("SELECT TRUE AS a", {"pass_value": True}),
    ("SELECT 0 AS a", {"pass_value": 0}),
    *((f"SELECT {flag} AS a", {"pass_value": text}) for flag in ("TRUE", "FALSE") for text in (flag, flag.lower(), flag.title())),
    *(("SELECT CAST(NULL AS STRING) AS a", {"pass_value": text}) for text in ("None", "NULL", "null")),
]


@pytest.mark.parametrize(("sql", "arguments"), GOOD, ids=[f"{sql} {arguments}" for sql, arguments in GOOD])
def test_what_is_as_it_should_be_passes(sql: str, arguments: dict[str, Any], world: World) -> None:
    task = check(world, sql, **arguments)
    result = task.run()

    (job,) = world.jobs(task)
    assert (result["job_id"], task.entry["outcome"]) == (job.job_id, "success")


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("SELECT 3 AS orders, 0 AS customers", {}, "customers is 0. The first row is: orders = 3, customers = 0."),
    ("SELECT FALSE AS ok", {}, "ok is false."),
    ("SELECT CAST(NULL AS INT64) AS n", {}, "n is NULL."),
    ("SELECT '' AS t", {}, "t is empty."),
    ("SELECT CAST('NaN' AS FLOAT64) AS share", {}, "share is nan."),
    ("SELECT 8 AS n, 7 AS m", {"pass_value": 7}, "n is 8, not 7. The first row is: n = 8, m = 7."),
    ("SELECT 111 AS n", {"pass_value": 100, "tolerance": 0.1}, "n is 111, not 100 (tolerance 0.1)."),
    ("SELECT CAST(NULL AS INT64) AS n", {"pass_value": 100, "tolerance": 0.1}, "n is NULL, not 100 (tolerance 0.1)."),
    ("SELECT CONCAT(REPEAT('x', 200), 'a') AS t", {"pass_value": "x" * 200 + "b"}, "t is xxx"),
    ("SELECT 1 AS a", {"pass_value": True}, "a is 1, not true."),
    ("SELECT FALSE AS a", {"pass_value": "True"}, "a is false, not True."),
    ("SELECT FALSE AS a", {"pass_value": "None"}, "a is false, not None."),
    ("SELECT CAST(NULL AS BOOL) AS a", {"pass_value": "False"}, "a is NULL, not False."),
    ("SELECT CAST(NULL AS STRING) AS a", {"pass_value": ""}, "a is NULL, not empty."),
    ("SELECT 'true' AS a", {"pass_value": "True"}, "a is true, not True."),
    ("SELECT 'NULL' AS a", {"pass_value": "None"}, "a is NULL, not None."),
]


@pytest.mark.parametrize(("sql", "arguments", "told"), BAD, ids=[f"{sql} {arguments}" for sql, arguments, _ in BAD])
def test_what_came_back_is_told(sql: str, arguments: dict[str, Any], told: str, world: World) -> None:
    task = check(world, sql, **arguments)
    with pytest.raises(AirflowFailException) as error:
        task.run()

    assert f" did not pass: {told}" in str(error.value)
    assert str(error.value).endswith(f"See {task.operator.remote_job['url']}")  # type: ignore[index]
    assert task.entry["outcome"] == "failed"


@pytest.mark.parametrize("sql", ["SELECT 1 AS n FROM UNNEST([1]) AS x WHERE x > 1", "CREATE TABLE $made (n INT64)"])
def test_no_row_is_no_pass(sql: str, world: World) -> None:
    with pytest.raises(AirflowFailException, match="returned no row; let the statement return the row"):
        check(world, sql.replace("$", f"{world.dataset}.")).run()


def test_a_check_waits_in_the_triggerer_and_looks_at_values(world: World) -> None:
    """The Google provider's trigger hands over texts, so that its operator takes a 0 for true."""
    parameters = [{"name": "n", "type": "INT64", "value": 0}]
    task = check(world, "SELECT @n AS n", query_parameters=parameters, deferrable=True, initial_wait=0.0)
    with world.front.busy():
        deferral = task.begin()
        assert isinstance(deferral, TaskDeferred)
    with pytest.raises(AirflowFailException, match="did not pass: n is 0"):
        task.resume(deferral, task.event(deferral))
    assert len(world.jobs(task)) == 1


def test_a_clear_asks_again(world: World) -> None:
    world.load().run()
    task = check(world, f"SELECT COUNT(*) > 3 AS enough FROM {world.dataset}.orders")
    with pytest.raises(AirflowFailException, match="enough is false"):
        task.run()
    world.load().run()
    task.clear()
    task.run()

    assert [job.job_id[-4:] for job in world.jobs(task)] == ["_3_1", "_4_1"]


def test_a_mistake_in_the_statement_is_the_jobs_own_error(world: World) -> None:
    with pytest.raises(AirflowFailException, match="failed: invalidQuery: .*nothere"):
        check(world, "SELECT nothere").run()


def test_killed_while_it_reads_the_row(world: World) -> None:
    task = check(world, "SELECT 1 AS n")
    with world.front.hold("GET", "*/queries/*") as answer, task.killed_try():
        answer.wait()
    task.run()

    assert len(world.jobs(task)) == 1


def test_a_tolerance_is_for_numbers_and_no_table_is_for_checks(world: World) -> None:
    with pytest.raises(AirflowFailException, match="tolerance needs a number as pass_value, not 'soon'"):
        check(world, "SELECT 1 AS n", pass_value="soon", tolerance=0.1).run()
    with pytest.raises(ConfigurationError, match="a check keeps no result; leave destination_table out"):
        BigQueryDataCheckOperator(task_id="job", sql="SELECT 1", destination_table="a.b")
