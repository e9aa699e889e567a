"""The example of a remote service: what a new one gets from the base classes, with no code of it outside its own modules."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from demo.airflow_services import AirflowServices
from demo.world import World
from provider.airflow_internals.dags import serialized
from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.remote_service import open_service, service_class
from provider.hooks.wait_budget import WaitBudget
from provider.metadata import engine
from provider.metadata.rows import DefinitionRows
from provider.operators.job_ledger import LEDGER_KEY
from provider.reconciler.orphaned_jobs import OrphanedJobs
from tests.examples.http_jobs.conftest import ARGUMENTS, ROOT, install
from tests.examples.http_jobs.definitions import build, workflow
from tests.examples.http_jobs.emulator import HttpJobs
from tests.examples.http_jobs.service import HttpJobOperator, HttpJobsHook
from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.killed_try import KillableTask
from tests.test_public_api import PUBLIC
from tests.waiting import wait_for

Make = Callable[..., TaskLife]


FOLDER = Path(__file__).parent


MODULES = (FOLDER / "service.py", FOLDER / "task_type.py")


CONNECTION = {"http_jobs_conn_id": "http_jobs_default"}


def hook(**budget: Any) -> HttpJobsHook:
    opened = open_service("http_jobs", CONNECTION, WaitBudget(**budget))
    assert isinstance(opened, HttpJobsHook)
    return opened


# The example itself.


def test_a_service_and_its_task_type_are_150_lines() -> None:
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES) <= 150


def test_nothing_else_knows_of_it() -> None:
    files = [path for folder in ("provider", "dag_factory", "dags") for path in (ROOT / folder).rglob("*.*")]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".json", ".toml", ".mako")]
    assert len(texts) > 100
    assert [text for text in texts if "http_job" in text.casefold() or "httpjob" in text.casefold()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_needs_nothing_that_is_not_public(path: Path) -> None:
    used = {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("provider", "dag_factory"))
        for alias in node.names
    }
    assert used
    assert [(module, name) for module, name in sorted(used) if name not in PUBLIC.get(str(module), ())] == []


def test_each_step_is_told_where_it_is_taken() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in MODULES)
    steps = [line for line in text.splitlines() if line[:2] in {f"{number}." for number in range(10)}]
    assert len(steps) == 6
    assert [number for number in range(1, 6) if f"Step {number}" not in text] == []


def test_a_service_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigurationError, match="No remote service is called 'http_jobs' here"):
        service_class("http_jobs")


# The life of a task.


def test_start_wait_in_the_triggerer_and_result(jobs: HttpJobs, task: Make) -> None:
    life = task(arguments={"day": "2026-03-16"})

    deferral = life.begin()

    assert isinstance(deferral, TaskDeferred)
    assert life.entry["job"] == {"id": "job-1", "url": f"{jobs.url}/jobs/job-1"}
    assert life.entry["service"] == {"name": "http_jobs", "conn_id": "http_jobs_default"}
    assert life.ti.xcoms == {"remote_job_id": "job-1", "remote_job_url": f"{jobs.url}/jobs/job-1"}
    assert (jobs.jobs["job-1"].name, jobs.jobs["job-1"].arguments) == ("load", {"day": "2026-03-16"})
    event = life.event(deferral)
    assert event == {"status": "ended", "job_id": "job-1", "detail": "succeeded"}
    assert life.resume(deferral, event) == {"id": "job-1", "rows": 42}
    assert life.entry["outcome"] == "success"
    assert (jobs.happened("start"), jobs.happened("cancel")) == (["job-1"], [])


def test_a_failed_job_says_why_and_a_retry_starts_another(jobs: HttpJobs, task: Make) -> None:
    jobs.looks = None
    life = task()
    deferral = life.begin()
    jobs.end("job-1", "failed", error="no such\nday.")

    with pytest.raises(RemoteJobError, match=r"^HTTP job job-1 failed: no such day\. See http://127.*/jobs/job-1$"):
        life.resume(deferral, life.event(deferral))
    jobs.looks = 1
    assert life.run() == {"id": "job-2", "rows": 42}


def test_a_state_that_is_new_to_us_ends_no_wait(jobs: HttpJobs, task: Make) -> None:
    jobs.looks = None
    life = task()
    deferral = life.begin()
    jobs.end("job-1", "paused_by_the_moon")
    assert hook().status(life.entry["job"]).state == "running"

    jobs.end("job-1", rows=7)
    assert life.resume(deferral, life.event(deferral)) == {"id": "job-1", "rows": 7}


# Answers that are lost.


@pytest.mark.parametrize("fault", ["lose", "trickle"])
def test_a_start_without_an_answer_is_found_and_not_repeated(jobs: HttpJobs, task: Make, fault: Any) -> None:
    jobs.fail("start", fault)
    assert task(http_timeout=0.5).run() == {"id": "job-1", "rows": 42}
    assert (jobs.happened("start"), jobs.happened("find")) == (["job-1"], ["job-1"])


@pytest.mark.parametrize("fault", ["drop", 503])
def test_a_start_that_was_not_carried_out_is_repeated_after_the_look_up(jobs: HttpJobs, task: Make, fault: Any) -> None:
    jobs.fail("start", fault)
    assert task().run() == {"id": "job-1", "rows": 42}
    assert (jobs.happened("start"), jobs.happened("find")) == (["job-1"], [])


def test_a_throttled_start_is_repeated(jobs: HttpJobs, task: Make) -> None:
    jobs.fail("start", 429)
    assert task().run() == {"id": "job-1", "rows": 42}


def test_a_refused_start_is_not_repeated(jobs: HttpJobs, task: Make) -> None:
    jobs.fail("start", 403)
    with pytest.raises(AirflowFailException, match="http_jobs POST /jobs answered 403: .*not now"):
        task().run()
    assert jobs.happened("start") == []


def test_polls_that_fail_end_no_wait(jobs: HttpJobs, task: Make) -> None:
    life = task(http_timeout=0.5)
    deferral = life.begin()
    jobs.fail("status", 503, "drop", "trickle", 429, 500)
    assert life.resume(deferral, life.event(deferral)) == {"id": "job-1", "rows": 42}
    assert (jobs.happened("start"), jobs.happened("cancel")) == (["job-1"], [])


def test_a_call_has_one_time_for_the_whole_of_it(jobs: HttpJobs) -> None:
    """A byte now and then begins the timeouts of a client anew."""
    job = hook().start({"name": "load", "arguments": None}, {"key": "0" * 32})
    jobs.fail("status", "trickle")
    with pytest.raises(RemoteCallError, match=r"no whole answer within 0\.3 s"):
        hook(call=0.3).status(job)


def test_an_answer_is_read_up_to_its_bound(jobs: HttpJobs) -> None:
    job = hook().start({"name": "load", "arguments": None}, {"key": "0" * 32})
    jobs.fail("status", "long")
    with pytest.raises(RemoteCallError, match="more than 100000 bytes") as error:
        hook(body=100_000).status(job)
    assert not error.value.retryable


def test_an_address_that_is_none_is_no_reason_to_try_again(jobs: HttpJobs, task: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("jobs.example", "http://jobs:eighty", ""):
        monkeypatch.setenv("AIRFLOW_CONN_HTTP_JOBS_DEFAULT", json.dumps({"conn_type": "http", "host": host}))
        with pytest.raises(AirflowFailException, match="http_jobs POST"):
            task().run()


# A place that is taken.


def test_a_job_in_the_way_is_waited_for(jobs: HttpJobs, task: Make) -> None:
    hook().start({"name": "load", "arguments": "of somebody else"}, {"key": "0" * 32})
    life = task()
    assert life.run() == {"id": "job-2", "rows": 42}
    assert (jobs.happened("start"), jobs.happened("busy")[0]) == (["job-1", "job-2"], "job-1")
    assert jobs.happened("cancel") == []


# Processes that die.


def killable(tmp_path: Path, **changes: Any) -> KillableTask:
    return KillableTask(HttpJobOperator, {**ARGUMENTS, "deferrable": False, **changes}, tmp_path, run_id="killed")


@pytest.mark.slow
def test_a_retry_after_a_killed_worker_reattaches(jobs: HttpJobs, tmp_path: Path) -> None:
    jobs.looks = None
    life = killable(tmp_path)
    with life.killed_try():
        jobs.wait_for("status")  # of a wait that begins when the job is recorded
    assert life.entry["job"]["id"] == "job-1"
    jobs.end("job-1", rows=3)

    assert life.run() == {"id": "job-1", "rows": 3}
    assert (jobs.happened("start"), jobs.happened("cancel")) == (["job-1"], [])
    assert list(life.entry["tries"]) == ["1", "2"]


@pytest.mark.slow
def test_a_worker_that_was_killed_before_it_knew_its_job_finds_it(jobs: HttpJobs, tmp_path: Path) -> None:
    jobs.fail("start", "trickle")
    life = killable(tmp_path, http_timeout=600.0)
    with life.killed_try():
        jobs.wait_for("start")
    assert (life.entry["job"], list(life.entry["intent"])) == (None, ["key"])

    assert life.run() == {"id": "job-1", "rows": 42}
    assert jobs.happened("start") == ["job-1"]


def test_a_lost_deferral_reattaches(jobs: HttpJobs, task: Make) -> None:
    life = task()
    life.begin()
    assert life.run() == {"id": "job-1", "rows": 42}
    assert jobs.happened("start") == ["job-1"]


def test_a_cleared_task_ends_its_job_before_it_starts_another(jobs: HttpJobs, task: Make) -> None:
    jobs.looks = None
    life = task()
    life.begin()
    life.clear()
    jobs.looks = 1
    assert life.run() == {"id": "job-2", "rows": 42}
    assert jobs.happened("cancel") == ["job-1"]


# A person who ends the task.


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_a_person_ends_the_task_and_the_job(jobs: HttpJobs, task: Make, where: str) -> None:
    jobs.looks = None
    jobs.fail("cancel", *([503] if where == "triggerer" else []))
    life = task()
    trigger = life.trigger(life.begin())

    life.end_by_a_person(trigger, where)

    assert jobs.happened("cancel") == ["job-1"]
    assert jobs.jobs["job-1"].state == "cancelled"


@pytest.mark.parametrize("known", [True, False], ids=["job recorded", "start unanswered"])
def test_the_reconciler_ends_the_job_of_a_task_whose_processes_are_gone(
    jobs: HttpJobs, task: Make, airflow_database: Any, known: bool
) -> None:
    """It knows the service by the name in the ledger, and the connection by the DAG in Airflow's database."""
    from airflow.models.task_state_store import TaskStateStoreModel

    jobs.looks = None
    life = task()
    life.begin()
    entry = life.entry if known else {**life.entry, "job": None, "intent": {"key": jobs.jobs["job-1"].key}}
    ended = datetime.now(UTC) - timedelta(minutes=5)
    airflow_database.run("batch-1")
    airflow_database.task("job", "failed", run_id="batch-1", updated_at=ended)
    key = {"dag_id": "sales", "run_id": "batch-1", "task_id": "job", "map_index": -1, "dag_run_id": 1}
    airflow_database.insert(TaskStateStoreModel, **key, key=LEDGER_KEY, value=json.dumps(entry), updated_at=ended)
    store_dag(airflow_database, workflow())
    orphaned = OrphanedJobs()

    def passed() -> bool:
        from provider.reconciler.airflow_state import read_airflow

        with read_airflow() as airflow:
            orphaned.look(airflow.load_runs([("sales", "batch-1")]).values())
        orphaned.cancel_due()
        return bool(jobs.happened("cancel"))

    assert wait_for(passed, 30)
    assert jobs.happened("cancel") == ["job-1"]


def store_dag(airflow_database: Any, rows: DefinitionRows) -> None:
    """Store the DAG of rows as the dag-processor does."""
    import uuid

    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel

    version = uuid.uuid4()
    data = serialized(build(rows))
    now = datetime.now(UTC)
    airflow_database.insert(DagVersion, id=version, dag_id="sales", version_number=1, created_at=now, last_updated=now)
    airflow_database.insert(
        SerializedDagModel,
        id=uuid.uuid4(),
        dag_id="sales",
        dag_version_id=version,
        dag_hash="x",
        data=data,
        created_at=now,
        last_updated=now,
    )


# A real Airflow.


@pytest.mark.airflow_services
@pytest.mark.timeout(900)
def test_a_batch_in_a_real_airflow(tmp_path: Path) -> None:
    """Worker, triggerer and TaskLog know the service by its entry points alone."""
    definitions = tmp_path / "workflows.json"
    config = {"job_name": "load", "arguments": {"batch": "{{ batch_id }}"}, "initial_wait": 1, "poll_interval": 1}
    task = {"task_id": "job", "task_type": "http_job", "config": config}
    definitions.write_text(json.dumps({"workflows": [{"workflow_id": "sales", "tasks": [task]}]}), encoding="utf-8")
    path = os.pathsep.join((str(install(tmp_path / "site")), str(ROOT)))
    with ExitStack() as stack:
        running = stack.enter_context(HttpJobs(looks=None))
        environment = {"PYTHONPATH": path, "AIRFLOW_CONN_HTTP_JOBS_DEFAULT": running.connection}
        world = World(tmp_path, definitions=definitions, environment=environment, pubsub="builtin")
        airflow = stack.enter_context(world).airflow
        airflow.wait_for_dag("sales")
        airflow.trigger("sales", "batch_1")
        airflow.wait_for(lambda: deferred(airflow), 240, "the deferral of the task")
        running.end("job-1", rows=5)

        assert airflow.wait_for_run("sales", "batch_1") == "success"
        assert running.jobs["job-1"].arguments == {"batch": "batch_1"}
        (logs,) = world.rows("task_logs")
        (row,) = [row for row in logs if row["task_id"] == "job"]
        assert (row["remote_job_id"], row["remote_job_url"]) == ("job-1", f"{running.url}/jobs/job-1")
        assert running.happened("start") == ["job-1"]
    assert airflow.own_processes() == []
    engine.dispose_engines()


def deferred(airflow: AirflowServices) -> bool:
    return any(row["task_id"] == "job" and row["state"] == "deferred" for row in airflow.task_instances("sales", "batch_1"))
