"""Networks of the machines of a cluster: each has its own loopback, on which there is nothing but what it is given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

_RELAY = Path(__file__).with_name("relay.py")


@cache
def can_be_had() -> bool:
    """Tell whether whoever runs this may make networks."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("nsenter")):
        return False
    return subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


class Network:
    """
    The networks of some machines; context manager.

    A machine is reached, and reaches others, at the ports of its loopback that are let through, as a firewall would, so that
    addresses are the same everywhere. Nothing else is there: no service of another machine, and none of whoever runs this.

    :param folder: of whoever runs this alone; gets the sockets by which the networks are connected.
    :param services: port → the machine that serves it; None for whoever runs this.
    """

    def __init__(self, folder: Path, machines: Iterable[str], services: Mapping[int, str | None]) -> None:
        self._folder = folder
        self._machines = tuple(machines)
        self._services = services
        self._relays: dict[str | None, subprocess.Popen[str]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700)
        with ExitStack() as stack:
            for one in (*self._machines, None):
                self._relays[one] = stack.enter_context(self._relay(one))
                stack.callback(self._relays[one].terminate)
            for one, relay in self._relays.items():
                assert relay.stdout is not None
                assert relay.stdout.readline() == "ready\n", f"the network of {one or 'whoever runs this'} is not there"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def command(self, machine: str) -> list[str]:
        """Return what a command begins with that shall run in the network of a machine."""
        return ["nsenter", f"--net=/proc/{self._relays[machine].pid}/ns/net", "--"]

    def _relay(self, one: str | None) -> subprocess.Popen[str]:
        """Start what connects a network with all others."""
        passages = [
            f"{self._folder / str(port)}={port}" if owner == one else f"{port}={self._folder / str(port)}"
            for port, owner in self._services.items()
        ]
        command = [sys.executable, "-I", str(_RELAY)]
        command = [*command, *passages] if one is None else ["unshare", "--net", *command, "--new", *passages]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
