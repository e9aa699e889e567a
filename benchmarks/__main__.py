"""
Run the benchmarks and write ``results/summary.json`` and ``results/machine.json``: ``make bench``.

Arguments choose some of them; the figures of the others stay as they were.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import cancel, intake, machine, task_imports, triggerer, waiting
from benchmarks.peers.defects import defects
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.result import RESULTS, Result, merge, write_json

BENCHMARKS = ("imports", "peers", "waiting", "triggerer", "cancel", "intake")


def results(chosen: list[str], folder: Path, peers: PeersEnvironment) -> Iterator[Result]:
    """Yield the figures of the chosen benchmarks."""
    if "imports" in chosen:
        yield from task_imports.run(folder)
    if "peers" in chosen:
        yield from defects(peers)
    if "waiting" in chosen:
        yield from waiting.run(folder, peers)
    if "triggerer" in chosen:
        yield from triggerer.run(folder)
    if "cancel" in chosen:
        yield from cancel.run(folder)
    if "intake" in chosen:
        yield from intake.run(folder)


def main(chosen: list[str]) -> int:
    """Run; returns 1 where a goal does not hold."""
    if unknown := set(chosen) - set(BENCHMARKS):
        sys.stderr.write(f"There is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}.\n")
        return 2
    chosen = chosen or list(BENCHMARKS)
    peers = PeersEnvironment().ensure()
    found: list[Result] = []
    with TemporaryDirectory(prefix="benchmarks-") as folder:
        for result in results(chosen, Path(folder), peers):
            found.append(result)
            goal = (
                "" if result.goal is None else f"  goal {result.goal}: {'holds' if result.goal.holds(result.value) else 'FAILS'}"
            )
            sys.stdout.write(f"{result.name:55} {result.value:12.4g} {result.unit}{goal}\n")
            sys.stdout.flush()
    summary = RESULTS / "summary.json"
    complete = set(chosen) == set(BENCHMARKS) or not summary.exists()
    write_json("summary.json", merge([] if complete else json.loads(summary.read_text(encoding="utf-8")), found))
    write_json("machine.json", machine.describe(peers))
    return 1 if any(result.holds is False for result in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
