from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provider.links import DataformInvocationLink, PowerBILink

KEY = SimpleNamespace(dag_id="sales", task_id="job", run_id="batch-1", map_index=-1)


@pytest.mark.parametrize("link", [PowerBILink(), DataformInvocationLink()])
def test_link_is_the_xcom_that_the_operator_pushes(link, monkeypatch):
    from airflow.sdk.execution_time.xcom import XCom

    asked: list[Any] = []

    def value(*, ti_key: Any, key: str) -> str | None:
        asked.append((ti_key, key))
        return "https://example.com/job"

    monkeypatch.setattr(XCom, "get_value", value)
    operator = SimpleNamespace(remote_job=None)

    assert link.xcom_key == "remote_job_url"
    assert link.get_link(operator, ti_key=KEY) == "https://example.com/job"
    assert asked == [(KEY, "remote_job_url")]


@pytest.mark.parametrize("link", [PowerBILink(), DataformInvocationLink()])
def test_process_that_knows_the_job_asks_nobody(link):
    operator = SimpleNamespace(remote_job={"id": "1", "url": "https://example.com/1"})

    assert link.get_link(operator, ti_key=KEY) == "https://example.com/1"


def test_names_are_different_buttons():
    assert PowerBILink().name != DataformInvocationLink().name
