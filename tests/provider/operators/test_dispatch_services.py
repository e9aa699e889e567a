"""From Pub/Sub to DAG runs through a real Airflow: the DAG file, the triggerer, the worker and its supervisor."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PubsubMessage
from sqlalchemy import select
from sqlalchemy.orm import Session

from demo.airflow_services import AirflowServices
from provider.emulators.pubsub import Implementation, find_google_emulator
from provider.emulators.scenario import Scenario
from provider.emulators.server import Emulators
from provider.metadata import definitions, engine, schema
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import BatchRequest

pytestmark = pytest.mark.airflow_services

ROOT = Path(__file__).parents[3]
TOPIC = "projects/demo-project/topics/task-batches"
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"
SCENARIO = {
    "pubsub": {
        "topics": [
            {"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow", "ack_deadline_seconds": 10}]},
        ]
    }
}

WORKFLOWS = """
from datetime import datetime, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param

for dag_id in ("daily_sales", "calendar"):
    with DAG(
        dag_id,
        schedule=None,
        start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
        params={
            "start_task_id": Param(None, type=["array", "null"]),
            "scope": Param(None, type=["string", "null"]),
            "day": Param("2024-03-16", type="string", format="date"),
        },
    ) as dag:
        EmptyOperator(task_id="stg_orders" if dag_id == "daily_sales" else "dim_date")
    globals()[dag_id] = dag
"""

GOOD = {"task_id": "stg_orders", "batch_id": "Batch_20240316_001", "scope": "workflow", "params": {"day": "2024-03-17"}}
BAD: list[Any] = [
    b"not JSON",
    {"task_id": "nobody"},
    {"task_id": "stg_orders", "batch_id": "Batch_20240316_001/clear"},
    {"task_id": "stg_orders", "batch_id": "../calendar/injected"},
    {"task_id": "stg_orders", "batch_id": "injected?x=1"},
    {"task_id": "stg_orders", "batch_id": "manual__x"},
    {"task_id": "stg_orders", "batch_id": "bad_param", "params": {"day": "{{ ds }}"}},
]


class World:
    """Emulators, an Airflow and its application database."""

    def __init__(self, airflow: AirflowServices, database: str, pubsub_host: str, *, direct: bool) -> None:
        self.airflow = airflow
        self.direct = direct
        self.engine = engine.create_engine(database)
        self._channel = grpc.insecure_channel(pubsub_host)
        self._publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))

    def close(self) -> None:
        self._channel.close()
        self.engine.dispose()

    def publish(self, *messages: bytes | dict[str, Any]) -> None:
        data = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in messages]
        self._publisher.publish(topic=TOPIC, messages=[PubsubMessage(data=item) for item in data])

    def requests(self, **where: Any) -> list[BatchRequest]:
        with Session(self.engine) as session:
            return list(session.scalars(select(BatchRequest).filter_by(**where)))

    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.requests())

    def runs(self, dag_id: str) -> dict[str, dict[str, Any]]:
        answer = self.airflow.rest("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 1000})
        return {run["dag_run_id"]: run for run in answer["dag_runs"]}

    def wait_for_states(self, **states: int) -> None:
        self.airflow.wait_for(lambda: self.states() == states, 120, f"{states}", explain=lambda: str(self.states()))

    def latencies(self, prefix: str) -> list[float]:
        """Seconds from the publication of a message to the creation of its run."""
        runs = self.runs("daily_sales")
        rows = [row for row in self.requests(state="dispatched") if str(row.batch_id).startswith(prefix)]
        return sorted(
            (datetime.fromisoformat(runs[str(row.batch_id)]["queued_at"]) - row.published_at).total_seconds()
            for row in rows
            if row.published_at is not None
        )


@contextmanager
def build(folder: Path, pubsub: Implementation, *, direct: bool = False) -> Iterator[World]:
    """
    Set everything up; Airflow's services are not started.

    :param direct: whether the triggerer starts the runs itself.
    """
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "dags" / "dispatcher.py", dags)
    (dags / "workflows.py").write_text(WORKFLOWS)
    database = f"sqlite:///{folder}/accelerator.db"
    fill(database)
    with Emulators(Scenario.model_validate(SCENARIO), folder=folder, pubsub=pubsub) as emulators:
        environment = {
            **emulators.environment(),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS": SUBSCRIPTION,
            "AIRFLOW__API__MAXIMUM_PAGE_LIMIT": "1000",
        }
        airflow = AirflowServices(folder / "airflow", dags, environment, people={"ann": "ADMIN", "starter": "USER"})
        if direct:
            airflow.set_environment(
                AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID="airflow_api", AIRFLOW_CONN_AIRFLOW_API=airflow.api_connection("starter")
            )
        with closing(World(airflow, database, emulators.pubsub_host, direct=direct)) as world:
            yield world


@pytest.fixture(scope="module", params=["builtin", "google", "direct"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if request.param == "google" and find_google_emulator(os.environ) is None:
        pytest.skip("Google's Pub/Sub emulator (or Java) is not on this machine")
    direct = request.param == "direct"
    pubsub: Implementation = "builtin" if direct else request.param
    with build(tmp_path_factory.mktemp("dispatch"), pubsub, direct=direct) as world, world.airflow as airflow:
        airflow.wait_for_dag("daily_sales")
        airflow.wait_for_dag("accelerator_dispatcher")
        airflow.wait_for_dag("accelerator_burst")
        yield world


def fill(database: str) -> None:
    fresh = engine.create_engine(database)
    schema.upgrade(fresh)
    rows = DefinitionRows(
        # Nobody mirrors runs without start_batch, so that all of them count as running for a while.
        workflows=[
            {"workflow_id": "daily_sales", "max_active_batches": 1000},
            {"workflow_id": "calendar"},
            {"workflow_id": "not_parsed"},
        ],
        tasks=[
            {"task_id": "stg_orders", "workflow_id": "daily_sales", "task_type": "t"},
            {"task_id": "dim_date", "workflow_id": "calendar", "task_type": "t"},
            {"task_id": "late", "workflow_id": "not_parsed", "task_type": "t"},
        ],
    )
    with Session(fresh.execution_options(accelerator_write=True)) as session, session.begin():
        definitions.replace_workflows(session, rows)
    fresh.dispose()


def test_one_run_for_one_batch_and_none_for_the_bad_ones(world: World) -> None:
    world.publish(GOOD, *BAD)
    world.publish(GOOD)
    world.publish(GOOD)
    world.publish({"task_id": "dim_date", "batch_id": "a+b:c~d"}, {"task_id": "late", "batch_id": "L1"})
    world.airflow.wait_for(
        lambda: world.states() == {"dispatched": 2, "duplicate": 2, "rejected": 7, "received": 1},
        180,
        "the requests to be dispatched",
        explain=lambda: str([(row.batch_id, row.state, row.reason) for row in world.requests()]),
    )
    (run,) = world.runs("daily_sales").values()
    (request,) = world.requests(state="dispatched", workflow_id="daily_sales")
    assert run["dag_run_id"] == "Batch_20240316_001"
    assert run["logical_date"] is None
    assert run["conf"] == {
        "day": "2024-03-17",
        "start_task_id": ["stg_orders"],
        "scope": "workflow",
        "_accelerator": {
            "request_id": request.id,
            "message_id": request.message_id,
            "workflow_id": "daily_sales",
            "batch_id": "Batch_20240316_001",
        },
    }
    assert list(world.runs("calendar")) == ["a+b:c~d"]
    assert world.airflow.wait_for_run("daily_sales", "Batch_20240316_001") == "success"
    (refused,) = world.requests(batch_id="bad_param")
    assert "Airflow refuses the run" in str(refused.reason)
    (late,) = world.requests(batch_id="L1")
    world.airflow.wait_for(lambda: world.requests(batch_id="L1")[0].attempts > late.attempts, 60, "another attempt")
    assert "no DAG 'not_parsed' yet" in str(late.reason)


def test_a_run_of_somebody_else_keeps_its_batch_id(world: World) -> None:
    world.airflow.trigger("daily_sales", "by_hand")
    world.publish({"task_id": "stg_orders", "batch_id": "by_hand"})
    world.airflow.wait_for(lambda: world.requests(batch_id="by_hand", state="rejected"), 120, "the request to be rejected")
    assert world.runs("daily_sales")["by_hand"]["conf"] == {}


def test_messages_one_after_another_and_a_burst(world: World, record_property: Any) -> None:
    """Each wake-up is a start in the triggerer: none of them may be lost, and the dispatcher gets help with a burst."""
    for number in range(5):
        batch_id = f"single_{number}"
        world.publish({"task_id": "stg_orders", "batch_id": batch_id})
        world.airflow.wait_for(partial(world.requests, batch_id=batch_id, state="dispatched"), 120, batch_id)
    world.publish(*({"task_id": "stg_orders", "batch_id": f"burst_{number}"} for number in range(120)))
    world.airflow.wait_for(
        lambda: len([row for row in world.requests(state="dispatched") if str(row.batch_id).startswith("burst_")]) == 120,
        180,
        "the burst",
    )
    for prefix in ("single_", "burst_"):
        record_property(prefix, world.latencies(prefix))
        print(prefix, [round(seconds, 2) for seconds in world.latencies(prefix)])  # noqa: T201
    dispatcher = world.runs("accelerator_dispatcher").values()
    assert {run["state"] for run in dispatcher} <= {"success", "running", "queued"}
    assert len([run for run in world.runs("daily_sales") if run.startswith("burst_")]) == 120
    if world.direct:
        assert [run["state"] for run in dispatcher] == ["running"], "nobody but the triggerer has started runs"
        assert world.runs("accelerator_burst") == {}
        return

    def helped() -> bool:
        return [run["state"] for run in world.runs("accelerator_burst").values()] == ["success"]

    world.airflow.wait_for(helped, 120, "the helpers' end", explain=lambda: str(world.runs("accelerator_burst")))


def test_a_triggerer_killed_while_it_waits_loses_nothing(world: World) -> None:
    world.airflow.kill("triggerer", signal.SIGKILL, children=True)
    world.publish({"task_id": "stg_orders", "batch_id": "after_kill"})
    world.airflow.start_component("triggerer")
    world.airflow.wait_for(lambda: world.requests(batch_id="after_kill", state="dispatched"), 180, "after_kill")
    assert "after_kill" in world.runs("daily_sales")


def test_airflow_dags_test_takes_one_round(tmp_path: Path) -> None:
    """No scheduler and no triggerer: the task waits and dispatches within one process."""
    with build(tmp_path, "builtin") as world:
        world.airflow.migrate()
        world.airflow.cli("dags", "reserialize", check=True)
        world.publish(GOOD, *BAD, {"task_id": "late", "batch_id": "L1"})
        result = world.airflow.cli("dags", "test", "accelerator_dispatcher")
        assert result.returncode == 0, result.stdout + result.stderr
        assert world.states() == {"dispatched": 1, "rejected": 7, "received": 1}, result.stdout
        listed = world.airflow.cli("dags", "list-runs", "daily_sales", "--output", "json", check=True).stdout
        runs = json.loads(listed[listed.index("[{") :])  # log lines may come first
        assert [run["run_id"] for run in runs] == ["Batch_20240316_001"]
