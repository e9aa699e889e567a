"""
Local servers of Cloud Storage and BigQuery for tests: gcp-storage-emulator and bqemulator, processes with a Python of their own.

They are installed once, with the versions in ``google_servers.txt``, into ``.venv-servers`` beside the project's own virtual
environment, as their pins do not go together with Airflow's. Google's clients reach them by the environment variables that they
honour themselves, ``STORAGE_EMULATOR_HOST`` and ``BIGQUERY_EMULATOR_HOST``, through a :class:`~tests.gate.Gate` each.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.airflow_services import free_port
from demo.pinned_environment import PinnedEnvironment
from tests.bigquery_front import BigQueryFront
from tests.gate import Gate

PROJECT = "demo-project"
LOCATION = "europe-west3"
START_SECONDS = 60.0


def _install_extension(servers: PinnedEnvironment) -> None:
    """Put DuckDB's extension where bqemulator looks for it; it would otherwise come from the network at its start."""
    install = "from duckdb_extensions import import_extension; import_extension('spatial')"
    environment = {**os.environ, "HOME": str(servers.folder)}
    subprocess.run([str(servers.python), "-c", install], check=True, env=environment)


SERVERS = PinnedEnvironment(".venv-servers", Path(__file__).with_name("google_servers.txt"), _install_extension)


class GoogleServers:
    """
    Both servers, empty; context manager.

    :param folder: gets their logs, and the files that load jobs read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        files = self._folder / "files"
        files.mkdir()
        with ExitStack() as stack:
            storage, bigquery = free_port(), free_port()
            # In memory: on disk the first cannot have both an object "in/" and one in it.
            self._spawn(stack, storage, "gcp-storage-emulator", "start", "--in-memory", "--host=127.0.0.1", f"--port={storage}")
            environment = {"BQEMU_GCS_LOCAL_ROOT": str(files), "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false"}
            self._spawn(
                stack, bigquery, "bqemulator", "start", f"--rest-port={bigquery}", "--grpc-port=0", environment=environment
            )
            self.storage = Gate(f"http://127.0.0.1:{storage}")
            self.bigquery = BigQueryFront(f"http://127.0.0.1:{bigquery}", storage=self.storage.upstream, files=files)
            for gate in (self.storage, self.bigquery):
                gate.start()
                stack.callback(gate.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def hosts(self) -> dict[str, str]:
        """Return the environment variables by which Google's clients reach the servers."""
        return {"STORAGE_EMULATOR_HOST": self.storage.url, "BIGQUERY_EMULATOR_HOST": self.bigquery.url}

    def environment(self) -> dict[str, str]:
        """Return :meth:`hosts`, and Airflow's connection."""
        connection = {"conn_type": "google_cloud_platform", "extra": {"project": PROJECT, "is_anonymous": True}}
        return {**self.hosts(), "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection)}

    def _spawn(
        self, stack: ExitStack, port: int, program: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        log = stack.enter_context((self._folder / f"{program}.log").open("wb"))
        command = [str(SERVERS.ensure().python.with_name(program)), *arguments]
        process = subprocess.Popen(
            command, env={**os.environ, "HOME": str(SERVERS.folder), **(environment or {})}, stdout=log, stderr=subprocess.STDOUT
        )
        stack.callback(_end, process)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{program} does not answer:\n{Path(log.name).read_text(errors='replace')}")
            time.sleep(0.05)

    # What tests put in and look at, past gate and front.

    def storage_client(self) -> Any:
        """Return Google's client of the Cloud Storage server."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": self.storage.upstream})

    def put(self, bucket: str, objects: Mapping[str, str]) -> None:
        """Make a bucket, unless there is one, and put objects into it."""
        client = self.storage_client()
        if not client.bucket(bucket).exists():
            client.create_bucket(bucket)
        for name, text in objects.items():
            client.bucket(bucket).blob(name).upload_from_string(text)

    def names(self, bucket: str) -> list[str]:
        """Return the names of a bucket's objects."""
        return sorted(blob.name for blob in self.storage_client().list_blobs(bucket))

    def bigquery_client(self) -> Any:
        """Return Google's client of the BigQuery server."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.bigquery import Client

        return Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": self.bigquery.upstream})

    def select(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        return [dict(row.items()) for row in self.bigquery_client().query(sql).result()]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
