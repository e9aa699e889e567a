"""The first row of a query is asked for by the job that was meant, whatever job the answer names."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from provider.hooks.bigquery import BigQueryJobHook
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.wait_budget import WaitBudget

JOB = {"id": "demo:EU.job_1", "url": "", "project_id": "demo", "location": "EU", "job_id": "job_1"}


def answered(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[BigQueryJobHook, list[dict[str, Any]]]:
    """Return a hook whose client finds a job of two rows, and what is asked of that."""
    anonymous = {"conn_type": "google_cloud_platform", "extra": {"project": "demo", "is_anonymous": True}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(anonymous))
    asked: list[dict[str, Any]] = []

    def result(**how: Any) -> list[dict[str, Any]]:
        asked.append(how)
        return [{"day": "2026-11-28"}, {"day": "2026-11-29"}]

    found = SimpleNamespace(**{"project": "demo", "job_id": "job_1", "state": "DONE", "result": result, **changes})
    monkeypatch.setattr(BigQueryJobHook, "_client", lambda _hook, _place: SimpleNamespace(get_job=lambda _id, **_: found))
    return BigQueryJobHook(budget=WaitBudget(call=5.0)), asked


def test_one_row_is_asked_for_and_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, asked = answered(monkeypatch)
    assert hook.first_row(JOB) == {"day": "2026-11-28"}
    assert [how["max_results"] for how in asked] == [1]


@pytest.mark.parametrize("change", [{"project": "other"}, {"job_id": "job_2"}, {"job_id": None}, {"state": "RUNNING"}])
def test_another_job_is_not_asked(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    hook, asked = answered(monkeypatch, **change)
    with pytest.raises(RemoteCallError, match="job job_1 with another job, or an earlier state"):
        hook.first_row(JOB)
    assert asked == []
