from __future__ import annotations

import re
from typing import Any

import pytest
from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from google.api_core.exceptions import Conflict, NotFound

from provider.operators.bigquery import BigQueryLoadOperator
from tests.provider.operators.conftest import FakeTaskInstance, Store


class Job:
    """A load job, with what the provider's operator asks of it."""

    project = "demo-project"
    location = "europe-west3"

    def __init__(self, service: Service, job_id: str, configuration: dict[str, Any]) -> None:
        self.service, self.job_id, self.configuration = service, job_id, configuration
        self.state, self.error_result = "RUNNING", None

    def to_api_repr(self) -> dict[str, Any]:
        return {"configuration": self.configuration}

    def result(self, **_: Any) -> Job:
        outcome = self.service.outcomes.pop(0)
        if outcome == "worker dies":
            raise KeyboardInterrupt
        if self.state != "DONE":
            self.state = "DONE"
            if outcome == "fails":
                self.error_result = {"reason": "invalid", "message": "bad row"}
            else:
                self.service.loads += 1
        return self


class Service:
    """BigQuery's rule for jobs: an id names one job for good."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.outcomes: list[str] = []
        self.loads = 0

    def insert_job(self, *, configuration: dict[str, Any], job_id: str, **_: Any) -> Job:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", job_id)
        if job_id in self.jobs:
            raise Conflict(f"Already Exists: Job {job_id}")
        self.jobs[job_id] = Job(self, job_id, configuration)
        return self.jobs[job_id]

    def get_job(self, *, job_id: str, **_: Any) -> Job:
        if job_id not in self.jobs:
            raise NotFound(job_id)
        return self.jobs[job_id]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "google-cloud-platform://?extra__google_cloud_platform__project=p")
    monkeypatch.setattr(BigQueryHook, "insert_job", lambda self, **arguments: service.insert_job(**arguments))
    monkeypatch.setattr(BigQueryHook, "get_job", lambda self, **arguments: service.get_job(**arguments))
    monkeypatch.setattr(BigQueryHook, "project_id", "demo-project")
    return service


class Task:
    """One task instance; each try has an operator of its own, as each has a process of its own."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments, self.store = arguments, Store()
        self.ti = FakeTaskInstance(try_number=0, max_tries=2, dag_id="da.ily", task_id="lo.ad", run_id="Batch+1")

    def attempt(self) -> BigQueryLoadOperator:
        self.ti.try_number += 1
        self.operator = BigQueryLoadOperator(
            task_id="load",
            bucket="landing",
            source_objects=["a.sql"],
            destination_project_dataset_table="raw.orders",
            **self.arguments,
        )
        context: Any = {"ti": self.ti, "task_instance": self.ti, "task": self.operator, "task_state_store": self.store}
        self.operator.execute(context)
        return self.operator


def test_a_load_is_recorded_before_it_ends(service: Service) -> None:
    service.outcomes = ["worker dies"]
    task = Task()
    with pytest.raises(KeyboardInterrupt):
        task.attempt()

    (job_id,) = service.jobs
    assert task.operator.external_job == {
        "id": f"demo-project:europe-west3.{job_id}",
        "url": f"https://console.cloud.google.com/bigquery?project=demo-project&j=bq:europe-west3:{job_id}&page=queryresults",
    }
    assert task.store.get("external_job")["tries"] == {"1": task.operator.external_job}


def test_a_retry_attaches_to_the_job_that_runs(service: Service) -> None:
    service.outcomes = ["worker dies", "succeeds"]
    task = Task()
    with pytest.raises(KeyboardInterrupt):
        task.attempt()
    task.attempt()

    assert (len(service.jobs), service.loads) == (1, 1)
    assert task.store.get("external_job")["outcome"] == "success"


def test_a_retry_takes_the_result_of_the_job_that_succeeded_meanwhile(service: Service) -> None:
    service.outcomes = ["worker dies", "succeeds", "succeeds"]
    task = Task()
    with pytest.raises(KeyboardInterrupt):
        task.attempt()
    next(iter(service.jobs.values())).result()
    task.attempt()

    assert (len(service.jobs), service.loads) == (1, 1)


def test_a_retry_starts_another_job_after_one_that_failed(service: Service) -> None:
    service.outcomes = ["fails", "fails", "succeeds"]
    task = Task()
    for _ in range(2):
        with pytest.raises(AirflowException, match="bad row"):
            task.attempt()
    task.attempt()

    assert [job_id[-4:] for job_id in service.jobs] == ["_2_1", "_2_2", "_2_3"]
    assert service.loads == 1


def test_a_clear_loads_again(service: Service) -> None:
    service.outcomes = ["succeeds", "succeeds"]
    task = Task()
    task.attempt()
    task.ti.max_tries = 3
    task.attempt()

    assert (len(service.jobs), service.loads) == (2, 2)


def test_other_runs_and_tasks_have_other_jobs(service: Service) -> None:
    service.outcomes = ["succeeds"] * 4
    for changes in ({}, {"run_id": "Batch-1"}, {"task_id": "lo_ad"}, {"map_index": 1}):
        task = Task()
        vars(task.ti).update(changes)
        task.attempt()

    assert service.loads == 4


def test_waiting_in_the_triggerer_is_for_the_same_job(service: Service) -> None:
    task = Task(deferrable=True)
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferral:
            task.attempt()
        assert deferral.value.trigger.job_id == next(iter(service.jobs))
    context: Any = {"ti": task.ti, "task_state_store": task.store}
    task.operator.execute_complete(context, {"status": "success", "message": "done", "job_id": "x"})

    assert (len(service.jobs), task.store.get("external_job")["outcome"]) == (1, "success")
