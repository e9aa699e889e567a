"""Load and query jobs on a real server: each job once, whatever happens to the tries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from provider.airflow_internals import supervisor
from provider.exceptions import ConfigurationError, RemoteJobError
from provider.operators.bigquery import BigQueryLoadOperator
from tests.google_servers import LOCATION, PROJECT
from tests.provider.operators.bigquery_world import INSERT, LOAD, World


def test_a_load_is_one_job_with_a_result_and_a_link(world: World) -> None:
    task = world.load()
    result = task.run()

    (job,) = world.jobs(task)
    assert world.rows() == [(1, "de"), (2, "at"), (3, "de")]
    assert result == {
        "job_id": job.job_id,
        "project_id": PROJECT,
        "location": LOCATION,
        "destination_table": f"{PROJECT}.{world.dataset}.orders",
        "output_rows": 3,
    }
    url = f"https://console.cloud.google.com/bigquery?project={PROJECT}&j=bq:{LOCATION}:{job.job_id}&page=queryresults"
    assert task.operator.remote_job == {"id": f"{PROJECT}:{LOCATION}.{job.job_id}", "url": url}
    assert task.ti.xcoms == {"remote_job_id": f"{PROJECT}:{LOCATION}.{job.job_id}", "remote_job_url": url}
    assert task.entry["tries"] == {"1": task.operator.remote_job}
    assert task.entry["outcome"] == "success"


def test_a_schema_in_an_object(world: World) -> None:
    world.servers.put("landing", {"schema.json": '[{"name": "number", "type": "INTEGER"}, {"name": "land", "type": "STRING"}]'})
    world.load(schema_fields=None, schema_object="schema.json", autodetect=None).run()

    assert [dict(row) for row in world.servers.select(f"SELECT land FROM {world.dataset}.orders WHERE number = 2")] == [
        {"land": "at"}
    ]


def test_killed_between_the_insert_and_its_record(world: World) -> None:
    task = world.load()
    with world.front.hold("POST", INSERT) as answer, task.killed_try():
        answer.wait()
    assert task.entry["job"] is None, "the try must not have recorded its job"
    task.run()

    assert len(world.jobs(task)) == 1
    assert len(world.rows()) == 3


def test_killed_before_the_insert(world: World) -> None:
    """The look-up before a first insert, answered 404, is the last that the killed try did."""
    task = world.load()
    with world.front.hold("GET", f"{INSERT}/*") as answer, task.killed_try():
        answer.wait()
    assert world.jobs(task) == []
    task.run()

    assert len(world.jobs(task)) == 1
    assert len(world.rows()) == 3


def test_a_retry_attaches_to_the_job_that_runs(world: World) -> None:
    task = world.load()
    with world.front.busy():
        with task.killed_try():
            world.wait_for_job(task)
        attached = world.load(deferrable=True, initial_wait=0.0)
        attached.ti, attached.store = task.ti, task.store
        deferral = attached.begin()
        assert isinstance(deferral, TaskDeferred)
        assert deferral.trigger.job["job_id"] == world.wait_for_job(task).job_id
    result = attached.resume(deferral, attached.event(deferral))

    assert result["output_rows"] == 3
    assert len(world.jobs(task)) == 1
    assert len(world.rows()) == 3


def test_no_false_failure_when_the_job_ended_meanwhile(world: World) -> None:
    """The Google provider's operator with ``force_rerun=False`` fails a task whose job is DONE."""
    task = world.load()
    with world.front.busy(), task.killed_try():
        world.wait_for_job(task)
    world.wait_for_end(task)
    assert task.run()["output_rows"] == 3

    assert len(world.jobs(task)) == 1
    assert len(world.rows()) == 3


def test_without_a_ledger_the_name_alone_keeps_a_job_from_running_twice(world: World) -> None:
    task = world.load()
    task.with_store = False
    task.run()
    task.run()

    assert len(world.jobs(task)) == 1
    assert len(world.rows()) == 3


def test_a_failed_job_is_followed_by_a_new_one(world: World) -> None:
    task = world.load(source_objects=["late/*.csv"])
    for _ in range(2):
        with pytest.raises(RemoteJobError, match=r"failed: notFound: Not found: URI gs://landing/late/\*.csv\. Check the names"):
            task.run()
    world.servers.put("landing", {"late/a.csv": "id,country\n7,ch\n"})
    task.run()

    assert [job.job_id[-4:] for job in world.jobs(task)] == ["_3_1", "_3_2", "_3_3"]
    assert world.rows() == [(7, "ch")]


def test_a_bad_file_fails_the_task_and_loads_nothing(world: World) -> None:
    world.servers.put("landing", {"bad/a.csv": "id,country\n1,de\nnot a number,de\n"})
    with pytest.raises(RemoteJobError, match="failed: invalid: Error while reading data"):
        world.load(source_objects=["bad/a.csv"]).run()

    assert world.rows() == []


def test_a_clear_is_a_new_load(world: World) -> None:
    task = world.load()
    task.run()
    task.clear()
    task.run()

    assert [job.job_id[-4:] for job in world.jobs(task)] == ["_3_1", "_4_1"]
    assert len(world.rows()) == 6


def test_clear_while_deferred_ends_the_older_job(world: World) -> None:
    task = world.load(deferrable=True, initial_wait=0.0)
    with world.front.busy():
        assert isinstance(task.begin(), TaskDeferred)
        task.clear()
        with pytest.raises(TaskDeferred) as second:
            raise task.begin()
        older, newer = world.jobs(task)
        assert (older.error or {})["reason"] == "stopped"
    task.resume(second.value, task.event(second.value))

    assert newer.succeeded
    assert len(world.rows()) == 3


def test_a_job_that_fails_while_deferred_fails_this_try_and_starts_no_other(world: World) -> None:
    task = world.load(source_objects=["none.csv"], deferrable=True, initial_wait=0.0)
    with world.front.busy():
        deferral = task.begin()
    event = task.event(deferral)
    with pytest.raises(RemoteJobError, match="Not found: URI gs://landing/none.csv"):
        task.resume(deferral, event)

    assert len(world.jobs(task)) == 1
    assert task.entry["outcome"] == "failed"


@pytest.mark.parametrize(("state", "cancelled"), [("failed", True), ("running", False)])
def test_on_kill_cancels_what_a_person_ended(state: str, cancelled: bool, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: state)
    task = world.load(deferrable=True, initial_wait=0.0)
    with world.front.busy():
        task.begin()
        task.operator.on_kill()
        (job,) = world.jobs(task)
        assert (job.state == "DONE", job.error is not None) == (cancelled, cancelled)


@pytest.mark.parametrize(("cancel_on_kill", "state"), [(True, "DONE"), (False, "RUNNING")])
def test_the_trigger_cancels_for_a_person(
    cancel_on_kill: bool, state: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provider.triggers import remote_job as triggers

    monkeypatch.setattr(supervisor, "task_instance_state", lambda **_: "failed")
    task = world.load(deferrable=True, initial_wait=0.0, cancel_on_kill=cancel_on_kill)

    async def kill(deferral: TaskDeferred) -> None:
        await task.trigger(deferral).on_kill()
        await asyncio.gather(*triggers._detached)

    with world.front.busy():
        asyncio.run(kill(task.begin()))
        (job,) = world.jobs(task)
        assert job.state == state


def test_a_cancelled_job_says_so(world: World) -> None:
    task = world.load(deferrable=True, initial_wait=0.0)
    with world.front.busy():
        deferral = task.begin()
        task.operator.service.cancel(task.entry["job"])
    event = task.event(deferral)
    with pytest.raises(RemoteJobError, match="failed: stopped: .*User requested cancellation. Somebody cancelled the job"):
        task.resume(deferral, event)


def test_a_job_in_an_unknown_place_is_an_error_and_no_second_job(world: World) -> None:
    """Without a location BigQuery shows only jobs in US and EU."""
    task = world.load()
    with world.front.hold("POST", INSERT) as answer, task.killed_try():
        answer.wait()
    elsewhere = world.load(location="US")
    elsewhere.ti = task.ti
    elsewhere.with_store = False
    with pytest.raises(RemoteJobError, match="does not show it in location US: set `location` to that of the dataset"):
        elsewhere.run()

    assert len(world.jobs(task)) == 1


def test_the_location_that_bigquery_chose_is_remembered(world: World) -> None:
    task = world.load(source_objects=["none.csv"])
    with pytest.raises(RemoteJobError):
        task.run()
    without = world.load(location=None)
    without.ti, without.store = task.ti, task.store
    assert without.run()["location"] == LOCATION

    assert [job.job_id[-2:] for job in world.jobs(task)] == ["_1", "_2"]


def test_other_runs_and_tasks_have_other_jobs(world: World) -> None:
    for changes in ({}, {"run_id": "Batch+1"}, {"run_id": "Batch-1"}, {"task_id": "lo.ad"}, {"map_index": 1}):
        task = world.load()
        vars(task.ti).update(changes)
        task.run()

    assert len(world.rows()) == 15


@pytest.mark.parametrize("extra", [{"external_table": True}, {"force_delete": True}, {"max_id_key": "id"}])
def test_what_is_no_load_job_is_refused(extra: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="no parts of a load job"):
        BigQueryLoadOperator(task_id="job", **{**LOAD, "destination_project_dataset_table": "a.b", **extra})
