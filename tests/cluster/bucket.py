"""The bucket with the DAG files, and what brings them to the machines."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tests.cluster.machine import Machine

if TYPE_CHECKING:
    from tests.google_servers import GoogleServers

_FOLDER = "dags/"


class Bucket:
    """
    A bucket whose folder ``dags/`` is copied to machines, again and again, as on Cloud Composer; context manager.

    :param servers: where it is.
    :param machines: those that get DAG files.
    :param every: seconds between two copies.
    """

    def __init__(self, name: str, servers: GoogleServers, machines: Iterable[Machine], every: float = 1.0) -> None:
        self.name = name
        self._client: Any = servers.storage_client()
        self._bucket = self._client.create_bucket(name)
        self._machines = tuple(machines)
        self._every = every
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._synchronise, name="bucket", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._enough.set()
        self._thread.join(60)

    def copy(self, files: Iterable[Path], folder: str) -> None:
        """Do what ``gcloud storage cp`` does."""
        for file in files:
            self._bucket.blob(f"{folder}{file.name}").upload_from_filename(str(file))

    def _synchronise(self) -> None:
        while not self._enough.wait(self._every):
            blobs = self._client.list_blobs(self.name, prefix=_FOLDER)
            files = {blob.name.removeprefix(_FOLDER): blob.download_as_bytes() for blob in blobs}
            for machine in self._machines:
                machine.receive(files)
