"""1,000 jobs that are waited for in one event loop: ours against the Azure provider's trigger, and Dataform's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import deferrals
from benchmarks.deferrals import Stored
from benchmarks.emulator_process import EmulatorProcess, Polls
from benchmarks.jobs import POLL_INTERVAL, scenario
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.powerbi_client import azure_connection
from benchmarks.result import AtMost, Result

WINDOW_SECONDS = 2 * POLL_INTERVAL
SAMPLES = 3
SAMPLES_ALONE = 1
FIRST_POLLS_SECONDS = 180.0

TOKENS = AtMost(1)
CPU_RATIO = AtMost(0.3)
LAG_P99_MS = AtMost(50)


def their_refresh_triggers(emulators: EmulatorProcess) -> list[Stored]:
    """Return the Azure provider's triggers, as Airflow stores them, for the refreshes that run."""
    return [
        (
            "airflow.providers.microsoft.azure.triggers.powerbi.PowerBITrigger",
            {
                "conn_id": "azure_powerbi",
                "group_id": refresh["detail"]["groupId"],
                "dataset_id": refresh["detail"]["datasetId"],
                "dataset_refresh_id": refresh["resource"],
                "check_interval": POLL_INTERVAL,
            },
        )
        for refresh in emulators.entries("refresh_posted")
    ]


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
        self._number = 0

    def sample(self, python: str, triggers: Sequence[Stored], jobs: set[str], *, first_polls: int = 1) -> Sample:
        """
        Let one new process wait, and measure it once each trigger has polled.

        :param jobs: those that the triggers wait for.
        :param first_polls: how many polls each trigger makes before it waits for the first time.
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
        seen_polls, tokens = Polls(self._emulators, jobs), self._emulators.tokens()
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
                waited = self._await(lambda: seen_polls.all_polled(first_polls), process, log)
                tokens = self._emulators.tokens() - tokens
                process.stdin.write("\n")
                process.stdin.flush()
                _expect(process.stdout.readline(), log)
                polls = seen_polls.total()
                seen = _expect(process.stdout.readline(), log)
                polls = seen_polls.total() - polls
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
        environment = {**os.environ, **emulators.environment, "AIRFLOW_HOME": str(folder / "airflow-deferrals")}
        ours = deferrals.started(sys.executable, environment, folder / "deferrals.log")
        theirs = their_refresh_triggers(emulators)
        everything = emulators.jobs()
        refreshes = {str(arguments["dataset_id"]) for _, arguments in theirs}
        waiting = Waiting(emulators, folder)
        seen: dict[str, list[Sample]] = {"ours": [], "azure": []}
        for number in range(SAMPLES):
            for who in ("ours", "azure") if number % 2 == 0 else ("azure", "ours"):
                if who == "ours":
                    seen[who].append(waiting.sample(sys.executable, ours["refreshes"], refreshes))
                else:
                    # Before its first sleep that trigger polls twice.
                    seen[who].append(waiting.sample(str(peers.python), theirs, refreshes, first_polls=2))
        yield from _side_by_side(seen["ours"], seen["azure"])

        invocations = ours["invocations"]
        alone = [waiting.sample(sys.executable, invocations, everything - refreshes) for _ in range(SAMPLES_ALONE)]
        yield from _absolute("dataform_1000", alone, LAG_P99_MS)
        together = [*ours["refreshes"], *invocations]
        both = [waiting.sample(sys.executable, together, everything) for _ in range(SAMPLES_ALONE)]
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
