"""
``make mutate``: small faults in the core, one at a time, and whether its tests notice.

Works on copies of the tree, goes on where it was stopped, prints a table and the faults that no test noticed. The code is 1 where
these are more than a twentieth, or an entry of ``equivalent.toml`` is none any more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence

from tests.mutation.mutants import all_mutants, draw
from tests.mutation.plan import Module, Plan, read_equivalent, read_plan
from tests.mutation.verdict import Outcome, judge, passed, report
from tests.mutation.workspace import FOLDER, Workspace


def main(arguments: Sequence[str]) -> int:
    """Try the mutants of the chosen modules and print what came of them."""
    plan = read_plan()
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument("--only", action="append", choices=plan.modules, help="a module of modules.toml; may be repeated")
    parser.add_argument("--full", action="store_true", help="all mutants, and not a sample")
    parser.add_argument("--sample", type=int, default=plan.sample, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=plan.seed, help="draws the sample")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="mutants at a time; default: as many as cores")
    parser.add_argument("--fresh", action="store_true", help="forget the results of earlier runs")
    options = parser.parse_args(arguments)
    if options.fresh:
        shutil.rmtree(FOLDER, ignore_errors=True)
    sample = None if options.full else options.sample
    sys.stderr.write("All mutants.\n" if sample is None else f"At most {sample} mutants of a module, by seed {options.seed}.\n")
    outcomes = []
    for name in options.only or plan.modules:
        outcomes.append(examine(plan.modules[name], plan, sample, options))
    sys.stdout.write(f"{report(outcomes)}\n")
    return 0 if passed(outcomes) else 1


def examine(module: Module, plan: Plan, sample: int | None, options: argparse.Namespace) -> Outcome:
    """Try the mutants of a module that have no result yet."""
    begun = time.monotonic()
    workspace = Workspace(module, plan.settings)
    workspace.update()
    mutants = all_mutants(workspace)
    names = draw(list(mutants), sample, options.seed)
    known = workspace.results()
    if missing := [name for name in names if name not in known]:
        workspace.run(missing, options.processes)
    outcome = judge(module.name, mutants, workspace.results(), names, read_equivalent())
    sys.stderr.write(f"{report([outcome]).splitlines()[1]}  {time.monotonic() - begun:.0f} s\n")
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
