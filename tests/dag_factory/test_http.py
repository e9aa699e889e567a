"""Rows of type ``http``: what only the checks of templates tell, and what their operator is given."""

from __future__ import annotations

from typing import Any

from dag_factory.validation import validate
from provider.operators.http import HttpRequestOperator
from tests.dag_factory.definitions import Rows
from tests.dag_factory.stored_dag import build

TASK = "archive_orders"


def asks(rows: Rows, **config: Any) -> Rows:
    rows.task(TASK).update(task_type="http", config={"endpoint": "orders", **config})
    return rows


def test_an_endpoint_is_no_template(rows: Rows) -> None:
    problems = validate(asks(rows, endpoint="orders/{{ params.country }}").definitions()).problems
    said = "is no template, so that no value can become another path; write {name} and give it in path_parameters"
    assert f"config.endpoint: {said}" in [problem.message for problem in problems]


def test_a_row_says_all_that_the_operator_takes(rows: Rows) -> None:
    made: Any = build(
        asks(
            rows,
            endpoint="{day}",
            path_parameters={"day": "{{ batch_date }}"},
            method="PUT",
            json={"none": None, "list": [None, 1]},
            expected_status=204,
            response_timeout=5.0,
            max_answer_bytes=10,
            keep_answer=True,
        )
    ).get_task(TASK)
    assert type(made) is HttpRequestOperator
    assert (made.endpoint, made.method, made.json) == ("{day}", "PUT", {"none": None, "list": [None, 1]})
    assert (made.expected_status, made.response_timeout, made.max_answer_bytes, made.keep_answer) == ([204], 5.0, 10, True)
    assert made.http_conn_id == "http_default"
