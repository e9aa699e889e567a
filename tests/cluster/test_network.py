"""The networks of a cluster's machines let through what they are to, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.airflow_services import free_port
from tests.cluster import relay
from tests.cluster.network import Network, can_be_had

needs_networks = pytest.mark.skipif(not can_be_had(), reason="networks of one's own need root, unshare and nsenter")

_ANSWER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    while True:
        visitor, _ = server.accept()
        visitor.sendall(visitor.recv(100).upper())
        visitor.close()
"""
_ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as host:
    host.sendall(b"hello")
    print(host.recv(100).decode())
"""


class Services:
    """Three ports: one served outside, one by machine ``a``; nobody may reach the third."""

    def __init__(self) -> None:
        self.outside, self.of_a, self.closed = free_port(), free_port(), free_port()


@pytest.fixture(scope="module")
def services() -> Services:
    return Services()


@pytest.fixture(scope="module")
def network(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    folder = tmp_path_factory.mktemp("network") / "sockets"
    with Network(folder, ["a", "b"], {services.outside: None, services.of_a: "a"}) as network:
        servers = [
            subprocess.Popen([*command, sys.executable, "-c", _ANSWER, str(port)], stdout=subprocess.PIPE)
            for command, port in (([], services.outside), ([], services.closed), (network.command("a"), services.of_a))
        ]
        for server in servers:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        yield network
        for server in servers:
            server.kill()
            server.communicate()


def ask(command: list[str], port: int) -> str:
    """Return what a service says to somebody in a network, or the error."""
    asked = subprocess.run([*command, sys.executable, "-c", _ASK, str(port)], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else asked.stderr.splitlines()[-1].partition(":")[0]


@needs_networks
@pytest.mark.parametrize("machine", ["a", "b"])
def test_what_a_machine_reaches(network: Network, services: Services, machine: str) -> None:
    command = network.command(machine)
    said = [ask(command, port) for port in (services.outside, services.of_a, services.closed)]
    assert said == ["HELLO", "HELLO", "ConnectionRefusedError"]


@needs_networks
def test_what_is_reached_from_outside(network: Network, services: Services) -> None:
    assert [ask([], port) for port in (services.outside, services.of_a, services.closed)] == ["HELLO"] * 3


@needs_networks
def test_whoever_asks_for_what_is_away_is_turned_away(tmp_path: Path) -> None:
    port = free_port()
    with Network(tmp_path / "sockets", ["a", "b"], {port: "a"}) as network:
        assert ask(network.command("b"), port) in ("", "ConnectionResetError")


def test_whoever_has_said_all_gets_his_answer() -> None:
    """Garbage is collected meanwhile, and asyncio alone would count the connection to it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read(-1)
        gc.collect()
        writer.write(question.upper())
        writer.close()

    async def ask_through_a_relay() -> bytes:
        entrance, exit_ = free_port(), free_port()
        async with await asyncio.start_server(answer, "127.0.0.1", exit_), await relay.serve(f"{entrance}={exit_}"):
            reader, writer = await asyncio.open_connection("127.0.0.1", entrance)
            writer.write(b"hello")
            writer.write_eof()
            try:
                return await asyncio.wait_for(reader.read(-1), 30)
            finally:
                writer.close()

    assert asyncio.run(ask_through_a_relay()) == b"HELLO"
