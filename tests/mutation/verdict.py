"""What came of the mutants: the table, the survivors, and what is stale in the list of equivalent ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.mutation.plan import Change
from tests.mutation.workspace import KILLED, TIMED_OUT

#: Survivors of the mutants that can be noticed, at most.
LIMIT = 0.05


@dataclass
class Outcome:
    """
    What came of one module.

    :param name: of the module.
    :param mutants: how many there are.
    :param tried: how many were tried.
    :param killed: what tests noticed; of these, ``timed_out`` by a limit of time.
    :param equivalent: what no test can notice, by the list.
    :param survivors: what no test noticed, by mutmut's name.
    :param stale: lines about entries of the list that are none any more.
    """

    name: str
    mutants: int
    tried: int
    killed: int = 0
    timed_out: int = 0
    equivalent: int = 0
    survivors: dict[str, Change] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    @property
    def noticeable(self) -> int:
        return self.tried - self.equivalent


def judge(
    name: str, mutants: Mapping[str, Change], results: Mapping[str, int], tried: Sequence[str], equivalent: Mapping[Change, str]
) -> Outcome:
    """
    Sort the mutants of a module by what came of them.

    :param mutants: all of them.
    :param results: exit codes, by name.
    :param tried: the names that were to be tried; one without a result was interrupted, and counts as not tried.
    :param equivalent: the list, with reasons.
    """
    done = [mutant for mutant in tried if mutant in results]
    outcome = Outcome(name, len(mutants), len(done))
    for mutant in done:
        change, noticed = mutants[mutant], results[mutant] in KILLED | TIMED_OUT
        outcome.timed_out += results[mutant] in TIMED_OUT
        if noticed and change in equivalent:
            outcome.stale.append(f"{describe(change)}\n    is noticed by a test")
        if noticed:
            outcome.killed += 1
        elif change in equivalent:
            outcome.equivalent += 1
        else:
            outcome.survivors[mutant] = change
    files, present = {change.file for change in mutants.values()}, set(mutants.values())
    outcome.stale += [
        f"{describe(entry)}\n    is no mutant of the code" for entry in equivalent if entry.file in files and entry not in present
    ]
    return outcome


def describe(change: Change) -> str:
    """Return what a mutant changes, as text."""
    lines = [f"{change.file}, {change.function}"]
    lines += [f"    - {line}" for line in change.line.splitlines()]
    lines += [f"    + {line}" for line in change.becomes.splitlines()]
    return "\n".join(lines)


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the table, with what is to be done below it."""
    rows: list[tuple[str, ...]] = [("module", "mutants", "tried", "killed", "(by time)", "equivalent", "survived", "share")]
    total = Outcome("all", 0, 0)
    for outcome in outcomes:
        rows.append(_row(outcome))
        for name in ("mutants", "tried", "killed", "timed_out", "equivalent"):
            setattr(total, name, getattr(total, name) + getattr(outcome, name))
        total.survivors.update(outcome.survivors)
    rows.append(_row(total))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for outcome in outcomes:
        lines += [f"\nsurvived: {name}\n  {describe(change)}" for name, change in outcome.survivors.items()]
        lines += [f"\nstale in equivalent.toml: {text}" for text in outcome.stale]
    return "\n".join(lines)


def passed(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether at most :data:`LIMIT` of the mutants survived, over all modules, and the list is true."""
    survivors = sum(len(outcome.survivors) for outcome in outcomes)
    noticeable = sum(outcome.noticeable for outcome in outcomes)
    return survivors <= LIMIT * noticeable and not any(outcome.stale for outcome in outcomes)


def _row(outcome: Outcome) -> tuple[str, ...]:
    numbers = (outcome.mutants, outcome.tried, outcome.killed, outcome.timed_out, outcome.equivalent, len(outcome.survivors))
    share = len(outcome.survivors) / outcome.noticeable if outcome.noticeable else 0.0
    return (outcome.name, *(str(number) for number in numbers), f"{share:.1%}{' !' if share > LIMIT else ''}")
