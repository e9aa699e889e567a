"""
A real ``airflow triggerer`` that waits for 1,000 refreshes and 1,000 invocations at once.

With an earlier checkout beside it the two take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.checkout import Checkout
from benchmarks.emulator_process import EmulatorProcess
from benchmarks.jobs import scenario
from benchmarks.readme import write_table
from benchmarks.result import AtMost, Result
from benchmarks.waiting_triggerer import WINDOW_SECONDS, Sample, WaitingTriggerer
from demo.postgres import PostgresServer

SAMPLES = 2

TOKENS = AtMost(1)
CONNECTION_FRAMES = AtMost(10)
ALL_POLLED_RATIO = AtMost(0.5)

#: The table of README.md with both checkouts.
TABLE = "before and after"

_NAME = "triggerer.powerbi_1000_and_dataform_1000"
_BEFORE = f"{_NAME}.before"
_WINDOW = f"{WINDOW_SECONDS:.0f} s"

#: Name, unit and value of each figure.
_FIGURES: Sequence[tuple[str, str, Callable[[Sample], float]]] = (
    ("token_requests", "requests", lambda seen: seen.tokens),
    ("start.until_first_polled", "s", lambda seen: seen.first_seconds),
    ("start.until_all_polled", "s", lambda seen: seen.start_seconds),
    ("start.connection_frames", "frames", lambda seen: seen.start.frames["GetConnection"]),
    ("start.mask_frames", "frames", lambda seen: seen.start.frames["MaskSecret"]),
    ("start.cpu_seconds", "s", lambda seen: seen.start.cpu),
    ("start.cpu_seconds_of_supervisor", "s", lambda seen: seen.start.supervisor_cpu),
    ("start.blocked_warnings", "in the start", lambda seen: len(seen.start.blocked)),
    ("start.blocked_longest", "s", lambda seen: max(seen.start.blocked, default=0.0)),
    ("start.blocked_seconds", "s", lambda seen: sum(seen.start.blocked)),
    ("polls", f"calls in {_WINDOW}", lambda seen: seen.window.polls),
    ("connection_frames", f"frames in {_WINDOW}", lambda seen: seen.window.frames["GetConnection"]),
    ("cpu_seconds", f"s in {_WINDOW}", lambda seen: seen.window.cpu),
    ("cpu_seconds_of_event_loop", f"s in {_WINDOW}", lambda seen: seen.window.runner_cpu),
    ("cpu_seconds_of_supervisor", f"s in {_WINDOW}", lambda seen: seen.window.supervisor_cpu),
    ("blocked_warnings", f"in {_WINDOW}", lambda seen: len(seen.window.blocked)),
    ("blocked_longest", "s", lambda seen: max(seen.window.blocked, default=0.0)),
    ("memory_of_event_loop", "MiB", lambda seen: seen.memory_mib),
)
#: What was promised of this checkout, in each sample.
_GOALS = {"token_requests": TOKENS, "start.connection_frames": CONNECTION_FRAMES}


def run(folder: Path, before: Checkout | None = None) -> Iterator[Result]:
    """
    Yield what it costs, and for how long its event loop was blocked.

    :param before: an earlier checkout to compare with; README.md gets the table of both then.
    """
    checkouts = {"after": Checkout.this()} if before is None else {"before": before, "after": Checkout.this()}
    seen = _samples(folder / "triggerer", checkouts)
    ours = _figures(_NAME, seen["after"], _GOALS)
    yield from ours
    if before is None:
        return
    theirs = _figures(_BEFORE, seen["before"], {})
    ratios = [after.start_seconds / earlier.start_seconds for earlier, after in zip(seen["before"], seen["after"], strict=True)]
    yield from theirs
    yield Result(f"{_NAME}.start.until_all_polled_ratio", "after / before", ratios, ALL_POLLED_RATIO)
    write_table(TABLE, _table(before, theirs, ours))


def _samples(folder: Path, checkouts: dict[str, Checkout]) -> dict[str, list[Sample]]:
    """Prepare all checkouts, then measure them in turns; each has jobs and a database of its own."""
    seen: dict[str, list[Sample]] = {side: [] for side in checkouts}
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        triggerers = {}
        for side, checkout in checkouts.items():
            emulators = stack.enter_context(EmulatorProcess(scenario(), folder / f"{side}-emulators"))
            triggerers[side] = WaitingTriggerer(checkout, folder / side, emulators, postgres.create_database(side))
            stack.callback(triggerers[side].stop)
            triggerers[side].prepare()
        for number in range(SAMPLES):
            turns = list(triggerers.items())
            for side, triggerer in turns if number % 2 == 0 else reversed(turns):
                seen[side].append(triggerer.sample())
    return seen


def _figures(name: str, samples: Sequence[Sample], goals: dict[str, AtMost]) -> list[Result]:
    return [
        Result(
            f"{name}.{figure}",
            unit,
            [value(seen) for seen in samples],
            goals.get(figure),
            "maximum" if figure in goals else "median",
        )
        for figure, unit, value in _FIGURES
    ]


def _table(before: Checkout, theirs: Sequence[Result], ours: Sequence[Result]) -> str:
    """Return both sides' figures as Markdown."""
    lines = [f"| figure | unit | before (`{before.commit[:7]}`) | after |", "|---|---|---|---|"]
    for (figure, unit, _), earlier, after in zip(_FIGURES, theirs, ours, strict=True):
        lines.append(f"| `{figure}` | {unit} | {_samples_of(earlier)} | {_samples_of(after)} |")
    return "\n".join(lines)


def _samples_of(result: Result) -> str:
    return ", ".join(f"{sample:.4g}" for sample in result.samples)
