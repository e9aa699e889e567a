"""What a row of type ``human_approval`` says reaches Airflow's operator."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dag_factory.task_types.human_approval import TASK_TYPE
from tests.dag_factory.definitions import Rows
from tests.dag_factory.stored_dag import build


def asked(rows: Rows, **config: Any) -> Any:
    task = rows.task("archive_orders")
    task.update(task_type="human_approval", config={"subject": "Go on?", **config})
    task.pop("timeout_seconds", None)
    return build(rows).get_task("archive_orders")


def test_the_question_and_its_end(rows: Rows) -> None:
    plain = asked(rows)
    assert (plain.subject, plain.body, plain.response_timeout, plain.defaults) == ("Go on?", None, None, None)
    assert (plain.fail_on_reject, plain.assigned_users) == (False, None)
    ann = {"id": "7", "name": "Ann"}
    full = asked(rows, body="*{{ batch_id }}*", response_timeout=90.0, on_timeout="reject", on_reject="fail", approvers=[ann])
    assert (full.body, full.response_timeout, full.defaults) == ("*{{ run_id }}*", timedelta(seconds=90), ["Reject"])
    assert (full.fail_on_reject, full.assigned_users) == (True, [ann])
    assert asked(rows, on_timeout="approve").defaults == ["Approve"]


def test_nobody_is_asked_twice(rows: Rows) -> None:
    rows.task("archive_orders").pop("retries", None)
    rows.workflow("daily_sales").pop("default_args", None)
    assert asked(rows).retries == 0


@pytest.mark.parametrize(
    "config", [{}, {"subject": ""}, {"subject": "?", "approvers": []}, {"subject": "?", "approvers": [{"id": "7"}]}]
)
def test_half_a_question_is_none(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TASK_TYPE.config_model.model_validate(config)


def test_what_is_behind_it_is_watched_in_its_place(rows: Rows) -> None:
    """It skips what follows it, and would skip the watcher too."""
    asked(rows)
    dag = build(rows)
    assert "archive_orders" not in dag.get_task("batch_watcher").upstream_task_ids
