"""
Data of strangers, at random and without end: ``make fuzz``.

A part is a module with ``run(count, seed, folder, ...)``, which returns what came of it. Its small form is among the tests. Each
has a process of its own, as each has an Airflow of its own in it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.storms.outcome import Outcome

#: Name of a part, its module, how many random values it tries, of each call or in all, and what else it takes.
PARTS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "urls": ("tests.storms.fuzz_urls", 2_000, ()),
    "messages": ("tests.storms.fuzz_messages", 10_000, ()),
    "rows": ("tests.storms.fuzz_rows", 100_000, ()),
    **{
        name: ("tests.storms.fuzz_services", 100_000, (name,))
        for name in ("powerbi", "entra", "dataform", "bigquery", "http_jobs", "airflow")
    },
}


def main() -> int:
    """Run the parts; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="this part alone")
    parser.add_argument("--count", type=int, help="so many random values, instead of a part's own number")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    names = options.only or list(PARTS)
    if len(names) == 1:
        return _run(names[0], options.count, options.seed)
    count = [] if options.count is None else ["--count", str(options.count)]
    command = [sys.executable, "-m", "tests.storms.fuzz", "--seed", str(options.seed), *count]
    return max([subprocess.run([*command, "--only", name], check=False).returncode for name in names])


def _run(name: str, count: int | None, seed: int) -> int:
    module, usual, more = PARTS[name]
    print(f"{name}: {count or usual} random values, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        outcome: Outcome = importlib.import_module(module).run(count or usual, seed, Path(folder), *more)
        return outcome.tell()


if __name__ == "__main__":
    raise SystemExit(main())
