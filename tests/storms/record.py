"""
A storm over the record of a real Airflow on PostgreSQL: ``make chaos-record``.

Every end that a task, a run or a remote job can have, by itself or by one of two people, while scheduler, reconciler and
triggerer are killed and put to sleep and each of the two databases goes away. Whether the tables then say what Airflow says, and
who and what ended it, SQL decides that uses none of our code: :mod:`tests.storms.record_verdict`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from tests.storms.command import add_seed_and_folder, home
from tests.storms.outcome import Outcome
from tests.storms.record_lag import LagPoller
from tests.storms.record_plan import Plan, Run, Wave, make_plan
from tests.storms.record_strikes import KINDS, Kind
from tests.storms.record_verdict import Counted, TellingRow, Verdict
from tests.storms.record_world import Reader, RecordWorld, record_world

_READY_SECONDS = 420.0
_END_SECONDS = 420.0
_SETTLE_SECONDS = 90.0
"""After that, what the tables do not say they will not say."""

GOALS = "goals 1 s / 5 s"
LEAST = 3
"""How often each case has to come to its intended end before anything is said about it."""

SMALL_CASES = (
    "task marked failed while it runs",
    "task marked success while it is deferred",
    "run marked failed while it runs",
    "note on a run",
    "run deleted while it is open",
    "job: note on its run",
    "job: task marked failed",
)
SMALL_KINDS: tuple[Kind, ...] = ("SIGKILL of the reconciler", "application database away")


class Storm:
    """
    Makes the waves of a plan, one after the other.

    :param least: how often each case has to come out undisturbed.
    """

    def __init__(self, world: RecordWorld, verdict: Verdict, plan: Plan, *, least: int) -> None:
        self._world = world
        self._verdict = verdict
        self._plan = plan
        self._least = least
        self._begun: list[Run] = []
        self._settled: list[float] = []
        self._told_disturbed: set[str] = set()
        self.late: list[str] = []

    def make(self) -> None:
        """Make all waves."""
        for wave in self._plan.waves:
            print(f"Wave {wave.number + 1}: {wave.kind}, {len(wave.runs)} runs", flush=True)
            self._make(wave)

    def _make(self, wave: Wave) -> None:
        person = self._world.person
        early = [run for run in wave.runs if not run.case.late]
        for run in early:
            self._begin(run)
        ready = self._wait_until_ready(early)

        def act() -> None:
            for run in wave.runs:
                if run.case.late:
                    self._begin(run)
            for run in ready:
                if run.case.act is not None:
                    run.case.act(person(run))

        self._world.strikes.strike(wave.kind, act)
        for run in ready:
            if run.case.then is not None:
                run.case.then(person(run))
        for run in wave.runs:
            if run.case.ends and run.case.let_go:  # of a deleted run Airflow ends what still runs
                person(run).let_go()
        self._wait_for_ends(list(wave.runs))
        self._wait_until_settled()

    def _wait_until_ready(self, runs: list[Run]) -> list[Run]:
        """Wait until people may act, and return of which runs they may."""
        waiting = list(runs)

        def all_are_ready() -> bool:
            waiting[:] = [run for run in waiting if not self._world.is_ready(run)]
            return not waiting

        if not self._world.wait_for(all_are_ready, _READY_SECONDS):
            self.late += [f"{run.batch_id} was not ready after {_READY_SECONDS:.0f} s" for run in waiting]
        return [run for run in runs if run not in waiting]

    def _begin(self, run: Run) -> None:
        person = self._world.person(run)
        if run.case.begin is not None:
            run.case.begin(person)
        else:
            person.trigger(run.case.conf)
        self._begun.append(run)

    def _wait_for_ends(self, runs: list[Run]) -> None:
        def not_ended() -> list[Run]:
            states = self._world.states(runs)
            return [run for run in runs if states[run] not in (("success", "failed") if run.case.ends else (None,))]

        if not self._world.wait_for(lambda: not not_ended(), _END_SECONDS):
            self.late += [f"{run.batch_id} had not ended after {_END_SECONDS:.0f} s" for run in not_ended()]

    def _wait_until_settled(self) -> None:
        """Wait until there is nothing wrong; what stays wrong is told at the end."""
        began = time.monotonic()
        self._world.wait_for(lambda: not list(self._wrong_rows()), _SETTLE_SECONDS)
        self._settled.append(time.monotonic() - began)
        for line in self._wrong_rows():
            print(f"  {datetime.now(UTC):%H:%M:%S} {line}", flush=True)
        for line in self._verdict.disturbed():
            if line not in self._told_disturbed:
                print(f"  disturbed: {line}", flush=True)
                self._told_disturbed.add(line)

    def _wrong_rows(self) -> Iterator[str]:
        self._verdict.read(self._told(), self._deleted())
        yield from self._verdict.differences()
        yield from self._verdict.untrue()

    def _told(self) -> list[TellingRow]:
        return [row for run in self._begun for row in run.told(self._world.person(run).run_id)]

    def _deleted(self) -> list[tuple[str, str]]:
        return [(run.case.dag_id, run.batch_id) for run in self._begun if not run.case.ends]

    def wrong(self) -> list[str]:
        """Return what is not as it was intended, when all has ended and settled."""
        ledger = self._world.ledger

        def jobs_are_right() -> bool:
            ledger.read()
            return not list(ledger.wrong())

        self._world.wait_for(jobs_are_right, _SETTLE_SECONDS)
        strikes = self._world.strikes
        missing = {wave.kind for wave in self._plan.waves} - {"nothing"} - set(strikes.made)
        return [
            *self.late,
            *self._wrong_rows(),
            *self._verdict.rare(self._least),
            *ledger.wrong(),
            *(f"there was no {kind}" for kind in sorted(missing)),
        ]

    def figures(self, poller: LagPoller, reader: Reader, seconds: float) -> dict[str, Any]:
        """Return the figures of it."""
        batches, tries = self._verdict.sizes()
        strikes = self._world.strikes
        calm, every = poller.lags(strikes.times)
        table = self._verdict.table()
        started = [one for jobs in self._world.ledger.started.values() for one in jobs]
        return {
            "seed": self._plan.seed,
            "reader": reader,
            "batches, tries": (batches, tries),
            "cases, of these with differences": (len(table), sum(row.differences > 0 for row in table)),
            "rows compared with what was done": sum(row.rows for row in table),
            "of these disturbed by what was killed": sum(row.disturbed for row in table),
            "people": dict(Counter(run.person for run in self._begun if run.case.act is not None)),
            "strikes": dict(strikes.made),
            "ended by that, and started again": dict(strikes.revived),
            "seconds until another reconciler led": [round(one, 1) for one in strikes.taken_over],
            "seconds until all was equal, by wave": [round(one, 1) for one in self._settled],
            f"lag p50 / p95 while all was well ({GOALS})": calm,
            "lag p50 / p95 of all": every,
            "remote jobs": len(started),
            "how these ended": dict(Counter(self._world.ledger.ended.get(one, "running") for one in started)),
            "seconds": round(seconds),
        }

    def table(self) -> list[Counted]:
        """Return the table."""
        return self._verdict.table()


def run_storm(folder: Path, plan: Plan, reader: Reader, *, least: int = LEAST, seconds: float = 20.0) -> Outcome:
    """
    Make a storm and compare; the table is printed.

    :param folder: gets the Airflow home.
    :param least: how often each case has to come to its intended end.
    :param seconds: for how long something is away or stands still.
    """
    with record_world(folder, plan, reader, seconds=seconds) as world, Verdict(*world.addresses) as verdict:
        began = time.monotonic()
        storm = Storm(world, verdict, plan, least=least)
        poller = LagPoller(*world.addresses)
        poller.start()
        try:
            storm.make()
        finally:
            poller.stop()
        wrong = storm.wrong()
        figures = storm.figures(poller, reader, time.monotonic() - began)
        print_table(storm.table())
    return Outcome(figures, wrong)


def print_table(rows: Collection[Counted]) -> None:
    """Print each case, how often it came and its differences."""
    width = max((len(row.label) for row in rows), default=0)
    print(f"{'case':<{width}}  runs  rows  disturbed  differences")
    for row in rows:
        print(f"{row.label:<{width}}  {row.runs:>4}  {row.rows:>4}  {row.disturbed:>9}  {row.differences:>11}")


def small_plan(seed: int) -> Plan:
    """Return the plan of the form that runs among the tests."""
    return make_plan(seed, len(SMALL_KINDS), kinds=SMALL_KINDS, names=SMALL_CASES, lives=25)


def main(arguments: list[str] | None = None) -> int:
    """Make a storm of a size and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=get_args(Reader), default="database")
    parser.add_argument("--rounds", type=int, help="waves, each with one kind of chaos")
    parser.add_argument("--small", action="store_true", help="the form that runs among the tests")
    parser.add_argument("--least", type=int, help="how often each case has to come to its intended end")
    parser.add_argument(
        "--dealt", type=int, default=1, help="over how many waves the cases are dealt out, to take that much less time"
    )
    parser.add_argument("--only", action="append", metavar="CASE", help="only this case; can be repeated")
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this kind of chaos; can be repeated")
    add_seed_and_folder(parser)
    options = parser.parse_args(arguments)
    kinds = options.kind or KINDS
    rounds = options.rounds or len(kinds)
    if options.small:
        plan = small_plan(options.seed)
    else:
        plan = make_plan(options.seed, rounds, kinds=kinds, names=options.only, dealt=options.dealt)
    least = options.least if options.least is not None else 1 if options.small else min(LEAST, rounds)
    print(f"Record {plan.seed}, reader {options.reader}: {len(plan.waves)} waves …", flush=True)
    with home(options.folder, "record-") as folder:
        return run_storm(folder, plan, options.reader, least=least, seconds=8.0 if options.small else 20.0).tell()


if __name__ == "__main__":
    sys.exit(main())
