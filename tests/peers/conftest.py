from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.environment import PeersEnvironment
from benchmarks.peers.front import Front
from benchmarks.peers.scenario import environment, run_task
from provider.emulators.ledger import Ledger
from provider.emulators.scenario import Scenario
from provider.emulators.server import Emulators

SECONDS = 120.0


@pytest.fixture(scope="session")
def peers() -> PeersEnvironment:
    """The peers' environment; where uv cannot make it, the test fails."""
    return PeersEnvironment().ensure()


@dataclass
class Client:
    """
    An unmodified client in a process of its own, and the service it speaks to.

    :param python: the environment it runs in.
    """

    emulators: Emulators
    front: Front
    folder: Path
    python: str = sys.executable

    @property
    def ledger(self) -> Ledger:
        return self.emulators.ledger

    @property
    def variables(self) -> dict[str, str]:
        return environment(self.emulators, self.front) | {"AIRFLOW_HOME": str(self.folder / "airflow")}

    def operator(self, path: str, **arguments: Any) -> dict[str, Any]:
        """Run one operator as a task."""
        order = {"operator": path, "arguments": arguments, "admin_url": self.emulators.admin_url}
        return run_task(self.python, order, self.variables, log=self.folder / "task.log")

    def script(self, *arguments: str) -> Any:
        """Run a script, and return the JSON of its last line."""
        process = subprocess.run(
            [self.python, *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, **self.variables},
        )
        assert process.returncode == 0, process.stderr[-4000:]
        return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Start emulators for a scenario, and a front by which clients that know only public addresses reach them."""
    with ExitStack() as stack:

        def begin(scenario: dict[str, Any], python: Path | str = sys.executable) -> Client:
            emulators = Emulators(Scenario.model_validate(scenario), folder=tmp_path / "emulators", pubsub="builtin")
            stack.enter_context(emulators)
            routes = {"dataform.googleapis.com": emulators.dataform_endpoint.removeprefix("http://")}
            return Client(emulators, stack.enter_context(Front(routes, tmp_path)), tmp_path, str(python))

        yield begin
