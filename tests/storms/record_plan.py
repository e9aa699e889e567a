"""What the record's chaos intends, fixed by its seed: which runs there are, what happens to them, what is killed meanwhile."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from provider.emulators.scenario import Scenario
from tests.storms import plan as remote_jobs
from tests.storms.record_cases import WHO, Case, all_cases
from tests.storms.record_person import ANN, BOB
from tests.storms.record_strikes import KINDS, Kind
from tests.storms.record_verdict import TellingRow

_REPOSITORY = "record_jobs"


@dataclass(frozen=True)
class RecordJob(remote_jobs.Job):
    """A remote job that is to be started and cancelled so many times."""

    intended_starts: int = 1
    intended_cancels: int = 0

    @property
    def starts(self) -> int:
        return self.intended_starts

    @property
    def cancels(self) -> int:
        return self.intended_cancels


@dataclass(frozen=True)
class Run:
    """
    One run of a case.

    :param batch_id: unique over all runs; a backfill gets another one.
    :param person: who does what is done to it.
    :param lives: seconds of a remote job that ends by itself.
    """

    case: Case
    wave: int
    batch_id: str
    person: str
    lives: int

    @property
    def job(self) -> RecordJob | None:
        """Its remote job."""
        job = self.case.job
        if job is None:
            return None
        return RecordJob(
            *(self.case.dag_id, self.batch_id, "job", -1, 0, "dataform", job.seconds or self.lives),
            intended_starts=job.starts,
            intended_cancels=job.cancels,
        )

    def told(self, run_id: str) -> Iterator[TellingRow]:
        """Yield what its rows are to say, with the names put in."""
        for one in self.case.told:
            text = None if one.text is None else one.text.replace(WHO, self.person)
            yield TellingRow(
                label=one.group or self.case.name,
                dag_id=self.case.dag_id,
                run_id=run_id,
                task_id=one.task_id,
                map_index=one.map_index,
                before=one.before,
                state=one.state,
                status=one.status,
                cause=f"^({one.cause})$",
                person=self.person if one.by_person else None,
                text=text,
            )


@dataclass(frozen=True)
class Wave:
    """All cases once, and what is killed or goes away meanwhile."""

    number: int
    kind: Kind
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Plan:
    """A storm."""

    seed: int
    waves: tuple[Wave, ...]

    @property
    def jobs(self) -> tuple[RecordJob, ...]:
        """All remote jobs."""
        return tuple(run.job for wave in self.waves for run in wave.runs if run.job is not None)

    def job_plan(self) -> remote_jobs.Plan:
        """Return the jobs as the ledger of the other storm reads them."""
        return remote_jobs.Plan(self.seed, self.jobs, calls_that_fail=0.0)

    def scenario(self) -> Scenario:
        """Return what the emulators know."""
        actions = [{"target": {"name": job.name}, "seconds": job.seconds} for job in self.jobs]
        repository = f"projects/demo-project/locations/europe-west3/repositories/{_REPOSITORY}"
        return Scenario.model_validate(
            {
                "dataform": {"repositories": {repository: {"actions": actions}}},
                "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
            }
        )

    def definitions(self) -> dict[str, Any]:
        """Return the one workflow whose task has a remote job, as ``accelerator import`` takes it."""
        where = remote_jobs.arguments("dataform", _REPOSITORY)
        config = {**where, "included_targets": ["{{ batch_id }}_j0000"], "initial_wait": 2, "poll_interval": 2}
        # What is killed on its way to the job is tried again.
        default_args = {"retries": 5, "retry_delay_seconds": 2}
        task = {"task_id": "job", "task_type": "dataform", "config": config}
        workflow = {"workflow_id": "record_jobs", "default_args": default_args, "max_active_batches": 100, "tasks": [task]}
        return {"workflows": [workflow]}


def make_plan(
    seed: int,
    rounds: int,
    *,
    kinds: Sequence[Kind] = KINDS,
    names: Collection[str] | None = None,
    lives: int = 75,
    dealt: int = 1,
) -> Plan:
    """
    Return the plan of a seed.

    :param rounds: how many waves; the kinds follow each other.
    :param names: of the cases; None for all.
    :param lives: seconds of a remote job that ends by itself; what is killed has come and gone by then.
    :param dealt: over how many waves the cases are dealt out; 1 for all of them in each wave.
    """
    chance = random.Random(seed)
    cases = [case for case in all_cases() if names is None or case.name in names]
    if names is not None and len(cases) != len(set(names)):
        raise ValueError(f"no such case: {', '.join(sorted(set(names) - {case.name for case in cases}))}")
    waves = []
    for number in range(rounds):
        kind = kinds[number % len(kinds)]
        if number % dealt == 0:
            chance.shuffle(cases)
        runs = tuple(
            Run(case, number, f"w{number:02d}_{case.slug}", (ANN, BOB)[chance.randrange(2)], lives)
            for case in cases[number % dealt :: dealt]
            if case.only_with is None or kind in case.only_with
        )
        waves.append(Wave(number, kind, runs))
    return Plan(seed, tuple(waves))
