"""
Data of strangers, at random and without end: ``make fuzz``.

A part is a module with ``run(answers, seed, folder)``, which returns what came of it. Its small form is among the tests.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import tempfile
from pathlib import Path

from tests.storms.outcome import Outcome

#: Name of a part, and its module.
PARTS = {"services": "tests.storms.fuzz_services"}


def main() -> int:
    """Run the parts; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="this part alone")
    parser.add_argument("--answers", type=int, default=100_000, help="random values for each call that is tried")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    outcome = Outcome({}, [])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_HOME"] = folder
        for name in options.only or PARTS:
            part = importlib.import_module(PARTS[name]).run(options.answers, options.seed, Path(folder))
            outcome.figures.update(part.figures)
            outcome.wrong.extend(part.wrong)
    return outcome.tell()


if __name__ == "__main__":
    raise SystemExit(main())
