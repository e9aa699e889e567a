"""
100,000 tasks in the tables of a real dag-processor with Airflow's own time limits, in one DAG file and over eight.

``python -m benchmarks factory`` keeps the figures; ``python -m benchmarks.factory --tasks 2000`` only prints those of a trial.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.chains import add_chain
from benchmarks.processes import cpu_seconds_with_children, peak_mib
from benchmarks.result import AtMost, Result
from demo.dag_processor import DagProcessor
from demo.postgres import PostgresServer
from provider.metadata.rows import DefinitionRows

TASKS = 100_000
TASKS_OF_WORKFLOW = 10
FILES = (8, 1)
#: So many rounds without a change are measured, and so many without another DAG end the wait for all of them.
ROUNDS = 3
MOST_SECONDS = 3600.0

ENVIRONMENT = {
    # Airflow's own limits, not the patient ones of tests.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": None,
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": None,
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": None,
}


def definitions(tasks: int) -> DefinitionRows:
    """Return workflows of ten tasks and seventeen edges: each task follows the two before it."""
    rows = DefinitionRows()
    for number in range(tasks // TASKS_OF_WORKFLOW):
        add_chain(rows, f"w{number:05}", TASKS_OF_WORKFLOW)
    return rows


@dataclass
class Rounds:
    """
    What a dag-processor does, seen from outside.

    :param parses: DAG file → how many parses of it were stored.
    :param dags: DAGs that Airflow has and that are not stale, at the last look.
    :param peak_mib: most memory that a process which parses has had, in MiB.
    """

    processor: DagProcessor
    parses: Counter[str] = field(default_factory=Counter)
    dags: int = 0
    peak_mib: float = 0.0
    _seen: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Look once; shorter than a parse, so that none is missed."""
        found = self.processor.parses()
        self.parses.update(file for file, moment in found.items() if self._seen.get(file) != moment)
        self._seen = found
        self.dags = sum(not dag.is_stale for dag in self.processor.dags())
        for process in self.processor.process().children(recursive=True):
            self.peak_mib = max(self.peak_mib, peak_mib(process.pid))

    def wait_for_all(self, count: int) -> bool:
        """Wait until there are so many DAGs; give up after some rounds that brought none. Return whether all are there."""
        grown = self.parses.copy()
        most = 0
        deadline = time.monotonic() + MOST_SECONDS
        while time.monotonic() < deadline:
            self.look()
            if self.dags == count:
                return True
            if self.dags > most or not self.parses:
                most, grown = self.dags, self.parses.copy()
            elif all(self.parses[file] >= grown[file] + ROUNDS for file in self.parses):
                return False
            time.sleep(0.5)
        return False

    def wait_for_round(self) -> None:
        """Wait until each DAG file was parsed once more."""
        before = self.parses.copy()

        def parsed() -> bool:
            self.look()
            return all(self.parses[file] > count for file, count in before.items())

        self.processor.wait_for(parsed, MOST_SECONDS, "a round")

    def cpu_seconds(self) -> float:
        """Return the CPU time of the dag-processor and of all that parsed for it."""
        return cpu_seconds_with_children(self.processor.process())


def run(
    folder: Path, *, tasks: int = TASKS, databases: Sequence[str] = ("postgres",), numbers: Sequence[int] = FILES
) -> Iterator[Result]:
    """
    Yield the figures of the factory.

    :param tasks: in all.
    :param databases: ``postgres``, ``sqlite``, or both.
    :param numbers: over how many DAG files.
    """
    for kind, files in itertools.product(databases, numbers):
        with ExitStack() as stack:
            postgres = stack.enter_context(PostgresServer()) if kind == "postgres" else None
            place = folder / f"factory_{kind}_{files}"
            environment = {**ENVIRONMENT, "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR": str(place / "snapshot")}
            processor = stack.enter_context(DagProcessor(place, postgres, shards=files, environment=environment))
            yield from _measure(processor, f"factory.{kind}.{files}_files", tasks, whole=files > 1)


def _measure(processor: DagProcessor, name: str, tasks: int, *, whole: bool) -> Iterator[Result]:
    processor.store(definitions(tasks))
    count = tasks // TASKS_OF_WORKFLOW
    processor.start()
    begun = time.monotonic()
    rounds = Rounds(processor)
    complete = rounds.wait_for_all(count)
    yield Result(f"{name}.missing", f"of {count} DAGs", [count - rounds.dags], AtMost(0) if whole else None)
    if complete:
        yield Result(f"{name}.until_all", "s", [time.monotonic() - begun])
        yield Result(f"{name}.rounds_until_all", "rounds", [max(rounds.parses.values())])
    rounds.wait_for_round()
    seconds, cpu = [], []
    for _ in range(ROUNDS):
        round_begun, cpu_begun = time.monotonic(), rounds.cpu_seconds()
        rounds.wait_for_round()
        seconds.append(time.monotonic() - round_begun)
        cpu.append(rounds.cpu_seconds() - cpu_begun)
    yield Result(f"{name}.round", "s", seconds)
    yield Result(f"{name}.round_cpu", "s", cpu)
    yield Result(f"{name}.longest_parse", "s", [processor.longest_parse()])
    yield Result(f"{name}.memory_of_parse", "MiB", [rounds.peak_mib], statistic="maximum")
    log = processor.airflow.log("dag-processor")
    yield Result(f"{name}.stale", "times", [log.count("Deactivating stale DAG")], AtMost(0))
    yield Result(f"{name}.killed_parses", "parses", [log.count("Killing it!")], AtMost(0))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures of a trial; returns 1 where a goal does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.factory", description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--database", choices=("postgres", "sqlite"), action="append")
    parser.add_argument("--files", type=int, action="append", help="DAG files; may be repeated; default: 8 and 1")
    options = parser.parse_args(arguments)
    failed = False
    with TemporaryDirectory(prefix="factory-") as folder:
        databases, numbers = options.database or ("postgres",), options.files or FILES
        for result in run(Path(folder), tasks=options.tasks, databases=databases, numbers=numbers):
            sys.stdout.write(f"{result}\n")
            sys.stdout.flush()
            failed = failed or result.holds is False
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
