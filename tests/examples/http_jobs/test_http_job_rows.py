"""Rows of the example's task type."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from tests.examples.http_jobs.conftest import ROOT
from tests.examples.http_jobs.definitions import build, workflow
from tests.examples.http_jobs.service import HttpJobOperator


def test_a_dag_of_rows(installed: None) -> None:
    dag = build(workflow(wait_timeout=60.0))

    operator = dag.get_task("job")
    assert type(operator) is HttpJobOperator
    assert (operator.job_name, operator.arguments, operator.wait_timeout) == ("load", {"batch": "{{ run_id }}"}, 60.0)
    assert (operator.retries, operator.upstream_task_ids) == (2, {"start_batch"})
    (link,) = operator.operator_extra_links
    assert (link.name, link.xcom_key) == ("Remote job", "remote_job_url")
    assert "http_job" in list(task_types())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"job_name": None}, "config.job_name"),
        ({"job_nam": "x"}, "job_nam"),
        ({"arguments": ["a"]}, "config.arguments"),
        ({"arguments": {"a": "{{ params.nobody }}"}}, "nobody"),
        ({"poll_interval": 0}, "config.poll_interval"),
    ],
)
def test_wrong_rows_are_named(installed: None, config: dict[str, Any], said: str) -> None:
    (problem,) = validate(workflow(**config)).problems
    assert (problem.workflow_id, said in str(problem)) == ("sales", True), str(problem)


def test_rows_are_checked_without_airflow() -> None:
    program = (
        "import sys, tests.examples.http_jobs.task_type; print([name for name in sys.modules if name.startswith('airflow')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
