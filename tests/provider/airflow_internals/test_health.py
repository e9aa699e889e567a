"""What Airflow says of its processes."""

from __future__ import annotations

import inspect

import pytest
from airflow.api_fastapi.core_api.routes.public import monitor
from airflow.jobs.dag_processor_job_runner import DagProcessorJobRunner
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.jobs.triggerer_job_runner import TriggererJobRunner

from provider.airflow_internals import health


def test_the_route_of_the_api_hands_on_what_is_read() -> None:
    assert "get_airflow_health()" in inspect.getsource(monitor.get_health)


def test_each_component_has_a_status_and_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    for runner in (SchedulerJobRunner, TriggererJobRunner, DagProcessorJobRunner):
        monkeypatch.setattr(runner, "most_recent_job", lambda: None)
    found = health.airflow_health()
    assert found["metadatabase"]["status"] == "healthy"
    assert {name: part for name, part in found.items() if name != "metadatabase"} == {
        "scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": None},
        "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
        "dag_processor": {"status": None, "latest_dag_processor_heartbeat": None},
    }


def test_a_database_that_is_away_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise RuntimeError

    monkeypatch.setattr(SchedulerJobRunner, "most_recent_job", away)
    assert health.airflow_health()["metadatabase"]["status"] == "unhealthy"
