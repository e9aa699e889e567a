"""
Lets connections through between a network and sockets in a folder, which all networks of this machine have in common.

Run as a script, in the network of a machine: ``relay.py 6379=/folder/broker /folder/api=8080`` listens on port 6379 for what
whoever listens on ``/folder/broker`` is to get, and hands on to its own port 8080 what comes to ``/folder/api``. It says
``ready`` once it listens on everything, and ends with its standard input. ``--new`` comes first in a network that is new.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
from collections.abc import Awaitable, Callable

_LOOPBACK = "127.0.0.1"
_SET_FLAGS, _UP = 0x8914, 0x41  # SIOCSIFFLAGS; IFF_UP | IFF_RUNNING

#: asyncio refers weakly to who reads a stream: a connection of which one side has said all could be collected as garbage.
_COMING: set[asyncio.Task[None]] = set()

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def switch_loopback_on() -> None:
    """Do what ``ip link set lo up`` does, a program that not every machine has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP))


async def serve(passage: str) -> asyncio.Server:
    """Listen on what stands left of the sign, and connect whoever comes with what stands right of it."""
    here, _, there = passage.partition("=")

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        _COMING.add(task)
        try:
            await _hand_on((reader, writer), lambda: _connect(there))
        finally:
            _COMING.discard(task)

    if here.isdigit():
        return await asyncio.start_server(come, _LOOPBACK, int(here))
    return await asyncio.start_unix_server(come, here)


async def _connect(address: str) -> Streams:
    if address.isdigit():
        return await asyncio.open_connection(_LOOPBACK, int(address))
    return await asyncio.open_unix_connection(address)


async def _hand_on(visitor: Streams, connect: Callable[[], Awaitable[Streams]]) -> None:
    """Copy both ways until both sides have said all; where nobody answers, the visitor is turned away."""
    with contextlib.suppress(OSError):
        try:
            host = await connect()
            try:
                await asyncio.gather(_copy(visitor[0], host[1]), _copy(host[0], visitor[1]))
            finally:
                host[1].close()
        finally:
            visitor[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _main(passages: list[str]) -> None:
    servers = [await serve(passage) for passage in passages]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    if sys.argv[1] == "--new":
        switch_loopback_on()
    asyncio.run(_main([one for one in sys.argv[1:] if one != "--new"]))
