"""A real installation in which faults are produced."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlalchemy import Connection, text

from demo.postgres import PostgresServer
from demo.world import SUBSCRIPTION, TOPIC, World
from provider.emulators.rules import Rule
from provider.metadata.engine import create_engine

#: Seconds for a wait; what is waited for takes a few seconds, or never comes.
NOTICED = 60.0
DATABASE = "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"
#: As long as a leader's sign of life counts.
LEASE_IS_OVER = "SELECT seen_at < now() - interval '15 s' FROM leader_leases WHERE name = 'reconciler'"
DEAD_LETTERS = "projects/demo-project/topics/dead-letters"

#: Connections that the server of the application database takes; three of them are for superusers alone.
CONNECTIONS = 400
#: Seconds after which Airflow takes a process without a heartbeat for dead, and between heartbeats: what is stored is one
#: heartbeat old, and a process that has just stood still, on a busy machine, needs some more.
_DEAD_AFTER, _HEARTBEAT = "30", "1"
ENVIRONMENT = {
    "AIRFLOW__ACCELERATOR__NOTIFIERS": "topic",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": _DEAD_AFTER,
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": _DEAD_AFTER,
    "AIRFLOW__DAG_PROCESSOR__HEALTH_CHECK_THRESHOLD": _DEAD_AFTER,
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": _HEARTBEAT,
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": _HEARTBEAT,
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": _HEARTBEAT,
}
_REPOSITORY = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}
WORKFLOWS: Mapping[str, dict[str, Any]] = {
    "sales": {
        "tasks": [
            {"task_id": "load", "task_type": "dataform", "config": _REPOSITORY},
            {"task_id": "show", "task_type": "power_bi_refresh", "config": {"workspace": "Sales", "semantic_model": "Sales"}},
        ]
    }
}
SCENARIO = {
    "dataform": {"repositories": {"projects/demo-project/locations/europe-west3/repositories/sales": {}}},
    "powerbi": {"workspaces": [{"name": "Sales", "semantic_models": [{"name": "Sales"}]}]},
    "pubsub": {
        "topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}, {"name": "dead-letters"}]
    },
}

#: Environment of the command, beside that of the installation; None takes a variable away.
Environment = Mapping[str, str | None]


class Installation:
    """
    A real installation, and what produces faults in it.

    :param airflow_postgres: server of Airflow's database.
    :param postgres: server of the application database.
    :param folder: for files.
    :param closed: port that nobody listens on.
    :param silent: port that takes connections and never answers.
    """

    def __init__(
        self, world: World, airflow_postgres: PostgresServer, postgres: PostgresServer, folder: Path, closed: int, silent: int
    ) -> None:
        self.world = world
        self.airflow_postgres = airflow_postgres
        self.postgres = postgres
        self.folder = folder
        self.closed, self.silent = (f"127.0.0.1:{port}" for port in (closed, silent))

    def wait(self, what: str, ready: Callable[[], Any], explain: Callable[[], str] = str) -> Any:
        return self.world.airflow.wait_for(ready, NOTICED, what, explain=explain)

    def sql(self, *statements: str, url: str | None = None) -> Any:
        """Carry out SQL in the application database; return the first value of the last one, if it has any."""
        engine = create_engine(url or self.world.database_url)
        try:
            with engine.begin() as connection:
                return [_first_value(connection, statement) for statement in statements][-1]
        finally:
            engine.dispose()

    def connection(self, conn_id: str, **values: Any) -> Environment:
        """Return an environment in which some fields of a connection are others; None takes one away."""
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        known = json.loads(self.world.airflow.environment()[name])
        extra = {**known.get("extra", {}), **values.pop("extra", {})}
        fields = {**known, **({"extra": extra} if extra else {}), **values}
        return {name: json.dumps({key: value for key, value in fields.items() if value is not None})}

    @contextmanager
    def rule(self, **values: Any) -> Iterator[None]:
        """Let an emulator do something else with all calls of a kind."""
        rule_id = self.world.emulators.rules.add(Rule(times=None, **values))
        try:
            yield
        finally:
            self.world.emulators.rules.remove(rule_id)

    @contextmanager
    def frozen(self, *processes: psutil.Process) -> Iterator[None]:
        """Let processes stand still, at a moment at which none of them holds a lock of a database."""

        def thaw() -> None:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

        def freeze() -> bool:
            thaw()
            for process in processes:
                process.suspend()
            return not self._in_transaction()

        try:
            self.wait("a moment between transactions", freeze)
            yield
        finally:
            thaw()

    def _in_transaction(self) -> bool:
        """Tell whether anybody is in a transaction."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()"
        return any(self.sql(others, url=url) for url in (self.world.airflow_url, self.world.database_url))

    def component(self, name: str) -> list[psutil.Process]:
        """Return the processes of a component; the scheduler's alone, as its reconciler and its workers live on without it."""
        process = psutil.Process(self.world.airflow.process(name).pid)
        return [process] if name == "scheduler" else [process, *process.children(recursive=True)]

    def wait_until_dead(self, component: str) -> None:
        name = component.replace("-", "_")
        self.wait(f"{component} to count as dead", lambda: not self.world.airflow.are_healthy([name]))

    def runs(self, dag_id: str) -> list[str]:
        """Return the runs of a DAG that run."""
        found = self.world.airflow.rest("GET", f"/dags/{dag_id}/dagRuns", params={"state": "running"})
        return [run["dag_run_id"] for run in found["dag_runs"]]

    def subscribe(self, name: str = SUBSCRIPTION, topic: str = TOPIC, **values: Any) -> None:
        """Create a subscription that is as it should be, or not."""
        dead = {"dead_letter_topic": DEAD_LETTERS, "max_delivery_attempts": 50}
        well = {"ack_deadline_seconds": 60, "dead_letter_policy": dead}
        with self._channel() as channel:
            client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            client.create_subscription(request={"name": name, "topic": topic, **well, **values})

    def unsubscribe(self, name: str = SUBSCRIPTION) -> None:
        with self._channel() as channel:
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)).delete_subscription(subscription=name)

    @contextmanager
    def topic(self, name: str) -> Iterator[None]:
        with self._channel() as channel:
            client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
            client.create_topic(name=name)
            yield
            client.delete_topic(topic=name)

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.world.emulators.pubsub_host)


def _first_value(connection: Connection, statement: str) -> Any:
    result = connection.execute(text(statement))
    return result.scalar() if result.returns_rows else None


def closed_and_silent_port() -> tuple[socket.socket, socket.socket]:
    """Return a socket on whose port nobody listens, and one that takes connections and never answers."""
    closed, silent = socket.socket(), socket.socket()
    for each in (closed, silent):
        each.bind(("127.0.0.1", 0))
    silent.listen(64)
    return closed, silent


class LateProxy(BaseHTTPRequestHandler):
    """Hands requests on to an API server, whose clock is a minute late; ``target`` is its address."""

    target = ""

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        answer = httpx.request(self.command, f"{self.target}{self.path}", content=body, headers=kept, timeout=30, trust_env=False)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = _hand_on

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) - 60)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
