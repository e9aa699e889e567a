"""An Airflow of some checkout in which 2,000 task instances wait, and what its triggerer is seen to do for them."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import psutil

from benchmarks import deferrals
from benchmarks.checkout import Checkout
from benchmarks.emulator_process import EmulatorProcess, Polls
from benchmarks.jobs import JOBS
from benchmarks.lone_triggerer import LoneTriggerer

WAITING_DAG = Path(__file__).with_name("waiting_dag.py")
#: One refresh and one invocation for each.
TRIGGERS = 2 * JOBS
#: Seconds that are measured once all have polled.
WINDOW_SECONDS = 60.0

_BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
_CONNECTION = "AIRFLOW_CONN_"
_STARTED_SECONDS = 1800.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Reading:
    """What the processes of a triggerer have done so far."""

    polls: int
    supervisor_cpu: float
    runner_cpu: float
    frames: Counter[str]
    blocked: list[float]


@dataclass(frozen=True)
class Period:
    """
    What a triggerer did between two readings.

    :param frames: that its supervisor handled, by the name of their message.
    :param blocked: seconds for which its event loop was blocked, one by one, by its own log.
    """

    polls: int
    supervisor_cpu: float
    runner_cpu: float
    frames: Counter[str]
    blocked: list[float]

    @classmethod
    def between(cls, first: Reading, second: Reading) -> Self:
        """Return the difference."""
        return cls(
            polls=second.polls - first.polls,
            supervisor_cpu=second.supervisor_cpu - first.supervisor_cpu,
            runner_cpu=second.runner_cpu - first.runner_cpu,
            frames=second.frames - first.frames,
            blocked=second.blocked[len(first.blocked) :],
        )

    @property
    def cpu(self) -> float:
        """CPU seconds of both processes."""
        return self.supervisor_cpu + self.runner_cpu


@dataclass(frozen=True)
class Sample:
    """
    What one triggerer was seen to do.

    :param first_seconds: from its start until a job was polled.
    :param start_seconds: from its start until each of the jobs had been polled once.
    :param start: until then.
    :param window: after it.
    """

    first_seconds: float
    start_seconds: float
    start: Period
    window: Period
    tokens: int
    memory_mib: float


class WaitingTriggerer:
    """
    A triggerer for 2,000 jobs that run.

    :param checkout: whose code it runs.
    :param folder: for its home; must not exist.
    :param database: URL of an empty one.
    """

    def __init__(self, checkout: Checkout, folder: Path, emulators: EmulatorProcess, database: str) -> None:
        self._checkout = checkout
        self._folder = folder
        self._emulators = emulators
        self._jobs: set[str] = set()
        self._samples = 0
        connections = {name: value for name, value in emulators.environment.items() if name.startswith(_CONNECTION)}
        self._connections = {name.removeprefix(_CONNECTION).lower(): value for name, value in connections.items()}
        environment = {name: value for name, value in emulators.environment.items() if name not in connections}
        self._triggerer = LoneTriggerer(checkout, folder, database, 2 * TRIGGERS, environment)
        self.stop = self._triggerer.stop

    def prepare(self) -> None:
        """
        Create the database, let the operators start all jobs, and leave a run in it whose tasks wait for their ends.

        :raises RuntimeError: an operator could not start its job, or there are not as many jobs as there should be.
        """
        self._triggerer.prepare(WAITING_DAG)
        environment = {**self._triggerer.environment(), **self._emulators.environment}
        tasks = deferrals.started(str(self._checkout.python), environment, self._folder / "deferrals.log")
        self._jobs = self._emulators.jobs()
        if len(self._jobs) != TRIGGERS:
            raise RuntimeError(f"{len(self._jobs)} jobs have been started for {TRIGGERS} task instances.")
        self._triggerer.defer("waiting", tasks, self._connections)

    def sample(self) -> Sample:
        """
        Start a triggerer, measure it, and end it.

        :raises RuntimeError: it or one of its triggers has ended, or not all jobs were polled.
        """
        self._samples += 1
        frames = self._folder / f"frames-{self._samples}"
        log = self._folder / f"triggerer-{self._samples}.log"
        earlier = self._newest_job()
        polls, tokens = Polls(self._emulators, self._jobs), self._emulators.tokens()
        nothing = Reading(0, 0.0, 0.0, Counter(), [])
        began = datetime.now(UTC)
        command = ("-m", "benchmarks.counting_triggerer", str(frames), "--skip-serve-logs")
        with self._triggerer.running(command, log) as process:
            _await_all_polled(polls, process, log)
            (runner,) = process.children()
            begin = _reading(polls, process, runner, frames, log)
            time.sleep(WINDOW_SECONDS)
            end = _reading(polls, process, runner, frames, log)
            if (left := self._assigned(earlier)) != TRIGGERS:
                raise RuntimeError(f"{TRIGGERS - left} triggers that should wait have ended:\n{_tail(log)}")
            return Sample(
                first_seconds=(min(polls.first.values()) - began).total_seconds(),
                start_seconds=(max(polls.first.values()) - began).total_seconds(),
                start=Period.between(nothing, begin),
                window=Period.between(begin, end),
                tokens=self._emulators.tokens() - tokens,
                memory_mib=runner.memory_info().rss / 2**20,
            )

    def _newest_job(self) -> int:
        """Return Airflow's number of the latest triggerer; 0 before there was one."""
        return self._triggerer.query("SELECT coalesce(max(id), 0) FROM job WHERE job_type = 'TriggererJob'")

    def _assigned(self, earlier: int) -> int:
        """Return how many triggers a triggerer has that is younger than an earlier one."""
        return self._triggerer.query("SELECT count(*) FROM trigger WHERE triggerer_id > %s", earlier)


def _await_all_polled(polls: Polls, process: psutil.Popen, log: Path) -> None:
    deadline = time.monotonic() + _STARTED_SECONDS
    while not polls.all_polled():
        if process.poll() is not None:
            raise RuntimeError(f"The triggerer has ended with {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"Only {len(polls.first)} jobs polled after {_STARTED_SECONDS:.0f} s:\n{_tail(log)}")
        time.sleep(_LOOK_SECONDS)


def _reading(polls: Polls, process: psutil.Process, runner: psutil.Process, frames: Path, log: Path) -> Reading:
    return Reading(
        polls=polls.total(),
        supervisor_cpu=_cpu(process),
        runner_cpu=_cpu(runner),
        frames=Counter(frames.read_text(encoding="utf-8").splitlines()),
        blocked=[float(seconds) for seconds in _BLOCKED.findall(log.read_text(errors="replace"))],
    )


def _cpu(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]
