"""Emulators and a real Airflow of one's own, with the examples imported: what the demo shows and the integration tests use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from demo.airflow_services import AirflowServices
from demo.databases import Databases
from demo.expectations import Join, outer_join
from demo.terminal import at_terminal
from provider.emulators.scenario import load_scenario
from provider.emulators.server import Emulators

if TYPE_CHECKING:
    from demo.postgres import PostgresServer
    from provider.emulators.pubsub import Implementation
    from provider.emulators.scenario import Scenario

EXAMPLES = Path(__file__).parent.parent / "examples"
TOPIC = "projects/demo-project/topics/task-batches"
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"
#: Columns of what is shown.
WIDTH = 150

Rows = list[dict[str, Any]]


class World:
    """
    Context manager around emulators, an Airflow home and, unless ``services`` is False, Airflow's four services.

    :param folder: gets everything; never shared with anything else.
    :param definitions: file to import; by default the examples.
    :param scenario: what the emulators know; by default the examples'.
    :param services: False for commands alone, such as ``airflow dags test``.
    :param postgres: server that gets Airflow's database and the application database; None for SQLite files in the home.
    :param application_postgres: server that gets the application database instead, so that it can go away alone.
    :param environment: additional environment of Airflow.
    :param api: whether Airflow knows its own REST API (connection ``airflow_api``): the triggerer starts runs by it, and can
        reconcile.
    :param people: who else may log in, see :class:`~demo.airflow_users.AirflowUsers`; the first one is who tests ask as.
    :param pubsub: which Pub/Sub to start, see :func:`provider.emulators.pubsub.choose_pubsub`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        definitions: Path = EXAMPLES / "workflows.yaml",
        scenario: Scenario | None = None,
        services: bool = True,
        postgres: PostgresServer | None = None,
        application_postgres: PostgresServer | None = None,
        environment: Mapping[str, str] | None = None,
        api: bool = False,
        people: Mapping[str, str] | None = None,
        pubsub: Implementation = "auto",
    ) -> None:
        self.home = folder / "airflow"
        self.dags = self.home / "dags"
        files = Databases.in_home(self.home)
        self.airflow_url, self.database_url = files.airflow, files.application
        self._definitions = definitions
        self._services = services
        self._api = api
        self._people = {**(people or {}), **({"ann": "ADMIN", "accelerator": "USER"} if api else {})}
        self._postgres = postgres
        self._application_postgres = application_postgres
        self._environment = dict(environment or {})
        self._stack = ExitStack()
        self.emulators = Emulators(
            scenario or load_scenario(EXAMPLES / "emulators.yaml"), folder=folder / "emulators", pubsub=pubsub
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.emulators)
            environment = {
                **self.emulators.environment(),
                "AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS": SUBSCRIPTION,
                **self._create_databases(),
                **self._environment,
            }
            self.airflow = AirflowServices(self.home, self.dags, environment, people=self._people)
            if self._api:
                self.airflow.set_environment(
                    AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID="airflow_api",
                    AIRFLOW_CONN_AIRFLOW_API=self.airflow.api_connection("accelerator"),
                )
            if self._postgres:
                self.accelerator("db", "upgrade")
            self.accelerator("init", str(self.dags))
            self.imported = self.accelerator("import", str(self._definitions))
            if self._services:
                stack.enter_context(self.airflow)
            else:
                stack.callback(self.airflow.stop)
                self.airflow.migrate()
            self._stack = stack.pop_all()
        return self

    def _create_databases(self) -> Mapping[str, str]:
        if self._postgres is None:
            return {}
        databases = Databases.on_postgres(self.home.parent.name, self._postgres, self._application_postgres)
        self.airflow_url, self.database_url = databases.airflow, databases.application
        return databases.environment

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def accelerator(self, *arguments: str) -> str:
        """
        Run the command-line tool as a person would and return what it prints.

        :raises subprocess.CalledProcessError: it did not end with 0; its output is in the exception's note.
        """
        command = [_accelerator(), *arguments]
        environment = {**self.airflow.environment(), "COLUMNS": str(WIDTH)}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if result.returncode:
            error = subprocess.CalledProcessError(result.returncode, command, result.stdout, result.stderr)
            error.add_note(result.stdout + result.stderr)
            raise error
        return result.stdout

    def accelerator_at_terminal(self, *arguments: str, columns: int) -> str:
        """Run the command-line tool at a terminal and return what it prints, with its colours; see :func:`at_terminal`."""
        return at_terminal([_accelerator(), *arguments], self.airflow.environment(), columns)

    def publish(
        self, *messages: bytes | Mapping[str, Any], topic: str = TOPIC, attributes: Mapping[str, str] | None = None
    ) -> list[str]:
        """Publish with Google's own client, one request a message; return the message ids."""
        return publish_messages(self.emulators.pubsub_host, *messages, topic=topic, attributes=attributes)

    def rows(self, *tables: str) -> list[Rows]:
        """Return the rows of tables of the application database, read in one transaction."""
        from sqlalchemy import select

        from provider.metadata.engine import read_session
        from provider.metadata.tables import Base

        with read_session(self.database_url) as session:
            return [[dict(row) for row in session.execute(select(Base.metadata.tables[table])).mappings()] for table in tables]

    def join(self) -> Join:
        """Join Airflow's task instances with the task logs."""
        return outer_join(self.airflow_url, self.database_url)

    def wait_for_dags(self, dag_ids: Iterable[str]) -> None:
        """Wait until Airflow has all of these DAGs."""
        for dag_id in dag_ids:
            self.airflow.wait_for_dag(dag_id)


def _accelerator() -> str:
    return str(Path(sys.executable).parent / "accelerator")


def publish_messages(
    host: str, *messages: bytes | Mapping[str, Any], topic: str = TOPIC, attributes: Mapping[str, str] | None = None
) -> list[str]:
    """
    Publish with Google's own client, one request a message; return the message ids.

    :param host: address of the emulator.
    :param attributes: of each message.
    """
    import grpc
    from google.pubsub_v1 import PublisherClient, PubsubMessage
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    data = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
    with grpc.insecure_channel(host) as channel:
        client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        answers = [client.publish(topic=topic, messages=[PubsubMessage(data=item, attributes=attributes)]) for item in data]
        return [message_id for answer in answers for message_id in answer.message_ids]
