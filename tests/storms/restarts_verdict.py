"""What a restart has done, in Airflow, in the tables and at the services, against the plan; by nothing of the restart's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from provider.metadata.states import STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE
from provider.texts import task_name
from tests.storms.restarts_plan import Restart, Run
from tests.storms.scopes_definition import BATCH_WATCHER, SKIPPED, SUCCESS, Round

_SETTLED = frozenset({"success", "skipped", "failed", "upstream_failed"})
_RAN = frozenset({"SUCCESS", "ERROR"})


@dataclass(frozen=True)
class Instance:
    """
    A task instance.

    :param id: Airflow gives a new one when it is cleared, and before it is tried again.
    :param max_tries: changed by a clear alone, of what has run.
    :param history: numbers of the tries in ``task_instance_history``.
    :param logs: number of a try → its status in ``task_logs``.
    """

    id: str
    state: str | None
    try_number: int
    max_tries: int
    started_at: datetime | None
    history: frozenset[int]
    logs: Mapping[int, str]

    @property
    def newest_status(self) -> str | None:
        """What the tables say of its last try."""
        return self.logs.get(max(self.logs, default=0))


@dataclass(frozen=True)
class Look:
    """
    A batch at a moment; tasks go by their place.

    :param jobs: place → the remote jobs that it has started.
    :param batch_status: of the row in ``task_batches``; None where there is none.
    """

    instances: Mapping[str, Instance]
    jobs: Mapping[str, tuple[str, ...]]
    run_state: str
    batch_status: str | None

    def mirrored(self) -> bool:
        """Tell whether the tables say what Airflow says."""
        return self.batch_status == STATUS_OF_RUN_STATE[self.run_state] and all(
            one.newest_status == STATUS_OF_TASK_STATE[one.state] for one in self.instances.values()
        )


def deviations(run: Run, turn: int, before: Look, preview: Mapping[str, Any], after: Look) -> Iterator[str]:
    """
    Yield a line for each thing that is not as the plan says.

    :param turn: which of the run's restarts it is.
    :param before: when it was asked for.
    :param preview: what was said before it was done.
    :param after: when the batch had ended again.
    """
    if gone := sorted(before.instances.keys() - after.instances.keys()):
        yield f"{', '.join(gone)}: gone"
        return
    restart = run.restarts[turn]
    earlier = run.restarts[turn - 1].intended if turn else run.first
    if before.run_state in ("success", "failed"):
        yield from ends(earlier, before)
    yield from _preview(restart, before, preview)
    yield from _kept(restart, before, after)
    yield from _ran(restart, before, after)
    yield from _jobs(run, restart, after)
    yield from ends(restart.intended, after)


def ends(intended: Round, look: Look) -> Iterator[str]:
    """Yield a line for each state that is not as it must be where the batch has ended."""
    for place, state in intended.states.items():
        if place not in look.instances:
            yield f"{place} is not there"
        elif look.instances[place].state != state:
            yield f"{place} is {look.instances[place].state}, intended {state}"
    if look.run_state != intended.run_state:
        yield f"the run is {look.run_state}, intended {intended.run_state}"
    if look.batch_status != STATUS_OF_RUN_STATE[look.run_state]:
        yield f"the TaskBatch is {look.batch_status}, and the run is {look.run_state}"


def _preview(restart: Restart, before: Look, preview: Mapping[str, Any]) -> Iterator[str]:
    told = {task_name(one["task_id"], one["map_index"]): one["status"] for one in preview["runs"]}
    for place in sorted(told.keys() | restart.runs.keys()):
        if place not in restart.runs:
            yield f"the preview says that {place} runs, and it is kept"
        elif place not in told:
            yield f"the preview does not say that {place} runs"
        elif told[place] != STATUS_OF_TASK_STATE[restart.runs[place]]:
            yield f"the preview says that {place} is {told[place]}, and it is {restart.runs[place]}"
    # Of an invocation the record has the last part of its name.
    last_jobs = {place: before.jobs[place][-1].rpartition("/")[2] for place in restart.runs if before.jobs[place]}
    for place, job in sorted(last_jobs.items()):
        if not any(text.startswith(f"{place} ") and job in text for text in preview["repeats"]):
            yield f"the preview does not say that {place} starts its job {job} anew"
    if len(preview["repeats"]) != len(last_jobs):
        yield f"the preview speaks of {len(preview['repeats'])} jobs, intended {len(last_jobs)}"
    if before.run_state in ("success", "failed"):
        kept = sum(one.state == SUCCESS for place, one in before.instances.items() if place in before.jobs)
        if preview["keeps"] != kept:
            yield f"the preview says that {preview['keeps']} stay, and it is {kept}"


def _kept(restart: Restart, before: Look, after: Look) -> Iterator[str]:
    """Compare what must not be touched; what Airflow itself was about to run or to try again may go on."""
    cleared = {*restart.runs, *([BATCH_WATCHER] if restart.watcher else ())}
    for place, then in sorted(before.instances.items()):
        if place in cleared:
            continue
        now = after.instances[place]
        if then.state not in _SETTLED:
            if now.max_tries != then.max_tries:
                yield f"{place} was left to Airflow and was cleared"
        elif now.id != then.id:
            yield f"{place} is kept and was cleared"
        elif (now.try_number, now.history, now.started_at) != (then.try_number, then.history, then.started_at):
            yield f"{place} is kept and has another try"
        elif place in before.jobs and after.jobs[place] != before.jobs[place]:
            yield f"{place} is kept and has started its remote job again"


def _ran(restart: Restart, before: Look, after: Look) -> Iterator[str]:
    for place in sorted({*restart.runs, *([BATCH_WATCHER] if restart.watcher else ())}):
        then, now = before.instances[place], after.instances[place]
        if now.id == then.id:
            yield f"{place} must run again and was not cleared"
        if place == BATCH_WATCHER:
            continue
        # What comes after a task that was skipped skips itself, in a try of its own and without a job.
        skipped = restart.intended.states[place] == SKIPPED and place not in restart.intended.ran
        tries, intended = now.try_number - then.try_number, 1 if skipped else len(restart.intended.ran.get(place, ()))
        if tries != intended:
            yield f"{place} was tried {tries} times, intended {intended}"
        if then.try_number and then.try_number not in now.history:
            yield f"try {then.try_number} of {place} is not in Airflow's history"


def _jobs(run: Run, restart: Restart, after: Look) -> Iterator[str]:
    """Count what every task has started and tried from its first try on."""
    for place in sorted(run.tasks):
        intended = restart.executions.get(place, 0)
        if len(after.jobs[place]) != intended:
            yield f"{place} has started {len(after.jobs[place])} remote jobs, intended {intended}"
        logs = after.instances[place].logs if place in after.instances else {}
        tried = sum(status in _RAN for status in logs.values())
        if tried != intended:
            yield f"{place} has {tried} tries in TaskLog, intended {intended}"


def touched(run: Run, turn: int, before: Look, after: Look) -> tuple[int, int]:
    """Return how many remote jobs kept tasks had, and of how many tasks the jobs are not the same afterwards."""
    kept = [place for place, one in before.instances.items() if place in before.jobs and place not in run.restarts[turn].runs]
    settled = [place for place in kept if before.instances[place].state in _SETTLED]
    return sum(len(before.jobs[place]) for place in settled), sum(after.jobs[place] != before.jobs[place] for place in settled)
