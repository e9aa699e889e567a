"""Load and query jobs on a real server: each job once, whatever happens to the tries."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.airflow_internals import supervisor
from provider.exceptions import ConfigurationError, RemoteJobError
from provider.operators.bigquery import BigQueryLoadOperator
from provider.operators.bigquery_query import BigQueryQueryOperator
from tests.bigquery_front import Job
from tests.google_servers import LOCATION, PROJECT, GoogleServers
from tests.provider.operators.killed_try import KillableTask
from tests.waiting import wait_for

NUMBERS = itertools.count(1)
LOAD: dict[str, Any] = {
    "bucket": "landing",
    "source_objects": ["orders/*.csv"],
    "schema_fields": [{"name": "id", "type": "INTEGER"}, {"name": "country", "type": "STRING"}],
    "skip_leading_rows": 1,
    "write_disposition": "WRITE_APPEND",
    "location": LOCATION,
    "poll_interval": 0.1,
    "deferrable": False,
}
QUERY: dict[str, Any] = {"location": LOCATION, "poll_interval": 0.1, "deferrable": False}
INSERT = "*/projects/demo-project/jobs"
TWO_FILES = {"orders/a.csv": "id,country\n1,de\n2,at\n", "orders/b.csv": "id,country\n3,de\n"}


class World:
    """The servers, with a dataset of the test's own."""

    def __init__(self, servers: GoogleServers, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.front = servers.bigquery
        self.dataset = f"raw_{next(NUMBERS)}"
        servers.bigquery_client().create_dataset(self.dataset)

    def task(self, operator: Callable[..., Any], /, **arguments: Any) -> KillableTask:
        return KillableTask(operator, arguments, self.folder, run_id=f"{self.dataset}_{next(NUMBERS)}")

    def load(self, **changes: Any) -> KillableTask:
        table = {"destination_project_dataset_table": f"{PROJECT}.{self.dataset}.orders"}
        return self.task(BigQueryLoadOperator, **{**LOAD, **table, **changes})

    def query(self, sql: str, **changes: Any) -> KillableTask:
        return self.task(BigQueryQueryOperator, sql=sql.replace("$", f"`{PROJECT}.{self.dataset}`."), **{**QUERY, **changes})

    def jobs(self, task: KillableTask) -> list[Job]:
        """Return the jobs that the server took of a task instance, in their order."""
        return [job for job in self.front.jobs.values() if job.job_id.split("_")[3] == digest(task)]

    def rows(self, table: str = "orders") -> list[tuple[Any, ...]]:
        found = self.servers.select(f"SELECT * FROM `{PROJECT}.{self.dataset}.{table}`")
        return sorted(tuple(row.values()) for row in found)

    def wait_for_job(self, task: KillableTask) -> Job:
        return wait_for_any(lambda: next(reversed(self.jobs(task)), None))

    def wait_for_end(self, task: KillableTask) -> Job:
        return wait_for_any(lambda: next((job for job in self.jobs(task) if job.state == "DONE"), None))


def wait_for_any(find: Callable[[], Job | None]) -> Job:
    job = wait_for(find, 60)
    assert job is not None, "no such job"
    return job


def digest(task: KillableTask) -> str:
    from provider.operators.bigquery_jobs import job_name

    return job_name({"ti": task.ti}).split("_")[3]  # type: ignore[typeddict-item]


@pytest.fixture
def world(google_servers: GoogleServers, tmp_path: Path) -> World:
    google_servers.put("landing", TWO_FILES)
    return World(google_servers, tmp_path)


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


# Queries.

COPY = "INSERT INTO $copies SELECT id, country FROM $orders WHERE id >= @least AND country IN UNNEST(@countries)"
COPY_PARAMETERS = [
    {"name": "least", "type": "INT64", "value": 1},
    {"name": "countries", "type": "STRING", "values": ["de", "ch"]},
]


@pytest.fixture
def loaded(world: World) -> World:
    world.load().run()
    world.servers.select(f"CREATE TABLE `{PROJECT}.{world.dataset}.copies` (id INT64, country STRING)")
    return world


def test_killed_between_the_insert_of_a_query_and_its_record(loaded: World) -> None:
    task = loaded.query(COPY, query_parameters=COPY_PARAMETERS)
    with loaded.front.hold("POST", INSERT) as answer, task.killed_try():
        answer.wait()
    result = task.run()

    (job,) = loaded.jobs(task)
    assert loaded.rows("copies") == [(1, "de"), (3, "de")]
    assert (result["job_id"], result["statement_type"]) == (job.job_id, "INSERT")
    assert job.configuration["labels"] == {"airflow-dag": "adhoc_airflow", "airflow-task": "job"}


def test_a_query_waits_in_the_triggerer(loaded: World) -> None:
    task = loaded.query(COPY, query_parameters=COPY_PARAMETERS, deferrable=True, initial_wait=0.0)
    with loaded.front.busy():
        deferral = task.begin()
        assert isinstance(deferral, TaskDeferred)
    task.resume(deferral, task.event(deferral))

    assert (len(loaded.jobs(task)), len(loaded.rows("copies"))) == (1, 2)


def test_a_value_cannot_become_sql(loaded: World) -> None:
    attack = "' OR TRUE; DROP TABLE copies; --"
    parameters = [{"name": "country", "type": "STRING", "value": attack}]
    loaded.query("INSERT INTO $copies SELECT 0, @country", query_parameters=parameters).run()
    loaded.query(
        "INSERT INTO $copies SELECT id, country FROM $orders WHERE country = @country", query_parameters=parameters
    ).run()

    assert loaded.rows("copies") == [(0, attack)]


def test_null_is_a_value(loaded: World) -> None:
    loaded.query("INSERT INTO $copies SELECT 0, @nothing", query_parameters=[{"name": "nothing", "type": "STRING"}]).run()

    assert loaded.rows("copies") == [(0, None)]


def test_a_mistake_in_the_statement_is_not_tried_again(loaded: World) -> None:
    task = loaded.query("SELECT nobody FROM $orders")
    with pytest.raises(AirflowFailException, match="failed: invalidQuery: .*nobody"):
        task.run()

    assert task.entry["outcome"] == "failed"


def test_a_query_has_the_configuration_that_was_asked_for(loaded: World) -> None:
    task = loaded.query(
        "SELECT country, COUNT(*) AS orders FROM $orders GROUP BY country",
        destination_table=f"{loaded.dataset}.counts",
        write_disposition="WRITE_TRUNCATE",
        create_disposition="CREATE_IF_NEEDED",
        priority="BATCH",
        maximum_bytes_billed=10**9,
        labels={"team": "sales"},
    )
    task.run()

    (job,) = loaded.jobs(task)
    query = job.configuration["query"]
    assert query["destinationTable"] == {"projectId": PROJECT, "datasetId": loaded.dataset, "tableId": "counts"}
    assert (query["writeDisposition"], query["createDisposition"]) == ("WRITE_TRUNCATE", "CREATE_IF_NEEDED")
    assert (query["priority"], query["maximumBytesBilled"], query["useLegacySql"]) == ("BATCH", str(10**9), False)
    assert job.configuration["labels"]["team"] == "sales"


def test_a_disposition_needs_a_table() -> None:
    with pytest.raises(ConfigurationError, match="a disposition says what happens to destination_table"):
        BigQueryQueryOperator(task_id="job", sql="SELECT 1", write_disposition="WRITE_APPEND")
