"""
Hostile rows in the tables of a real dag-processor: ``make hostile-rows``.

Hundreds of healthy workflows, and rows of others that are broken by plain SQL, one after another. After each, Airflow's list of
import errors must name it by table, key and column, no DAG may be missing from a parse, and none may be another than before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from demo.dag_processor import DagProcessor
from demo.postgres import PostgresServer
from tests.dag_factory.hostile_updates import HOSTILE, HostileUpdate, rows
from tests.storms.outcome import Outcome

ENVIRONMENT = {
    # A DAG that is missing from one parse goes stale at once.
    "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "1",
    "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1",
}


class Strikes:
    """
    Breaks one row after another.

    :param seconds: longest wait for one parse.
    """

    def __init__(self, processor: DagProcessor, seconds: float) -> None:
        self._processor = processor
        self._seconds = seconds
        self.marks: list[str] = []
        self.refused = 0
        self.shown_after: list[float] = []
        self.wrong: list[str] = []

    def strike(self, update: HostileUpdate, before: set[tuple[str, str]]) -> None:
        """
        Break a row and look what comes of it.

        :param before: the DAGs as they were when all was well.
        """
        if not update.carry_out(self._processor.database_url):
            self.refused += 1
            return
        begun = time.monotonic()
        self.marks.append(update.mark)
        try:
            self._processor.wait_for(lambda: not self._unnamed(), self._seconds, update.mark)
        except AssertionError:
            self.wrong.append(f"{update.mark!r} is not on the list of import errors")
            self.marks.remove(update.mark)
        self.shown_after.append(time.monotonic() - begun)
        # A parse that has left this error was one with the row in it, and so is each that is stored from now on.
        missing = self._processor.wait_until_stored(self._seconds)
        self.wrong += [f"after {update.mark!r}: {dag_id} is missing from a parse" for dag_id in sorted(missing)]
        others = {dag_id for dag_id, _ in before ^ self._processor.hashes()}
        self.wrong += [f"after {update.mark!r}: {dag_id} is not what it was" for dag_id in sorted(others)]

    def _unnamed(self) -> list[str]:
        lines = [line for error in self._processor.import_errors().values() for line in error.splitlines()]
        return [mark for mark in self.marks if not any(line.startswith(mark) for line in lines)]


def run_storm(
    folder: Path,
    postgres: PostgresServer | None,
    *,
    healthy: int,
    hostile: Sequence[HostileUpdate] = HOSTILE,
    seconds: float = 600,
) -> Outcome:
    """
    Break rows one after another and repair them all at the end.

    :param folder: gets everything.
    :param postgres: server of both databases; None for SQLite.
    :param healthy: workflows that nobody touches.
    :param seconds: longest wait for one parse.
    """
    begun = time.monotonic()
    environment = {**ENVIRONMENT, "AIRFLOW__ACCELERATOR__SNAPSHOT_DIR": str(folder / "snapshot")}
    good = rows(healthy, hostile)
    with DagProcessor(folder, postgres, environment=environment) as processor:
        processor.store(good.definitions())
        processor.start()
        processor.wait_for(lambda: len(processor.dags()) == len(good.workflows), seconds, "all DAGs")
        before = processor.hashes()
        strikes = Strikes(processor, seconds)
        for update in hostile:
            strikes.strike(update, before)
        processor.store(good.definitions())
        processor.wait_for(lambda: not processor.import_errors(), seconds, "no error, once the rows are repaired")
        missing = processor.wait_until_stored(seconds)
        stale = processor.airflow.log("dag-processor").count("Deactivating stale DAG")
        wrong = [*strikes.wrong, *(f"after the repair: {dag_id} is missing from a parse" for dag_id in sorted(missing))]
        if stale:
            wrong.append(f"Airflow said {stale} times that a DAG is stale")
    figures = {
        "database": "PostgreSQL" if postgres else "SQLite",
        "healthy workflows": healthy,
        "hostile rows written": len(strikes.shown_after),
        "refused by the database": strikes.refused,
        "named on the list of import errors": len(strikes.marks),
        "DAGs stale at any time": stale,
        "seconds until named (median)": round(median(strikes.shown_after)),
        "seconds": round(time.monotonic() - begun),
    }
    return Outcome(figures, wrong)


def main(arguments: list[str] | None = None) -> int:
    """Run it on one kind of database, or on both, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--healthy", type=int, default=300)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--seconds", type=float, default=600, help="longest wait for one parse")
    options = parser.parse_args(arguments)
    codes = []
    for kind in ("postgres", "sqlite") if options.database == "both" else (options.database,):
        server = PostgresServer() if kind == "postgres" else nullcontext()
        with tempfile.TemporaryDirectory(prefix="hostile-") as temporary, server as postgres:
            folder = Path(temporary) / "storm"
            codes.append(run_storm(folder, postgres, healthy=options.healthy, seconds=options.seconds).tell())
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
