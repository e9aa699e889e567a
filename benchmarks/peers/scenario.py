"""One scenario, run by the peer's operator and by ours against emulators of its own, and judged alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.emulator_process import counting_rule
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.peers.front import Front
from benchmarks.powerbi_client import azure_connection
from provider.emulators.ledger import Entry
from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario as CloudScenario
from provider.emulators.server import Emulators

#: Seconds after which a task that has not ended is a finding of its own.
TASK_SECONDS = 150.0
WORDS = 260
_UNFINISHED: dict[str, Any] = {"outcome": "running", "result": None, "xcoms": {}, "deferrals": 0, "tries": 0}


@dataclass(frozen=True)
class Seen:
    """
    What a task did.

    :param calls: how many calls the scenario's ``counted`` matched.
    :param connections: how many connections were made to the vendor's public address.
    """

    outcome: str
    error: str
    result: Any
    xcoms: dict[str, Any]
    deferrals: int
    tries: int
    ledger: list[Entry]
    calls: int
    connections: int

    def count(self, operation: str) -> int:
        """Return how often something happened at the service."""
        return sum(entry.operation == operation and entry.outcome == "ok" for entry in self.ledger)

    @property
    def ending(self) -> str:
        """The end of the task in a line."""
        return f"{self.outcome}: {self.error}" if self.error else self.outcome


@dataclass(frozen=True)
class Verdict:
    """
    A judgement of what was seen.

    :param good: whether the task did what a user needs.
    :param seen: the facts, in a line.
    """

    good: bool
    seen: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data, in one line of bounded length."""
        line = " ".join(self.seen.split())
        return {"good": self.good, "seen": line if len(line) <= WORDS else f"{line[:WORDS]}…"}


@dataclass(frozen=True)
class PeerScenario:
    """
    A defect of a peer and the situation that shows it.

    :param peer: distribution and operator.
    :param cloud: what the emulators know.
    :param theirs: order for :mod:`benchmarks.peers.one_task`.
    :param ours: the same for our operator.
    :param judge: says from ledger and outcome alone whether a task did well; the same function for both.
    :param counted: service and pattern of the calls to count.
    :param before: what has happened at the service when the task begins.
    :param meanwhile: what happens at the service while the task runs.
    """

    name: str
    peer: str
    cloud: dict[str, Any]
    theirs: dict[str, Any]
    ours: dict[str, Any]
    judge: Callable[[Seen], Verdict]
    rules: list[dict[str, Any]] = field(default_factory=list)
    counted: tuple[str, str] = ("powerbi", "*")
    before: Callable[[Emulators], None] | None = None
    meanwhile: Callable[[Emulators], None] | None = None

    def run(self, folder: Path, peers: PeersEnvironment) -> dict[str, Any]:
        """Run both sides; returns the row of the table."""
        folder.mkdir(parents=True)
        theirs = self.judge(self._side(folder / "theirs", str(peers.python), self.theirs))
        ours = self.judge(self._side(folder / "ours", sys.executable, self.ours))
        return {"scenario": self.name, "peer": self.peer, "theirs": theirs.as_json(), "ours": ours.as_json()}

    def _side(self, folder: Path, python: str, order: dict[str, Any]) -> Seen:
        folder.mkdir()
        with ExitStack() as stack:
            cloud = CloudScenario.model_validate({**self.cloud, "rules": self.rules})
            emulators = stack.enter_context(Emulators(cloud, folder=folder / "emulators", pubsub="builtin"))
            endpoint = emulators.dataform_endpoint.removeprefix("http://")
            front = stack.enter_context(Front({"dataform.googleapis.com": endpoint}, folder))
            counter = emulators.rules.add(Rule.model_validate(counting_rule(*self.counted)))
            if self.before:
                self.before(emulators)
            if self.meanwhile:
                threading.Thread(target=self.meanwhile, args=(emulators,), daemon=True).start()
            told = run_task(
                python,
                {**order, "admin_url": emulators.admin_url},
                environment(emulators, front) | {"AIRFLOW_HOME": str(folder / "airflow")},
                log=folder / "task.log",
            )
            seen = next(rule["seen"] for rule in emulators.rules.describe() if rule["id"] == counter)
            return Seen(**told, ledger=emulators.ledger.entries(), calls=seen, connections=front.connections)


def environment(emulators: Emulators, front: Front) -> dict[str, str]:
    """Return the variables by which unmodified clients of both vendors reach the emulators."""
    google = json.loads(emulators.environment()["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    google["extra"].pop("dataform_endpoint")  # the public address, by way of the front, as the peer has no such setting
    return {
        **emulators.environment(),
        **azure_connection(emulators.environment()),
        **front.environment,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(google),
    }


def run_task(python: str, order: Mapping[str, Any], variables: Mapping[str, str], *, log: Path) -> dict[str, Any]:
    """
    Run one task in a process of its own.

    :raises RuntimeError: the process ended without an answer.
    """
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - of this folder's own making
            [python, "-m", "benchmarks.peers.one_task"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **variables},
        )
        try:
            answer, _ = process.communicate(json.dumps(order), timeout=TASK_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {**_UNFINISHED, "error": f"no end in {TASK_SECONDS:.0f} s"}
    if not answer:
        raise RuntimeError(f"The task gave no answer: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}")
    told: dict[str, Any] = json.loads(answer)
    return told
