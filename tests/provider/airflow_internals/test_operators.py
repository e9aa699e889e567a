"""What the copy of an operator stands on."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator

from provider.airflow_internals.operators import like

SHARED: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=60), "pool": "p", "trigger_rule": "none_failed"}


def hook(_context: Any) -> None:
    """Stand for a hook of an operator."""


@pytest.mark.parametrize("operator", [BaseOperator, EmptyOperator])
@pytest.mark.parametrize(
    "changed",
    [{}, {"doc_md": "*words*"}, {"pre_execute": hook}, {"task_display_name": "Two", "doc_md": "words", "pre_execute": hook}],
)
def test_a_copy_is_what_the_constructor_makes(operator: type[BaseOperator], changed: dict[str, Any]) -> None:
    others: dict[str, Any] = dict.fromkeys(changed) | ({"task_display_name": "One"} if "task_display_name" in changed else {})
    made = like(operator(**SHARED, **others, task_id="one"), {**changed, "task_id": "two"})

    assert vars(made) == vars(operator(**SHARED, **changed, task_id="two"))


def test_a_copy_shares_nothing_that_changes() -> None:
    one = BaseOperator(task_id="one", params={"a": 1}, executor_config={"b": 2}, outlets=[])
    before = copy.deepcopy(vars(one))
    two = like(one, {"task_id": "two"})
    DAG("d", schedule=None).add_task(two)
    two.upstream_task_ids.add("three")
    two.params["c"] = 3
    two.executor_config["b"] = 4  # type: ignore[index]  # it was given
    two.add_outlets(["asset"])
    two.on_failure_callback.append(hook)  # type: ignore[attr-defined]  # always a list
    two.retries = 9

    assert vars(one) == before
