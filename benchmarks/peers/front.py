"""
The door through which unmodified clients, which know only a vendor's public address, reach an emulator.

Clients are told of a proxy and of a certificate authority by their own standard settings. The proxy accepts
``CONNECT dataform.googleapis.com:443``, ends the TLS with a certificate for that name, and passes the plain bytes on.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 10.0
CHUNK = 65536


class Front:
    """
    Context manager around such a proxy on loopback.

    :param routes: public host name -> ``host:port`` of a server without TLS.
    :param folder: gets the authority's certificate.
    """

    def __init__(self, routes: dict[str, str], folder: Path) -> None:
        import trustme

        self._routes = routes
        authority = trustme.CA(organization_name="Benchmarks of peers")
        self.ca_file = folder / "front-ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._trust: dict[str, ssl.SSLContext] = {}
        for host in routes:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(context)
            context.set_alpn_protocols(["h2", "http/1.1"])
            self._trust[host] = context
        self.connections = 0
        self._port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a gRPC client of the vendor is told."""
        return {"grpc_proxy": f"http://127.0.0.1:{self._port}", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.ca_file)}

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise RuntimeError(f"The proxy did not start within {START_SECONDS:.0f} s.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled is what a connection is that is still open at the end.
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            host = head.split()[1].decode().rpartition(":")[0]
            if host not in self._routes:
                writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            self.connections += 1
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await writer.start_tls(self._trust[host])
            target, _, port = self._routes[host].rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(target, int(port))
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
