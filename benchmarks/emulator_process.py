"""
The emulators in a process of their own, so that their work is not counted as that of the measured one.

Their ledger has an entry for each poll, too: :data:`POLL`, with the job as its resource.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

import httpx

from provider.emulators.scenario import Scenario

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

#: The ledger's operation for a call that asks for the state of a job.
POLL = "poll"
#: A refresh is known by its semantic model: no model of the benchmarks has two.
_POLL_OF_REFRESH = re.compile(r"/datasets/([^/]+)/refreshes(?:/[^/]+)?$")
_POLL_OF_INVOCATION = "GetWorkflowInvocation"

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
        self._polls_read = 0

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

    def entries(self, operation: str, after: int = 0) -> list[dict[str, Any]]:
        """Return the ledger's entries of an operation, oldest first, without those up to an entry's ``seq``."""
        asked: dict[str, str | int] = {"operation": operation, "after": after}
        found: list[dict[str, Any]] = self.admin.get("/_emulator/ledger", params=asked).raise_for_status().json()
        return found

    def new_polls(self) -> list[dict[str, Any]]:
        """Return the ledger's entries of the polls since the last call."""
        found = self.entries(POLL, self._polls_read)
        if found:
            self._polls_read = found[-1]["seq"]
        return found

    def jobs(self) -> set[str]:
        """Return what polls call the jobs that have been started: a refresh by its semantic model, an invocation by its name."""
        refreshes = {str(entry["detail"]["datasetId"]) for entry in self.entries("refresh_posted")}
        created = self.entries("create_workflow_invocation")
        return refreshes | {str(entry["resource"]) for entry in created if entry["outcome"] == "ok"}

    def tokens(self) -> int:
        """Return the requests that Entra ID has got so far."""
        return len(self.entries("token"))


class Polls:
    """
    The polls that reach the emulators from now on, job by job; there is one of these at a time.

    :param jobs: those that are waited for; polls of others do not count.
    """

    def __init__(self, emulators: EmulatorProcess, jobs: set[str]) -> None:
        self._emulators = emulators
        self._jobs = jobs
        self._seen: Counter[str] = Counter()
        #: When each job was polled for the first time.
        self.first: dict[str, datetime] = {}
        emulators.new_polls()

    def total(self) -> int:
        """Return how many polls there have been."""
        self._look()
        return self._seen.total()

    def all_polled(self, times: int = 1) -> bool:
        """Whether each of the jobs has been polled so often, by itself."""
        self._look()
        return all(self._seen[job] >= times for job in self._jobs)

    def _look(self) -> None:
        for entry in self._emulators.new_polls():
            if entry["resource"] in self._jobs:
                self._seen[entry["resource"]] += 1
                self.first.setdefault(entry["resource"], datetime.fromisoformat(entry["at"]))


@contextmanager
def _polls_in_the_ledger() -> Iterator[None]:
    """Let the emulators of this process enter each poll in their ledger, which otherwise holds what changes something."""
    from provider.emulators.grpc_server import Behaviour, FaultingCalls
    from provider.emulators.http_server import FaultMiddleware

    serve: Callable[..., Any] = FaultMiddleware.__call__
    unary: Callable[..., Any] = FaultingCalls.unary

    async def serve_and_record(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        found = _POLL_OF_REFRESH.search(scope.get("path", ""))
        if found and scope.get("method") == "GET":
            self._ledger.append("powerbi", POLL, found[1])
        await serve(self, scope, receive, send)

    def unary_and_record(self: FaultingCalls, method: str, request_type: Any, behaviour: Behaviour) -> Any:
        def recorded(request: Any, context: Any) -> Any:
            self.ledger.append("dataform", POLL, request.name)
            return behaviour(request, context)

        return unary(self, method, request_type, recorded if method == _POLL_OF_INVOCATION else behaviour)

    with patch.object(FaultMiddleware, "__call__", serve_and_record), patch.object(FaultingCalls, "unary", unary_and_record):
        yield


def _serve(folder: Path) -> None:
    from provider.emulators.server import Emulators

    scenario = Scenario.model_validate_json(sys.stdin.readline())
    with _polls_in_the_ledger(), Emulators(scenario, folder=folder, pubsub="builtin") as emulators:
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
