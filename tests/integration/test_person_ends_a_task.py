"""
What becomes of a remote job when a person ends its task, or when a process of Airflow dies: each in a real Airflow on PostgreSQL.

Every job here would run for ten minutes. Nothing but a cancel ends it within a test.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import yaml
from sqlalchemy import create_engine, text

from demo.postgres import PostgresServer
from demo.world import World
from provider.emulators.ledger import Entry
from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario
from provider.reconciler.end_causes import DELETED_REASON

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

WORKSPACE = "11111111-1111-4111-8111-111111111111"
JOBS = ("in_worker", "deferred", "dataform", "orphaned", "unanswered", "cleared", "reassigned", "lost", "slow_cancel")
REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/long"
NOTICED = 30.0
"""Seconds for a wait; what is waited for takes a second or two, or never comes."""


def model_id(job: str) -> str:
    return f"22222222-2222-4222-8222-{JOBS.index(job):012d}"


def scenario() -> Scenario:
    models = [{"id": model_id(job), "name": job, "seconds": 600} for job in JOBS]
    models[JOBS.index("unanswered")] |= {"refresh_id_headers": [], "history_lag_seconds": 12}
    action = {"target": {"name": "slow"}, "seconds": 600}
    return Scenario.model_validate(
        {
            "dataform": {"repositories": {REPOSITORY: {"actions": [action]}}},
            "powerbi": {"workspaces": [{"id": WORKSPACE, "name": "Sales", "semantic_models": models}]},
            "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
        }
    )


def definitions() -> dict[str, Any]:
    def task(job: str) -> dict[str, Any]:
        config: dict[str, Any]
        shared = {"initial_wait": 6, "poll_interval": 2, "deferrable": job not in ("in_worker", "unanswered", "lost")}
        if job == "dataform":
            config = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "long", "git_commitish": "main"}
            return {"task_id": job, "task_type": "dataform", "config": {**config, **shared}}
        config = {"workspace": WORKSPACE, "semantic_model": model_id(job), "refresh": {"type": "full"}}
        return {"task_id": job, "task_type": "power_bi_refresh", "config": {**config, **shared}}

    workflows = [{"workflow_id": f"job_{job}", "default_args": {"retries": 0}, "tasks": [task(job)]} for job in JOBS]
    return {"workflows": workflows}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("person")
    file = folder / "workflows.yaml"
    file.write_text(yaml.safe_dump(definitions()))
    environment = {"AIRFLOW__CORE__PARALLELISM": "8", "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10"}
    with World(folder, definitions=file, scenario=scenario(), postgres=postgres_server, environment=environment) as world:
        world.wait_for_dags(f"job_{job}" for job in JOBS)
        yield world
    assert world.airflow.own_processes() == []


_numbers = itertools.count(1)


class Batch:
    """One run of a workflow with one job."""

    def __init__(self, world: World, job: str) -> None:
        self.world = world
        self.job = job
        self.dag_id = f"job_{job}"
        self.run_id = f"batch_{next(_numbers)}"
        self._earlier = {str(entry.resource) for entry in self._starts()}
        world.airflow.trigger(self.dag_id, self.run_id)

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def _starts(self) -> list[Entry]:
        ledger = self.world.emulators.ledger
        if self.job == "dataform":
            return ledger.entries(operation="create_workflow_invocation")
        return [entry for entry in ledger.entries(operation="refresh_posted") if entry.detail["datasetId"] == model_id(self.job)]

    @property
    def started(self) -> list[str]:
        """Ids of the remote jobs of this run."""
        return [str(entry.resource) for entry in self._starts() if entry.resource not in self._earlier]

    def ended(self, how: str) -> list[str]:
        """Ids of the jobs of this run that ended so, by the emulators' ledger."""
        entries = self.world.emulators.ledger.entries()
        return [e.resource for e in entries if e.operation.endswith(f"_{how}") and e.resource in self.started]

    def state(self) -> str | None:
        rows = self.world.airflow.task_instances(self.dag_id, self.run_id)
        state: str | None = next(row["state"] for row in rows if row["task_id"] == self.job)
        return state

    def wait_for_state(self, state: str) -> None:
        self.world.airflow.wait_for(
            lambda: self.state() == state, 120, f"{self.job} to be {state}", explain=lambda: str(self.state())
        )

    def wait_until_reconciled(self, job_id: str) -> None:
        """Wait until the reconciler has seen the job: the worker's hooks come too early to know it."""

        def seen() -> bool:
            (rows,) = self.world.rows("task_logs")
            return any(row["batch_id"] == self.run_id and row["remote_job_id"] == job_id for row in rows)

        self.world.airflow.wait_for(seen, 120, f"TaskLog to name the job of {self.job}")

    def wait_for_start(self, count: int = 1) -> str:
        self.world.airflow.wait_for(lambda: len(self.started) >= count, 120, f"start {count} of {self.job}")
        return self.started[count - 1]

    def mark(self, state: str) -> None:
        """Do what the buttons on the task's page do."""
        self.world.airflow.rest("PATCH", f"{self.path}/taskInstances/{self.job}", json={"new_state": state})

    def wait_for_cancel(self, job_id: str) -> None:
        self.world.airflow.wait_for(lambda: job_id in self.ended("cancelled"), NOTICED, f"the cancel of {self.job}")


@pytest.mark.parametrize(
    ("job", "state", "verdict"),
    [("in_worker", "running", "failed"), ("deferred", "deferred", "failed"), ("deferred", "deferred", "success"),
     ("dataform", "deferred", "failed")],
)  # fmt: skip
def test_marking_a_task_cancels_its_job(world: World, job: str, state: str, verdict: str) -> None:
    batch = Batch(world, job)
    job_id = batch.wait_for_start()
    batch.wait_for_state(state)
    batch.mark(verdict)
    batch.wait_for_cancel(job_id)
    assert batch.started == [job_id]


def test_marking_the_run_failed_cancels_its_job(world: World) -> None:
    batch = Batch(world, "deferred")
    job_id = batch.wait_for_start()
    batch.wait_for_state("deferred")
    world.airflow.rest("PATCH", batch.path, json={"state": "failed"})
    batch.wait_for_cancel(job_id)


def test_clear_while_deferred_cancels_the_old_job_and_starts_another(world: World) -> None:
    batch = Batch(world, "cleared")
    first = batch.wait_for_start()
    batch.wait_for_state("deferred")
    body = {"dry_run": False, "dag_run_id": batch.run_id, "task_ids": ["cleared"], "only_failed": False}
    world.airflow.rest("POST", "/dags/job_cleared/clearTaskInstances", json=body)
    second = batch.wait_for_start(2)
    assert batch.ended("cancelled") == [first]
    batch.mark("failed")
    batch.wait_for_cancel(second)
    assert batch.started == [first, second]


def test_kill_slower_than_one_second_and_an_error_on_the_way(world: World) -> None:
    """The triggerer gives ``on_kill`` one second; the cancel here takes three, and is refused once."""
    batch = Batch(world, "slow_cancel")
    job_id = batch.wait_for_start()
    batch.wait_for_state("deferred")
    path = f"DELETE *{model_id('slow_cancel')}*"
    world.emulators.rules.add(Rule(service="powerbi", match=path, fault="status", http_status=503))
    world.emulators.rules.add(Rule(service="powerbi", match=path, nth=2, fault="delay", seconds=3))
    batch.mark("failed")
    batch.wait_for_cancel(job_id)


def test_kill_while_a_start_is_unanswered(world: World) -> None:
    """Nobody knows the refresh yet when the task ends: only the recorded intent tells that there may be one."""
    batch = Batch(world, "unanswered")
    job_id = batch.wait_for_start()
    batch.mark("failed")
    batch.wait_for_cancel(job_id)


def test_a_lost_process_cancels_nothing_until_a_person_ends_the_task(world: World) -> None:
    batch = Batch(world, "lost")
    job_id = batch.wait_for_start()
    world.airflow.task_process(batch.dag_id, batch.run_id, "lost").kill()
    batch.wait_for_state("failed")

    # Whoever looks at this job has looked at the lost one before.
    fence = Batch(world, "in_worker")
    fence_id = fence.wait_for_start()
    fence.mark("failed")
    fence.wait_for_cancel(fence_id)
    assert (batch.started, batch.ended("cancelled")) == ([job_id], [])

    batch.mark("success")
    batch.wait_for_cancel(job_id)


def test_kill_while_no_triggerer_owns_the_trigger(world: World) -> None:
    marked, deleted = Batch(world, "orphaned"), Batch(world, "deferred")
    marked_id, deleted_id = marked.wait_for_start(), deleted.wait_for_start()
    marked.wait_for_state("deferred")
    deleted.wait_for_state("deferred")
    deleted.wait_until_reconciled(deleted_id)  # a deleted run leaves nothing in Airflow's database
    world.airflow.kill("triggerer", signal.SIGKILL, children=True)
    assert (marked.ended("cancelled"), deleted.ended("cancelled")) == ([], []), "the end of a triggerer is nobody's wish"

    marked.mark("failed")
    world.airflow.rest("PATCH", deleted.path, json={"state": "failed"})
    world.airflow.rest("DELETE", deleted.path)
    marked.wait_for_cancel(marked_id)
    deleted.wait_for_cancel(deleted_id)
    world.airflow.start_component("triggerer")


def triggers_are_free(world: World) -> bool:
    """Tell whether nobody holds a lock on a row of the triggers."""
    with create_engine(world.airflow_url).begin() as connection:
        free = connection.scalars(text("SELECT id FROM trigger FOR UPDATE SKIP LOCKED")).all()
        return set(free) == set(connection.scalars(text("SELECT id FROM trigger")))


def test_reassignment_between_triggerers_cancels_nothing(world: World) -> None:
    """apache/airflow#73454: the triggerer that lost the trigger calls ``on_kill`` when it wakes up."""
    batch = Batch(world, "reassigned")
    job_id = batch.wait_for_start()
    batch.wait_for_state("deferred")

    def owner() -> int | None:
        job = world.airflow.rest("GET", f"{batch.path}/taskInstances/reassigned")["triggerer_job"]
        return None if job is None else int(job["id"])

    first_owner = world.airflow.wait_for(owner, 60, "a triggerer to own the trigger")
    first = world.airflow.process("triggerer")
    asleep = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]

    def wake_up() -> None:
        for process in asleep:
            process.resume()

    def put_to_sleep() -> bool:
        """Each second it locks the triggers; nobody could take them from it if it fell asleep then."""
        for process in asleep:
            process.suspend()
        if triggers_are_free(world):
            return True
        wake_up()
        return False

    try:
        world.airflow.wait_for(put_to_sleep, 60, "a triggerer without locks")
        second = world.airflow.start_component("triggerer")
        world.airflow.wait_for(lambda: owner() not in (None, first_owner), 120, "another triggerer to own it")
    finally:
        wake_up()

    def told(what: str) -> bool:
        return any(what in file.read_text() for file in (world.home / "logs").rglob(f"run_id={batch.run_id}/**/*.trigger.*"))

    def asked() -> bool:
        """In the trigger's log, or in the triggerer's own once that one is closed."""
        said = f"Job {job_id} keeps running: its task is in state deferred"
        return told(said) or said in world.airflow.log("triggerer")

    world.airflow.wait_for(lambda: told("invoking on_kill"), 120, "the first triggerer to take the loss for a person's wish")
    world.airflow.wait_for(asked, 60, "its trigger to ask for the state")
    assert (batch.state(), batch.started, batch.ended("cancelled")) == ("deferred", [job_id], [])
    batch.mark("failed")
    batch.wait_for_cancel(job_id)
    assert second.poll() is None
    first.terminate()
    first.wait(60)


def test_at_last_task_log_says_what_airflow_says(world: World) -> None:
    """Of a run that was deleted in Airflow our rows are all there is."""

    def equal() -> bool:
        batches, logs = world.rows("task_batches", "task_logs")
        deleted = {row["batch_id"] for row in batches if str(row["error"]).startswith(DELETED_REASON)}
        join = world.join()
        ours_alone = sum(1 for row in logs if row["batch_id"] in deleted)
        return (join.missing_in_task_logs, join.missing_in_airflow, join.other_status) == (0, ours_alone, 0)

    world.airflow.wait_for(equal, 60, "equality", explain=lambda: str(world.join()))
    assert world.join().rows > 0
