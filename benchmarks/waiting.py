"""1,000 jobs that are waited for in one event loop: ours against the Azure provider's trigger, and Dataform's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.emulator_process import CallCounts, EmulatorProcess
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.powerbi_client import azure_connection, signed_in
from benchmarks.result import AtMost, Result

JOBS = 1000
POLL_INTERVAL = 10
WINDOW_SECONDS = 2 * POLL_INTERVAL
SAMPLES = 3
SAMPLES_ALONE = 1
FIRST_POLLS_SECONDS = 180.0

TOKENS = AtMost(1)
CPU_RATIO = AtMost(0.3)
LAG_P99_MS = AtMost(50)

# The emulator finds a model by going through its workspace: keep workspaces of a natural size.
MODELS_PER_WORKSPACE = 50
REPOSITORY = "projects/demo-project/locations/europe-west3/repositories/sales"
HOURS = 36000.0

Stored = tuple[str, dict[str, Any]]


def scenario() -> dict[str, Any]:
    """Return as many semantic models as there are jobs, and a repository; nothing ends while it is measured."""
    names = [f"model {number}" for number in range(JOBS)]
    workspaces = [
        {
            "name": f"workspace {start}",
            "semantic_models": [
                # The Azure provider finds the id of a refresh nowhere but in this header.
                {"name": name, "id": str(uuid.uuid4()), "seconds": HOURS, "refresh_id_headers": ["location", "RequestId"]}
                for name in names[start : start + MODELS_PER_WORKSPACE]
            ],
        }
        for start in range(0, JOBS, MODELS_PER_WORKSPACE)
    ]
    action = {"target": {"name": "orders"}, "seconds": HOURS}
    return {"powerbi": {"workspaces": workspaces}, "dataform": {"repositories": {REPOSITORY: {"actions": [action]}}}}


@dataclass(frozen=True)
class Running:
    """A refresh that runs: where, and its id."""

    group_id: str
    dataset_id: str
    refresh_id: str


def start_refreshes(emulators: EmulatorProcess) -> list[Running]:
    """Start an enhanced refresh of every model of the scenario."""
    started = []
    with signed_in(emulators.environment, emulators.ca_file) as client:
        for group in client.get("groups").raise_for_status().json()["value"]:
            for model in client.get(f"groups/{group['id']}/datasets").raise_for_status().json()["value"]:
                url = f"groups/{group['id']}/datasets/{model['id']}/refreshes"
                refresh = client.post(url, json={"type": "full"}).raise_for_status().headers["RequestId"]
                started.append(Running(group["id"], model["id"], refresh))
    return started


def start_invocations(emulators: EmulatorProcess) -> list[str]:
    """Start as many invocations as there are jobs; returns their names."""
    import grpc
    from google.cloud.dataform_v1 import DataformClient
    from google.cloud.dataform_v1.services.dataform.transports import DataformGrpcTransport

    with grpc.insecure_channel(emulators.dataform_endpoint.removeprefix("http://")) as channel:
        client = DataformClient(transport=DataformGrpcTransport(channel=channel))
        compiled = client.create_compilation_result(
            request={"parent": REPOSITORY, "compilation_result": {"git_commitish": "main"}}
        ).name
        wanted = {"parent": REPOSITORY, "workflow_invocation": {"compilation_result": compiled}}
        return [str(client.create_workflow_invocation(request=wanted).name) for _ in range(JOBS)]


def our_refresh_triggers(refreshes: Sequence[Running]) -> list[Stored]:
    """Return our triggers as Airflow stores them."""
    from provider.hooks.powerbi_refresh import SemanticModel
    from provider.triggers.powerbi import PowerBIRefreshTrigger

    return [
        PowerBIRefreshTrigger(
            job=SemanticModel(refresh.group_id, refresh.dataset_id, "https://app.powerbi.com").job(
                refresh.refresh_id, enhanced=True
            ),
            powerbi_conn_id="powerbi_default",
            **_WAITING,
        ).serialize()
        for refresh in refreshes
    ]


def their_refresh_triggers(refreshes: Sequence[Running]) -> list[Stored]:
    """Return the Azure provider's triggers as Airflow stores them."""
    return [
        (
            "airflow.providers.microsoft.azure.triggers.powerbi.PowerBITrigger",
            {
                "conn_id": "azure_powerbi",
                "group_id": refresh.group_id,
                "dataset_id": refresh.dataset_id,
                "dataset_refresh_id": refresh.refresh_id,
                "check_interval": POLL_INTERVAL,
            },
        )
        for refresh in refreshes
    ]


def our_invocation_triggers(names: Sequence[str]) -> list[Stored]:
    """Return our triggers as Airflow stores them."""
    from provider.hooks.dataform_status import job
    from provider.triggers.dataform import DataformInvocationTrigger

    return [DataformInvocationTrigger(job=job(name), **_WAITING).serialize() for name in names]


_WAITING: dict[str, Any] = {
    "poll_interval": POLL_INTERVAL,
    "deadline": None,
    "cancel_on_kill": True,
    "http_timeout": 30.0,
}


@dataclass(frozen=True)
class Sample:
    """What one process was seen to do in the window, and before it."""

    polls: int
    tokens: int
    first_polls_seconds: float
    cpu_seconds: float
    start_cpu_seconds: float
    lag_ms: dict[str, float]
    start_lag_ms: dict[str, float]
    memory_mib: float

    @property
    def cpu_ms_per_poll(self) -> float:
        """CPU milliseconds of one poll."""
        return self.cpu_seconds * 1000 / self.polls


class Waiting:
    """
    Measures processes that wait.

    :param emulators: where the jobs run.
    :param folder: for homes and logs.
    """

    def __init__(self, emulators: EmulatorProcess, folder: Path) -> None:
        self._emulators = emulators
        self._folder = folder
        self._calls = CallCounts(emulators)
        self._number = 0

    def sample(self, python: str, triggers: Sequence[Stored], *, first_polls: int) -> Sample:
        """
        Let one new process wait, and measure it once each trigger has polled.

        :param first_polls: how many polls all triggers together make before they wait for the first time.
        """
        self._number += 1
        log = self._folder / f"waiting-{self._number}.log"
        home = self._folder / f"airflow-{self._number}"
        environment = {
            **os.environ,
            **self._emulators.environment,
            **azure_connection(self._emulators.environment),
            "AIRFLOW_HOME": str(home),
        }
        polls, tokens = self._calls.polls(), self._calls.tokens()
        process = subprocess.Popen(  # noqa: S603 - of this file's own making
            [python, "-m", "benchmarks.waiting_process", str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            try:
                process.stdin.write(json.dumps({"triggers": triggers, "seconds": WINDOW_SECONDS}) + "\n")
                process.stdin.flush()
                _expect(process.stdout.readline(), log)
                waited = self._await(lambda: self._calls.polls() - polls >= first_polls, process, log)
                tokens = self._calls.tokens() - tokens
                process.stdin.write("\n")
                process.stdin.flush()
                _expect(process.stdout.readline(), log)
                polls = self._calls.polls()
                seen = _expect(process.stdout.readline(), log)
                polls = self._calls.polls() - polls
            finally:
                process.kill()
        seen.pop("wall_seconds")
        return Sample(polls=polls, tokens=tokens, first_polls_seconds=waited, **seen)

    @staticmethod
    def _await(done: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> float:
        begun = time.monotonic()
        while not done():
            if process.poll() is not None or time.monotonic() - begun > FIRST_POLLS_SECONDS:
                raise RuntimeError(f"The triggers did not poll within {FIRST_POLLS_SECONDS:.0f} s; see {log}:\n{_tail(log)}")
            time.sleep(0.1)
        return time.monotonic() - begun


def _expect(line: str, log: Path) -> Any:
    if not line:
        raise RuntimeError(f"The waiting process has ended; see {log}:\n{_tail(log)}")
    return json.loads(line)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else ""


def run(folder: Path, peers: PeersEnvironment) -> Iterator[Result]:
    """Yield the figures of waiting: side by side in turns, then ours alone."""
    with EmulatorProcess(scenario(), folder / "emulators") as emulators:
        refreshes = start_refreshes(emulators)
        ours, theirs = our_refresh_triggers(refreshes), their_refresh_triggers(refreshes)
        waiting = Waiting(emulators, folder)
        seen: dict[str, list[Sample]] = {"ours": [], "azure": []}
        for number in range(SAMPLES):
            for who in ("ours", "azure") if number % 2 == 0 else ("azure", "ours"):
                if who == "ours":
                    seen[who].append(waiting.sample(sys.executable, ours, first_polls=JOBS))
                else:
                    # Before its first sleep that trigger polls twice.
                    seen[who].append(waiting.sample(str(peers.python), theirs, first_polls=2 * JOBS))
        yield from _side_by_side(seen["ours"], seen["azure"])

        invocations = our_invocation_triggers(start_invocations(emulators))
        alone = [waiting.sample(sys.executable, invocations, first_polls=JOBS) for _ in range(SAMPLES_ALONE)]
        yield from _absolute("dataform_1000", alone, LAG_P99_MS)
        both = [waiting.sample(sys.executable, [*ours, *invocations], first_polls=2 * JOBS) for _ in range(SAMPLES_ALONE)]
        yield Result("powerbi_1000_and_dataform_1000.token_requests", "requests", [item.tokens for item in both], TOKENS)
        yield from _absolute("powerbi_1000_and_dataform_1000", both, LAG_P99_MS)


def _side_by_side(ours: Sequence[Sample], azure: Sequence[Sample]) -> Iterator[Result]:
    yield Result("powerbi_1000.ours.token_requests", "requests", [item.tokens for item in ours], TOKENS)
    yield Result("powerbi_1000.azure.token_requests", "requests", [item.tokens for item in azure])
    yield from _absolute("powerbi_1000.ours", ours, LAG_P99_MS)
    yield from _absolute("powerbi_1000.azure", azure, None)
    pairs = list(zip(ours, azure, strict=True))
    cpu = [mine.cpu_seconds / theirs.cpu_seconds for mine, theirs in pairs]
    yield Result("powerbi_1000.cpu_ratio", "ours / azure", cpu, CPU_RATIO)
    per_poll = [mine.cpu_ms_per_poll / theirs.cpu_ms_per_poll for mine, theirs in pairs]
    yield Result("powerbi_1000.cpu_ratio_per_poll", "ours / azure", per_poll, CPU_RATIO)


def _absolute(name: str, samples: Sequence[Sample], lag_goal: AtMost | None) -> Iterator[Result]:
    yield Result(f"{name}.polls", f"calls in {WINDOW_SECONDS} s", [item.polls for item in samples])
    yield Result(f"{name}.cpu_seconds", f"s in {WINDOW_SECONDS} s", [item.cpu_seconds for item in samples])
    yield Result(f"{name}.cpu_per_poll", "ms", [item.cpu_ms_per_poll for item in samples])
    yield Result(f"{name}.lag_p50", "ms", [item.lag_ms["p50"] for item in samples])
    yield Result(f"{name}.lag_p99", "ms", [item.lag_ms["p99"] for item in samples], lag_goal)
    yield Result(f"{name}.lag_max", "ms", [item.lag_ms["max"] for item in samples])
    yield Result(f"{name}.start.lag_p99", "ms", [item.start_lag_ms["p99"] for item in samples])
    yield Result(f"{name}.start.lag_max", "ms", [item.start_lag_ms["max"] for item in samples])
    yield Result(f"{name}.start.cpu_seconds", "s", [item.start_cpu_seconds for item in samples])
    yield Result(f"{name}.start.first_polls", "s", [item.first_polls_seconds for item in samples])
    yield Result(f"{name}.memory", "MiB", [item.memory_mib for item in samples])
