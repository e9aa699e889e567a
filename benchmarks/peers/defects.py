"""All scenarios of the peers' defects, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers import dataform, powerbi
from benchmarks.peers.environment import PeersEnvironment
from benchmarks.readme import write_table
from benchmarks.result import AtMost, Result, write_json

#: They mostly wait; starting a process is what takes time.
AT_ONCE = 6


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


def defects(peers: PeersEnvironment) -> Iterator[Result]:
    """Run all scenarios, write ``peers.json`` and the table of README.md, and yield how many of them each side failed."""
    rows = run(peers)
    write_json("peers.json", rows)
    write_table("peers", table(rows))
    yield Result("defects.scenarios_failed_by_peers", f"of {len(rows)}", [sum(not row["theirs"]["good"] for row in rows)])
    yield Result("defects.scenarios_failed_by_ours", f"of {len(rows)}", [sum(not row["ours"]["good"] for row in rows)], AtMost(0))
