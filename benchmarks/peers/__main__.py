"""Run the scenarios of the peers' defects, and write ``results/peers.json``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers import dataform, powerbi
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.result import write_json

#: They mostly wait; starting a process is what takes time.
AT_ONCE = 4


def run(peers: PeersEnvironment) -> list[dict[str, Any]]:
    """Run all scenarios; returns the rows of the table, in their order."""
    scenarios = [*powerbi.SCENARIOS, *dataform.SCENARIOS]
    with TemporaryDirectory(prefix="peers-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(item.run, Path(folder) / str(number), peers) for number, item in enumerate(scenarios)]
        return [item.result() for item in runs]


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = ["| scenario | peer | ours |", "|---|---|---|"]
    for row in rows:
        cells = [f"{'good' if side['good'] else '**bad**'}: {_cell(side['seen'])}" for side in (row["theirs"], row["ours"])]
        lines.append(f"| {row['scenario']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_")


if __name__ == "__main__":
    found = run(PeersEnvironment().ensure())
    write_json("peers.json", found)
    sys.stdout.write(table(found) + "\n")
    sys.exit(0 if all(row["ours"]["good"] for row in found) else 1)
