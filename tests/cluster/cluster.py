"""
A cluster of machines that share nothing but the network: Airflow with the CeleryExecutor, from the wheel.

Two schedulers, a dag-processor, two triggerers, an api-server and two workers; a broker; one PostgreSQL server for Airflow and
one for the application. Each machine has a user, a home and a network of its own where whoever runs this may give them, its
configuration is a file, and DAG files come from a bucket. Workers do not know Airflow's database.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import sqlalchemy

from demo.airflow_client import AirflowClient
from demo.airflow_services import free_port
from demo.airflow_users import AirflowUsers
from demo.postgres import PostgresServer
from demo.world import EXAMPLES
from provider.emulators.scenario import Scenario, load_scenario
from provider.emulators.server import Emulators
from tests.cluster.broker import Broker
from tests.cluster.bucket import Bucket
from tests.cluster.configuration import Configuration
from tests.cluster.environments import BARE, FIRST_UID, build_wheel, usable_by_everybody, with_package
from tests.cluster.machine import Machine
from tests.cluster.network import Network, can_be_had
from tests.google_servers import GoogleServers

BUCKET = "composer-bucket"
_MACHINES = ("api-server", "scheduler-1", "scheduler-2", "dag-processor", "triggerer-1", "triggerer-2", "worker-1", "worker-2")
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "worker": ("celery", "worker", "--skip-serve-logs", "--celery-hostname", "NAME@%h"),
}
_START_SECONDS = 300.0


class Cluster(AirflowClient):
    """
    All of it, without DAG files, workflows and a schema of the application database; context manager.

    :param accelerator: settings of section ``accelerator`` besides the database.
    :param composer: as Cloud Composer is: the package cannot be imported in the schedulers, no plugin is loaded in the
        triggerers, and Composer's lowest values of some settings.
    :param scenario: what the emulators know; by default the examples'.
    :param database: False to configure no application database.
    :param revivals: how often a machine whose process has ended by itself is started again, as Composer's pods and services of a
        machine are; Airflow's processes end when their database or broker is away.
    """

    def __init__(
        self,
        accelerator: Mapping[str, str],
        *,
        composer: bool,
        scenario: Scenario | None = None,
        database: bool = True,
        revivals: int = 0,
    ) -> None:
        self._accelerator = dict(accelerator)
        self._database = database
        self._revivals = revivals
        self.revived: Counter[str] = Counter()
        self._composer = composer
        self._scenario = scenario or load_scenario(EXAMPLES / "emulators.yaml")
        self._port = free_port()
        self._stack = ExitStack()
        self.machines: dict[str, Machine] = {}
        self.network: Network | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Not pytest's folder, which other users may not enter.
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", ignore_cleanup_errors=True)))
            self.folder.chmod(0o755)
            users = AirflowUsers({"ann": "ADMIN", "accelerator": "USER"}, self.folder / "passwords.json")
            super().__init__(f"http://127.0.0.1:{self._port}", users)
            stack.callback(self.close)
            self.google = stack.enter_context(GoogleServers(self.folder / "google"))
            self.emulators = stack.enter_context(Emulators(self._scenario, folder=self.folder / "emulators", pubsub="auto"))
            self.broker = stack.enter_context(Broker(self.folder / "broker"))
            self.airflow_postgres = stack.enter_context(PostgresServer())
            self.application_postgres = stack.enter_context(PostgresServer())
            self.airflow_url = self.airflow_postgres.create_database("airflow")
            self.database_url = self.application_postgres.create_database("accelerator")
            self._make_machines(stack)
            for machine in self.machines.values():
                stack.callback(machine.stop)
            readers = [machine for machine in self.machines.values() if machine.name.startswith(("dag-processor", "worker"))]
            self.bucket = stack.enter_context(Bucket(BUCKET, self.google, readers))
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    # Machines.

    def _make_machines(self, stack: ExitStack) -> None:
        wheel = build_wheel(self.folder / "wheel")
        package = with_package(self.folder / "package", wheel)
        pythons: dict[str, Path] = {}
        if self._composer:
            without_plugin = with_package(self.folder / "without-plugin", wheel, plugin=False)
            pythons = {"scheduler": BARE.ensure().python, "triggerer": without_plugin}
        separate = usable_by_everybody(str(package))
        if separate and can_be_had():
            self.network = stack.enter_context(Network(self.folder / "network", _MACHINES, self._services()))
        passwords = self.folder / "machines" / "api-server" / "passwords.json"
        snapshot = self.folder / "snapshot"
        configuration = Configuration(
            url=self.url,
            broker=self.broker.url,
            airflow=self.airflow_url,
            users={**self.users.environment(), "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords)},
            accelerator={**self._accelerator, **({"sql_alchemy_conn": self.database_url} if self._database else {})},
            snapshot=snapshot,
            composer=self._composer,
        )
        for number, name in enumerate(_MACHINES):
            kind = name.removesuffix("-1").removesuffix("-2")
            self.machines[name] = Machine(
                self.folder / "machines" / name,
                pythons.get(kind, package),
                [word.replace("NAME", name) for word in _COMMANDS[kind]],
                configuration.of(kind),
                {**self.google.hosts(), "PUBSUB_EMULATOR_HOST": self.emulators.pubsub_host},
                FIRST_UID + number if separate else None,
                self.network.command(name) if self.network else (),
            )
        shutil.copy(self.folder / "passwords.json", passwords)
        self.machines["api-server"].own(passwords)
        snapshot.mkdir()
        self.machines["dag-processor"].own(snapshot)

    def _services(self) -> dict[int, str | None]:
        """Return what machines may reach: port → whose it is."""
        outside = (
            *(self.emulators.dataform_endpoint, self.emulators.powerbi_url, f"//{self.emulators.pubsub_host}"),
            *(self.broker.url, *self.google.hosts().values()),
        )
        found: dict[int, str | None] = {port: None for url in outside if (port := urlsplit(url).port)}
        return {**found, self._port: "api-server"}

    def _start(self) -> None:
        self.machines["dag-processor"].run("-m", "airflow", "db", "migrate")
        for machine in self.machines.values():
            machine.start()
        self.wait_for(self._all_healthy, _START_SECONDS, "all machines to be healthy")
        self._connect("airflow_api", self.api_connection("accelerator"))
        services = self.emulators.environment()
        for connection_id in ("google_cloud_default", "powerbi_default"):
            self._connect(connection_id, services[f"AIRFLOW_CONN_{connection_id.upper()}"])

    def _connect(self, connection_id: str, connection: str) -> None:
        """Make a connection in Airflow, as a person does."""
        fields = json.loads(connection)
        extra = {"extra": json.dumps(fields["extra"])} if "extra" in fields else {}
        self.rest("POST", "/connections", json={"connection_id": connection_id, **fields, **extra})

    def gave_up(self) -> list[str]:
        """Return the machines whose process has ended with an error by itself, and is not to be started again."""
        self._revive()
        return self._ended()

    def _ended(self) -> list[str]:
        return [name for name, machine in self.machines.items() if machine.gave_up]

    def _revive(self) -> None:
        for name in self._ended():
            if self.revived[name] < self._revivals:
                self.revived[name] += 1
                self.machines[name].start()

    def log_ends(self) -> str:
        """Return the ends of the logs of what has given up, or else of all machines."""
        return "\n".join(f"--- {name}\n{self.machines[name].log[-2000:]}" for name in self._ended() or self.machines)

    def _all_healthy(self) -> bool:
        parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        workers = (machine for name, machine in self.machines.items() if name.startswith("worker"))
        return self.are_healthy(parts) and all(" ready." in worker.log for worker in workers)

    # What people do.

    def post_run(self, dag_id: str, body: Mapping[str, Any]) -> str:
        """Start a run by the body of a request, and return the state in which it ends."""
        started = self.rest("POST", f"/dags/{dag_id}/dagRuns", json=dict(body))
        return self.wait_for_run(dag_id, started["dag_run_id"])

    def has_run(self, dag_id: str, run_id: str) -> bool:
        """Tell whether there is such a run."""
        return bool(self.client().get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").is_success)

    def select(self, sql: str) -> list[dict[str, Any]]:
        """Ask the application database."""
        engine = sqlalchemy.create_engine(self.database_url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(sqlalchemy.text(sql)).mappings()]
