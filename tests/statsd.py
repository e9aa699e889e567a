"""A StatsD server that remembers what it was told."""

from __future__ import annotations

import socketserver
import threading
from types import TracebackType
from typing import Self


class StatsD:
    """Context manager around a server on a free UDP port; ``values`` has the last one of each metric, as it was sent."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        values = self.values

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                for line in bytes(self.request[0]).decode().splitlines():
                    name, _, value = line.partition(":")
                    values[name] = value

        self._server = socketserver.UDPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="statsd", daemon=True)

    def environment(self) -> dict[str, str]:
        """Return the settings by which Airflow sends its metrics here."""
        host, port = self._server.server_address[:2]
        options = {"STATSD_ON": "True", "STATSD_HOST": str(host), "STATSD_PORT": str(port)}
        return {f"AIRFLOW__METRICS__{name}": value for name, value in options.items()}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
