"""The emulators in a process of their own, so that their work is not counted as that of the measured one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from provider.emulators.scenario import Scenario

#: A rule that hits so late only counts.
_NEVER = 10**9


def counting_rule(service: str, match: str) -> dict[str, Any]:
    """Return a fault rule that does nothing but count the calls that match."""
    return {"service": service, "match": match, "fault": "drop", "nth": _NEVER}


class EmulatorProcess:
    """
    Context manager around a process with all emulators.

    :param scenario: what they know, as plain data.
    :param folder: for their files.
    """

    admin: httpx.Client
    environment: dict[str, str]
    powerbi_url: str
    authority: str
    ca_file: str
    dataform_endpoint: str

    def __init__(self, scenario: dict[str, Any], folder: Path) -> None:
        self._folder = folder
        self._scenario = json.dumps(Scenario.model_validate(scenario).model_dump(mode="json", by_alias=True))
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.emulator_process", str(self._folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._scenario + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The emulators did not start (exit status {self._process.wait()}); their output says why.")
        told = json.loads(line)
        self.admin = httpx.Client(base_url=told.pop("admin_url"), timeout=60.0, trust_env=False)
        vars(self).update(told)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        assert self._process is not None
        self.admin.close()
        assert self._process.stdin is not None
        self._process.stdin.close()  # the process ends with its standard input, and so with us
        self._process.wait()

    def count_calls(self, service: str, match: str) -> int:
        """Begin to count the calls that match, and return the id of the counter."""
        return int(self.admin.post("/_emulator/rules", json=counting_rule(service, match)).raise_for_status().json()["id"])

    def counted(self, counter: int) -> int:
        """Return how many calls a counter has seen."""
        rules = self.admin.get("/_emulator/rules").raise_for_status().json()
        return int(next(rule["seen"] for rule in rules if rule["id"] == counter))


class CallCounts:
    """How many polls and how many requests for a token the emulators have seen so far."""

    def __init__(self, emulators: EmulatorProcess) -> None:
        self._emulators = emulators
        self._counters = [emulators.count_calls("powerbi", "GET *"), emulators.count_calls("dataform", "*")]

    def polls(self) -> int:
        """Return the calls that ask for the state of a job."""
        return sum(self._emulators.counted(counter) for counter in self._counters)

    def tokens(self) -> int:
        """Return the requests that Entra ID has got."""
        entries = self._emulators.admin.get("/_emulator/ledger", params={"service": "entra", "operation": "token"})
        return len(entries.raise_for_status().json())


def _serve(folder: Path) -> None:
    from provider.emulators.server import Emulators

    scenario = Scenario.model_validate_json(sys.stdin.readline())
    with Emulators(scenario, folder=folder, pubsub="builtin") as emulators:
        told = {
            "admin_url": emulators.admin_url,
            "environment": emulators.environment(),
            "powerbi_url": emulators.powerbi_url,
            "authority": emulators.authority,
            "ca_file": str(emulators.ca_file),
            "dataform_endpoint": emulators.dataform_endpoint,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
