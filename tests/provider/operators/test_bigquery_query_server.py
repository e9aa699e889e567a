"""BigQuery queries against a server that runs SQL."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.exceptions import ConfigurationError
from provider.operators.bigquery_query import BigQueryQueryOperator
from tests.google_servers import PROJECT
from tests.provider.operators.bigquery_world import INSERT, World

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
