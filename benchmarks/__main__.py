"""
Run the benchmarks and write ``results/summary.json`` and ``results/machine.json``: ``make bench``.

Arguments choose some of them; the figures of the others stay as they were. ``triggerer`` and ``task_process`` can be compared
with an earlier state of the code: ``--before REVISION``, or ``--before-checkout FOLDER`` where that is checked out already.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import (
    cancel,
    checkout,
    factory,
    intake,
    intake_beside_silence,
    listener,
    machine,
    pages,
    parsing,
    reconciler,
    task_imports,
    task_process,
    throughput,
    triggerer,
    waiting,
)
from benchmarks.checkout import REPOSITORY, Checkout
from benchmarks.peers.defects import defects
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.result import RESULTS, Result, merge, write_json

#: Name → what yields its figures, in the order in which they are measured.
BENCHMARKS: Mapping[str, Callable[[Path, PeersEnvironment, Checkout | None], Iterator[Result]]] = {
    "imports": lambda folder, _peers, _before: task_imports.run(folder),
    "task_process": lambda folder, _peers, before: task_process.run(folder, before),
    "listener": lambda folder, _peers, _before: listener.run(folder),
    "peers": lambda _folder, peers, _before: defects(peers),
    "waiting": lambda folder, peers, _before: waiting.run(folder, peers),
    "triggerer": lambda folder, _peers, before: triggerer.run(folder, before),
    "cancel": lambda folder, _peers, _before: cancel.run(folder),
    "intake": lambda folder, _peers, _before: intake.run(folder),
    "intake_direct": lambda folder, _peers, _before: intake.run_direct(folder),
    "intake_beside_silence": lambda folder, _peers, _before: intake_beside_silence.run(folder),
    "parsing": lambda folder, peers, _before: parsing.run(folder, peers),
    "factory": lambda folder, _peers, _before: factory.run(folder),
    "throughput": lambda folder, _peers, _before: throughput.run(folder),
    "pages": lambda folder, _peers, _before: pages.run(folder),
    "reconciler": lambda folder, _peers, _before: reconciler.run(folder),
}


def results(chosen: list[str], folder: Path, peers: PeersEnvironment, before: Checkout | None) -> Iterator[Result]:
    """Yield the figures of the chosen benchmarks."""
    for name, measured in BENCHMARKS.items():
        if name in chosen:
            yield from measured(folder, peers, before)


def main(arguments: list[str]) -> int:
    """Run; returns 1 where a goal does not hold."""
    asked = _asked(arguments)
    chosen = asked.benchmarks or list(BENCHMARKS)
    peers = PeersEnvironment().ensure()
    found: list[Result] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="benchmarks-")))
        before: Checkout | None = None
        if asked.before_checkout:
            before = Checkout.at(asked.before_checkout)
        elif asked.before:
            before = stack.enter_context(checkout.of_revision(asked.before, folder / "before"))
        for result in results(chosen, folder, peers, before):
            found.append(result)
            _tell(result)
    summary = RESULTS / "summary.json"
    complete = set(chosen) == set(BENCHMARKS) or not summary.exists()
    write_json("summary.json", merge([] if complete else json.loads(summary.read_text(encoding="utf-8")), found))
    write_json("machine.json", {**machine.describe(peers), "before": before.commit if before else _kept_before(complete)})
    if "parsing" in chosen:
        peers.run(str(Path(__file__).with_name("picture.py")), str(summary), str(REPOSITORY / "docs" / "images" / "parsing.svg"))
    return 1 if any(result.holds is False for result in found) else 0


def _kept_before(complete: bool) -> str | None:
    """Return what the figures of ``triggerer`` that stay were compared with; none stay of a complete run."""
    file = RESULTS / "machine.json"
    if complete or not file.exists():
        return None
    kept: str | None = json.loads(file.read_text(encoding="utf-8")).get("before")
    return kept


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and cost; see benchmarks/README.md.")
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"{', '.join(BENCHMARKS)}; all unless given")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--before", metavar="REVISION", help="what triggerer is compared with, in a temporary checkout")
    earlier.add_argument("--before-checkout", metavar="FOLDER", type=Path, help="the same, with its environment in .venv")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.benchmarks) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    if (asked.before or asked.before_checkout) and asked.benchmarks and "triggerer" not in asked.benchmarks:
        parser.error("only triggerer is compared with an earlier state")
    return asked


def _tell(result: Result) -> None:
    sys.stdout.write(f"{result}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
