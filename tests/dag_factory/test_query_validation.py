"""What is refused of a query, of its parameters, and of a check."""

from __future__ import annotations

from typing import Any

import pytest

from dag_factory.validation import validate
from tests.dag_factory.definitions import Rows

TASK = "tasks row dim_date: "
QUERY: dict[str, Any] = {"sql": "SELECT @day"}


def query_problems(rows: Rows, task_type: str = "bigquery_query", **config: Any) -> list[str]:
    rows.task("dim_date").update(task_type=task_type, config={**QUERY, **config})
    return [str(problem).removeprefix(TASK) for problem in validate(rows.definitions()).problems]


def parameter(**changes: Any) -> dict[str, Any]:
    return {"query_parameters": [{"name": "day", "type": "DATE", "value": "2026-01-31", **changes}]}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("STRING", ["", "{{ batch_id }}", None], [1, True]),
        ("BYTES", ["", "aGVsbG8="], ["hello!", 1]),
        ("BOOL", [True, False], ["true", 1]),
        ("INT64", [0, -(2**63), "12", "{{ params.n | default(1) }}"], [1.5, True, 2**63, "1.0", "x"]),
        ("FLOAT64", [1, 1.5, "1e9"], [True, "x"]),
        ("NUMERIC", [1, "12.345678901"], ["x", False]),
        ("BIGNUMERIC", ["1e38"], [""]),
        ("DATE", ["2026-01-31", "{{ batch_date }}"], ["2026-02-30", 20260131]),
        ("TIME", ["12:30:00"], ["25:00"]),
        ("DATETIME", ["2026-01-31T12:30:00"], ["yesterday"]),
        ("TIMESTAMP", ["2026-01-31T12:30:00+01:00"], ["yesterday"]),
    ],
)
def test_parameters_of_a_query_have_their_type(kind: str, good: list[Any], bad: list[Any], rows: Rows) -> None:
    for value in good:
        assert query_problems(rows, **parameter(type=kind, value=value)) == [], value
    for value in bad:
        (problem,) = query_problems(rows, **parameter(type=kind, value=value))
        assert problem.startswith(f"config.query_parameters[0]: is no {kind}: "), problem
    arrays = {"name": "day", "type": kind, "values": [value for value in good if value is not None]}
    assert query_problems(rows, query_parameters=[arrays]) == []
    (problem,) = query_problems(rows, query_parameters=[{**arrays, "values": [bad[0]]}])
    assert f"is no {kind}" in problem


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            {"sql": "SELECT '{{ batch_date }}'"},
            "config.sql: is no template, so that no value can become SQL; write @name and give the value in query_parameters",
        ),
        ({"sql": ""}, "config.sql: string should have at least 1 character"),
        (parameter(name="1st"), "config.query_parameters[0].name: must be letters, digits and _"),
        (parameter(type="STRUCT"), "config.query_parameters[0].type: must be one of 'STRING'"),
        (parameter(values=["2026-01-31"]), "config.query_parameters[0]: give exactly one of value, values"),
        (
            {"query_parameters": [{"name": "day", "type": "DATE"}]},
            "config.query_parameters[0]: give exactly one of value, values",
        ),
        (
            {"query_parameters": [{"name": "day", "type": "DATE", "values": [None]}]},
            "config.query_parameters[0]: values: an array of BigQuery has no null in it",
        ),
        (
            {"query_parameters": [*parameter()["query_parameters"], *parameter(name="DAY")["query_parameters"]]},
            "config: query_parameters: given twice: day",
        ),
        (parameter(value="{{ conn.secret.password }}"), "config.query_parameters[0].value: "),
        ({"write_disposition": "WRITE_APPEND"}, "config: write_disposition: needs destination_table"),
        ({"create_disposition": "CREATE_NEVER"}, "config: create_disposition: needs destination_table"),
        ({"destination_table": "orders"}, "config.destination_table: must look like project.dataset.table"),
        ({"maximum_bytes_billed": 0}, "config.maximum_bytes_billed: must be greater than 0"),
        ({"labels": {"a": 1}}, "config.labels.a: must be text, not 1"),
        ({"configuration": {}}, "config.configuration: unknown key"),
    ],
)
def test_a_query_that_cannot_run_is_refused(config: dict[str, Any], problem: str, rows: Rows) -> None:
    found = query_problems(rows, **config)

    assert [line for line in found if line.startswith(problem)], found


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"tolerance": 0.1}, "config: tolerance: needs a pass_value that is a number"),
        ({"tolerance": 0.1, "pass_value": "many"}, "config: tolerance: needs a pass_value that is a number"),
        ({"tolerance": 0.1, "pass_value": True}, "config: tolerance: needs a pass_value that is a number"),
        ({"tolerance": -0.1, "pass_value": 1}, "config.tolerance: must be greater than or equal to 0"),
        ({"pass_value": [1]}, "config.pass_value.int: must be a whole number, not a list"),
        ({"sql": "SELECT '{{ batch_date }}'"}, "config.sql: is no template"),
        ({"destination_table": "a.b"}, "config.destination_table: unknown key"),
        ({"query_parameters": [*parameter()["query_parameters"], *parameter(name="DAY")["query_parameters"]]}, "config: query_p"),
    ],
)
def test_a_check_that_cannot_pass_is_refused(config: dict[str, Any], problem: str, rows: Rows) -> None:
    found = query_problems(rows, task_type="bigquery_check", **config)

    assert [line for line in found if line.startswith(problem)], found


@pytest.mark.parametrize(
    "config", [{}, {"pass_value": 0}, {"pass_value": "7", "tolerance": 0.0}, {"pass_value": "{{ batch_date }}", "tolerance": 0.1}]
)
def test_a_check_that_can_pass_is_taken(config: dict[str, Any], rows: Rows) -> None:
    assert query_problems(rows, task_type="bigquery_check", **config) == []
