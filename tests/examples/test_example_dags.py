"""Every DAG of ``examples/dags`` is parsed, and run against the emulators; there is one for each operator and sensor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from demo.world import World
from provider.metadata import engine
from tests.examples.dag_runner import MARK, load
from tests.google_servers import PROJECT, GoogleServers
from tests.provider.hooks.airflow_api_server import Answer, Server

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "dags").glob("*.py"))
#: Operators that are no use in a hand-written DAG, or make none of their own.
NOT_BY_HAND = {
    "StartBatchOperator": "opens the TaskBatch of a workflow from the tables",
    "ReconcileOperator": "one DAG of ours does it for all others",
    "SendAlertsOperator": "one DAG of ours does it for all others",
    "TaskCompletionSensor": "messages name tasks of the tables alone",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_one_dag_that_says_which_connection_it_needs(path: Path) -> None:
    dag = load(path)

    assert dag.dag_id == f"example_{path.stem}"
    text = path.read_text(encoding="utf-8")
    documentation = text.split('"""')[1]
    for task in dag.tasks:
        named = (getattr(task, name, None) for name in ("gcp_conn_id", "powerbi_conn_id", "airflow_conn_id", "http_conn_id"))
        for connection in filter(None, named):
            assert f"``{connection}``" in documentation, task.task_id
    assert len(text.splitlines()) <= 50, "an example is to be short"


def test_there_is_one_for_each_operator_and_sensor() -> None:
    used = {type(task).__name__ for path in FILES for task in load(path).tasks}

    assert used == public_tasks() - NOT_BY_HAND.keys()


def public_tasks() -> set[str]:
    """Return the names of the operators and sensors that Airflow is told of."""
    from importlib import import_module
    from inspect import getmembers, isclass

    from provider import get_provider_info

    info = get_provider_info()
    modules = {module for kind in ("operators", "sensors") for group in info[kind] for module in group["python-modules"]}
    return {
        name
        for module in modules
        for name, value in getmembers(import_module(module), isclass)
        if value.__module__ == module and name.endswith(("Operator", "Sensor")) and not name.startswith("_")
    }


class Laptop:
    """Emulators, an Airflow home with the examples in it, and a process that runs their DAGs."""

    def __init__(self, world: World, google: GoogleServers, airflow: Server) -> None:
        self.world, self.google, self.airflow = world, google, airflow
        self.examples = world.dags / "examples"
        shutil.copytree(ROOT / "examples" / "dags", self.examples)
        self._log = (world.home / "runner.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.examples.dag_runner"],
            env={**world.airflow.environment(), "PYTHONPATH": str(ROOT)},
            cwd=world.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def stop(self) -> None:
        """End the process, which has no more lines to read then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def run(self, name: str) -> dict[str, str]:
        """Run the DAG of an example, which must succeed; return the states of its tasks."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self.examples / name}.py\n")
        self._process.stdin.flush()
        log = ""
        for line in self._process.stdout:
            if line.startswith(MARK):
                outcome = json.loads(line.removeprefix(MARK))
                assert outcome["state"] == "success", f"{outcome}\n{log}"
                tasks: dict[str, str] = outcome["tasks"]
                return tasks
            log += line
        raise AssertionError(f"the process has ended: {log[-5000:]}\n{Path(self._log.name).read_text(encoding='utf-8')[-5000:]}")

    def happened(self, operation: str) -> list[Any]:
        """Return what the emulators did of one kind."""
        return self.world.emulators.ledger.entries(operation=operation)

    def requests(self) -> dict[str, str]:
        """Return the states of the requests in the inbox, by their batch."""
        (rows,) = self.world.rows("batch_requests")
        return {row["batch_id"]: row["state"] for row in rows}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    folder = tmp_path_factory.mktemp("examples")
    with ExitStack() as stack:
        google = stack.enter_context(GoogleServers(folder / "servers"))
        google.put(
            "landing", {"orders/a.csv": "id,country\n1,de\n2,at\n", "returns/a.csv": "id\n1\n", "returns/2024/b.csv": "id\n"}
        )
        google.put("archive", {})
        google.bigquery_client().create_dataset("raw")
        airflow = Server()
        stack.callback(airflow.close)
        connection = {"conn_type": "airflow_api", "host": airflow.address, "login": "reader", "password": "hunter2"}
        shop = {"conn_type": "http", "host": airflow.address, "extra": {"X-Api-Key": "hunter2"}}
        environment = {
            **google.hosts(),
            "AIRFLOW_CONN_AIRFLOW_API": json.dumps(connection),
            "AIRFLOW_CONN_SHOP": json.dumps(shop),
        }
        world = stack.enter_context(World(folder, services=False, environment=environment, pubsub="builtin"))
        found = Laptop(world, google, airflow)
        stack.callback(found.stop)
        yield found
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


@pytest.mark.airflow_services
@pytest.mark.timeout(900)
class TestOnALaptop:
    """``dag.test()`` as a person would run it, with emulators instead of a cloud."""

    def test_dataform_invocation(self, laptop: Laptop) -> None:
        assert laptop.run("dataform_invocation") == {"stage_orders": "success"}
        assert len(laptop.happened("workflow_invocation_succeeded")) == 1

    def test_powerbi_semantic_model(self, laptop: Laptop) -> None:
        before = len(laptop.happened("refresh_completed"))
        assert laptop.run("powerbi_semantic_model") == {"refresh_daily_sales": "success"}
        assert len(laptop.happened("refresh_completed")) == before + 1

    def test_powerbi_dataflow(self, laptop: Laptop) -> None:
        before = len(laptop.happened("refresh_completed"))
        assert laptop.run("powerbi_dataflow") == {"refresh_staging": "success", "refresh_daily_sales": "success"}
        assert len(laptop.happened("dataflow_refresh_completed")) == 1
        assert len(laptop.happened("refresh_completed")) == before + 1

    def test_bigquery_load(self, laptop: Laptop) -> None:
        assert laptop.run("bigquery_load") == {"load_orders": "success"}
        assert laptop.google.select("SELECT id, country FROM raw.orders ORDER BY id") == [
            {"id": 1, "country": "de"},
            {"id": 2, "country": "at"},
        ]

    def test_bigquery_query(self, laptop: Laptop) -> None:
        sql = f"CREATE TABLE `{PROJECT}.raw.customers` AS SELECT * FROM UNNEST(['de', 'at', 'de']) AS country"
        laptop.google.select(sql)
        assert laptop.run("bigquery_query") == {"count_customers": "success"}
        # The server runs the statement and keeps no result; so what it was asked is looked at.
        (job,) = (job for job in laptop.google.bigquery.jobs.values() if "count_customers" in job.job_id)
        assert job.succeeded
        assert job.configuration["query"]["destinationTable"]["tableId"] == "customers_by_country"
        assert job.configuration["query"]["queryParameters"][0]["parameterValue"] == {"value": "de"}

    def test_bigquery_check(self, laptop: Laptop) -> None:
        laptop.google.select(f"CREATE TABLE `{PROJECT}.raw.checked` AS SELECT * FROM UNNEST(['de', 'at']) AS country")
        assert laptop.run("bigquery_check") == {"check_countries": "success"}

    def test_gcs_archive(self, laptop: Laptop) -> None:
        assert laptop.run("gcs_archive") == {"archive_returns": "success"}
        assert [name for name in laptop.google.names("landing") if name.startswith("returns")] == []
        assert [name.split("/", 2)[2] for name in laptop.google.names("archive")] == ["2024/b.csv", "a.csv"]

    def test_gcs_copy(self, laptop: Laptop) -> None:
        laptop.google.put("landing", {"prices/a.csv": "1", "prices/old/b.csv": "2"})
        laptop.google.put("partners", {})
        assert laptop.run("gcs_copy") == {"copy_prices": "success"}
        assert [name.split("/", 2)[2] for name in laptop.google.names("partners")] == ["a.csv", "old/b.csv"]
        assert "prices/a.csv" in laptop.google.names("landing")

    def test_gcs_delete(self, laptop: Laptop) -> None:
        laptop.google.put("landing", {"leftovers/a.tmp": "1", "leftovers/b/c.tmp": "2", "leftovers/d.csv": "3"})
        assert laptop.run("gcs_delete") == {"delete_leftovers": "success"}
        assert [name for name in laptop.google.names("landing") if name.startswith("leftovers")] == ["leftovers/d.csv"]

    def test_run_workflow(self, laptop: Laptop) -> None:
        started: list[dict[str, Any]] = []

        def answer(_path: str, _query: Any) -> Answer:
            method, _, _, _, body = laptop.airflow.asked[-1]
            if method == "POST":
                started.append(body)
            return (200, {**started[0], "state": "success"}) if started else (404, {"detail": "no such run"})

        laptop.airflow.answer = answer
        assert laptop.run("run_workflow") == {"run_daily_sales": "success"}
        assert len(started) == 1
        conf = started[0]["conf"]
        assert (conf["country"], conf["start_task_id"], conf["scope"]) == ("de", ["stg_orders"], "downstream")
        assert started[0]["dag_run_id"].startswith("run_daily_sales.manual__")

    def test_wait_for_workflow(self, laptop: Laptop) -> None:
        asked: list[str] = []

        def answer(path: str, _query: Any) -> Answer:
            asked.append(path)
            return 200, {"state": "success"}

        laptop.airflow.answer = answer
        assert laptop.run("wait_for_workflow") == {"wait_for_daily_sales": "success"}
        assert asked[0].startswith("/api/v2/dags/daily_sales/dagRuns/Batch_")

    def test_http_request(self, laptop: Laptop) -> None:
        laptop.airflow.asked.clear()
        laptop.airflow.answer = lambda path, _query: (201, {}) if path == "/v1/loads" else (200, {"orders": 7})
        laptop.airflow.content_type = "application/json"
        assert laptop.run("http_request") == {"count_orders": "success", "orders_are_loaded": "success"}
        assert [(method, path, body) for method, path, _, _, body in laptop.airflow.asked] == [
            ("GET", "/v1/shops/berlin/orders/count", None),
            ("POST", "/v1/loads", {"counted": "7"}),
        ]

    def test_pubsub_sensor(self, laptop: Laptop) -> None:
        laptop.world.publish({"task_id": "stg_orders", "batch_id": "for_the_sensor"})
        assert laptop.run("pubsub_sensor") == {"wait_for_a_request": "success", "start_what_is_due": "success"}
        assert laptop.requests()["for_the_sensor"] == "dispatched"

    def test_dispatcher(self, laptop: Laptop) -> None:
        laptop.world.publish({"task_id": "stg_orders", "batch_id": "for_the_dispatcher"})
        assert laptop.run("dispatcher") == {"dispatch": "success"}
        assert laptop.requests()["for_the_dispatcher"] == "dispatched"

    def test_pubsub_publish(self, laptop: Laptop) -> None:
        """The last one of those that have to do with the topic: nobody takes its message."""
        before = len(laptop.happened("published"))
        assert laptop.run("pubsub_publish") == {"tell_of_orders": "success"}
        assert len(laptop.happened("published")) == before + 1

    def test_each_example_is_run(self) -> None:
        run = {name.removeprefix("test_") for name in vars(type(self)) if name.startswith("test_")}
        assert {path.stem for path in FILES} <= run
