"""The cases of the record's chaos: what somebody does to a run, and what the rows have to say of it in the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.storms.record_lead import TORN_DAG
from tests.storms.record_person import Person

Act = Callable[[Person], object]
Ready = Literal["at once", "here", "deferred", "ended", "job"]
"""When people act: when the run's task waits, is deferred, has a remote job, when the run has ended; or without waiting."""

WHO = "{who}"
"""Stands for the person in a text."""

NEVER = 3600
"""Seconds of a remote job that only a cancel ends."""


@dataclass(frozen=True)
class Told:
    """
    What one try, or the batch, is to say.

    :param task_id: None for the batch.
    :param state: Airflow's own; None for a run that was deleted.
    :param cause: ``end_cause``, as a regular expression.
    :param by_person: whether ``ended_by`` names who acted.
    :param text: regular expression of its error or reason; None for no text.
    :param before: how many tries before the newest; what is killed can add tries of its own.
    :param group: what it is counted as; None for its case.
    """

    task_id: str | None
    state: str | None
    status: str
    cause: str
    text: str | None = None
    by_person: bool = False
    map_index: int = -1
    before: int = 0
    group: str | None = None


@dataclass(frozen=True)
class Job:
    """
    The remote job of a run.

    :param seconds: how long it runs unless it is cancelled; None for as long as the plan says.
    :param starts: how often it is to be started, and ``cancels``, how many of these are to be cancelled.
    """

    seconds: int | None = None
    starts: int = 1
    cancels: int = 0


@dataclass(frozen=True, eq=False)
class Case:
    """
    One thing that can happen to a run.

    :param act: what a person does, while something is killed or away.
    :param then: what the person does when all is well again.
    :param begin: how the run begins, where nobody triggers it.
    :param only_with: kinds of chaos with which it is there; None for all.
    :param late: the run begins while something is killed or away.
    :param ends: whether the run is there, and has ended, at last; False for one that is deleted for good.
    :param let_go: whether what still waits for people in the end may go on; False for what time ends.
    """

    name: str
    dag_id: str
    told: tuple[Told, ...]
    ready: Ready = "here"
    act: Act | None = None
    then: Act | None = None
    begin: Act | None = None
    conf: dict[str, Any] = field(default_factory=dict)
    job: Job | None = None
    only_with: frozenset[str] | None = None
    late: bool = False
    ends: bool = True
    let_go: bool = True

    @property
    def slug(self) -> str:
        """Its name as a part of a batch id."""
        return re.sub(r"\W+", "_", self.name)


def success(task_id: str | None, **more: Any) -> Told:
    return Told(task_id, "success", "SUCCESS", "task", **more)


def failed(task_id: str | None, text: str, cause: str = "task", **more: Any) -> Told:
    return Told(task_id, "failed", "ERROR", cause, text, **more)


def blocked(task_id: str, by: str, **more: Any) -> Told:
    return Told(task_id, "upstream_failed", "BLOCKED", "upstream", f"^blocked by {by}$", **more)


def skipped(task_id: str, text: str, cause: str = "upstream", **more: Any) -> Told:
    return Told(task_id, "skipped", "SKIPPED", cause, text, **more)


def marked(task_id: str | None, state: str, *, of_run: bool = False, **more: Any) -> Told:
    """What a person gave this state, of its own or with its run."""
    mark = "failed" if of_run and state == "skipped" else state
    status = {"failed": "ERROR", "success": "SUCCESS", "skipped": "SKIPPED"}[mark]
    text = f"the DAG run was marked {mark} by {WHO}" if of_run else f"^marked {state} by {WHO}$"
    return Told(task_id, state, status, f"marked_{mark}", None if mark == "success" else text, by_person=True, **more)


def deleted(*task_ids: str | None) -> tuple[Told, ...]:
    text = f"^the DAG run was deleted in Airflow by {WHO}$"
    return tuple(Told(task_id, None, "ERROR", "deleted", text, by_person=True) for task_id in task_ids)


MISSING_TABLE = "^Table raw.suppliers was not found$"
FAILS, SKIPS = failed("fails", MISSING_TABLE), skipped("skips_itself", "^nothing to load$", "task")
BESIDE = (FAILS, SKIPS)
ONE_FAILED = failed(None, "^1 task failed: fails; first error: Table raw.suppliers was not found$")


def _by_itself() -> tuple[Told, ...]:
    """Every end that a task can have by itself, each counted alone."""
    gone = "ended without a message|[Hh]eartbeat|heartbeat|killed|state mismatch|finished with state"
    # What Airflow's rules skip says so; which task decided it, Airflow does not keep.
    by_rules = "^skipped by Airflow's rules or by itself|^parent skipped"
    ends = (
        *(success(name) for name in ("empty", "after_empty", "branch", "chosen", "stops_here", "no_list")),
        *(success(name) for name in ("deferred_a_while", "looks_again")),
        *(success("mapped", map_index=index) for index in (0, 1)),
        FAILS,
        *(blocked(name, "fails") for name in ("blocked", "blocked_too")),
        SKIPS,
        skipped("behind_skip", "^parent skipped: skips_itself$"),
        *(skipped(name, by_rules) for name in ("not_chosen", "cut_off", "of_nothing")),
        failed("second_time", "^try again$", before=1),
        success("second_time"),
        failed("says_seven", "^KeyError: 7$"),
        failed("says_much", "^too long x+…$"),
        failed("says_a_secret", r"^cannot log in with \*\*\* at all$"),
        failed("too_slow", r"^ran longer than its timeout of 2 s", "execution_timeout"),
        failed("waits_too_long", "^waited longer than its timeout allows", "execution_timeout"),
        failed("killed", gone, "killed"),
        failed("killed_once", gone, "killed", before=1),
        success("killed_once"),
        failed("lost", gone, "heartbeat|killed"),
        failed("goes_away", gone, "heartbeat|killed"),
    )
    return tuple(replace(one, group=f"by itself: {one.task_id}") for one in ends)


def _tasks_that_are_marked() -> list[Case]:
    """A person gives a task a state while it runs, and while it is deferred."""
    cases = []
    for dag_id, ready, task in (("record_waits", "here", "waits"), ("record_defers", "deferred", "defers")):
        beside = BESIDE if task == "waits" else (FAILS,)
        how = "runs" if task == "waits" else "is deferred"
        for state in ("failed", "success", "skipped"):
            after = {
                "failed": blocked("after", task),
                "success": success("after"),
                "skipped": skipped("after", f"^parent skipped: {task}$"),
            }[state]
            text = r"^[23] tasks? failed|^1 task failed" if state == "failed" else ONE_FAILED.text
            told = (marked(task, state), after, *beside, failed(None, str(text)))
            act = _mark(task, state)
            cases.append(Case(f"task marked {state} while it {how}", dag_id, told, ready, act))  # type: ignore[arg-type]
    told = (marked("waits", "failed"), blocked("after", "waits"), *BESIDE)
    cases.append(Case("task marked failed as it returns", "record_waits", told, act=_mark_and_go))
    never_ran = (success("waits"), marked("after", "success"), *BESIDE, ONE_FAILED)
    cases.append(Case("success on a task that never ran", "record_waits", never_ran, act=_mark("after", "success")))
    first = success("first")
    leaf = (first, marked("fails_if_told", "skipped"))
    cases.append(
        Case(
            *("failed leaf marked skipped", "record_short", leaf, "ended", _mark("fails_if_told", "skipped")), conf={"fail": True}
        )
    )
    return cases


def _runs_that_are_marked() -> list[Case]:
    ended = (marked("waits", "failed", of_run=True), marked("after", "skipped", of_run=True), *BESIDE)
    failed_run = (*ended, failed(None, "^3 tasks failed|^1 task failed|^2 tasks failed", "marked_failed", by_person=True))
    pending = Told("after", "skipped", "SKIPPED", "marked_success", f"the DAG run was marked success by {WHO}", by_person=True)
    succeeded = (marked("waits", "success", of_run=True), pending, *BESIDE, marked(None, "success"))
    deferred = (marked("defers", "failed", of_run=True), marked("after", "skipped", of_run=True), FAILS, failed_run[-1])
    return [
        Case("run marked failed while it runs", "record_waits", failed_run, act=lambda who: who.patch_run(state="failed")),
        Case(
            "run marked failed while deferred", "record_defers", deferred, "deferred", lambda who: who.patch_run(state="failed")
        ),
        Case("run marked success while it runs", "record_waits", succeeded, act=lambda who: who.patch_run(state="success")),
        Case("run marked failed in bulk", "record_waits", failed_run, act=lambda who: who.patch_runs(state="failed")),
    ]


def _clears_and_notes() -> list[Case]:
    as_if_nothing = (success("waits"), success("after"), *BESIDE, ONE_FAILED)
    first_try = Told("waits", "failed", "ERROR", "cleared", f"^cleared by {WHO}", by_person=True, before=1)
    marked_first = replace(marked("waits", "failed"), before=1)
    again = (success("lists"), success("each", map_index=0), success(None))
    removed = tuple(Told("each", "removed", "SKIPPED", "upstream|task|scope", "^removed$", map_index=one) for one in (1, 2))
    short = (success("first", before=1), success("first"), success("fails_if_told"), success(None))
    return [
        Case("note on a run", "record_waits", as_if_nothing, act=lambda who: who.patch_run(note="see ticket 7")),
        Case("note on a task", "record_waits", as_if_nothing, act=lambda who: who.patch_task("waits", note="see ticket 7")),
        Case(
            "note on a run that has failed",
            "record_short",
            (success("first"), _told_to_fail(), _one_told_to_fail()),
            "ended",
            lambda who: who.patch_run(note="who did that?"),
            conf={"fail": True},
        ),
        Case("task cleared while it runs", "record_waits", (first_try, *as_if_nothing), act=lambda who: who.clear("waits")),
        Case("run cleared after its end", "record_short", short, "ended", lambda who: who.clear("first")),
        Case(
            "mark before a clear",
            "record_waits",
            (marked_first, *as_if_nothing),
            act=lambda who: who.patch_task("waits", new_state="failed"),
            then=lambda who: who.clear("waits"),
        ),
        Case("list that is shorter after a clear", "record_lists", (*again, *removed), "ended", lambda who: who.clear("lists")),
    ]


def _told_to_fail() -> Told:
    return failed("fails_if_told", "^told to fail$")


def _one_told_to_fail() -> Told:
    return failed(None, "^1 task failed: fails_if_told; first error: told to fail$")


def _deletes() -> list[Case]:
    marked_or_deleted = tuple(replace(one, cause="deleted|marked_failed", text=f"by {WHO}") for one in deleted("waits", "after"))
    last = {"start_task_id": "fails_if_told", "scope": "task"}
    other = (skipped("first", "^out of scope of this batch$", "scope"), success("fails_if_told"), success(None))
    return [
        Case(
            "run deleted while it is open",
            "record_waits",
            deleted(None, "waits", "after"),
            act=lambda who: who.delete_open_run(),
            ends=False,
        ),
        Case(
            "run marked failed and deleted",
            "record_waits",
            marked_or_deleted,
            act=lambda who: who.mark_and_delete_run(),
            ends=False,
        ),
        Case(
            "deleted id used again, other scope",
            "record_short",
            other,
            "ended",
            lambda who: who.delete_run(),
            then=lambda who: who.trigger(last),
            conf={"fail": True},
        ),
    ]


def _jobs() -> list[Case]:
    """What becomes of remote jobs; the ledger of their service is compared too."""
    dag_id, whole = "record_jobs", (success("job"), success(None))
    killed = (marked("job", "failed"), failed(None, "^1 task failed: job"))
    by_run = (marked("job", "failed", of_run=True), failed(None, "^1 task failed: job", "marked_failed", by_person=True))
    lives, ends, again = Job(), Job(NEVER, cancels=1), Job(NEVER, starts=2, cancels=2)
    return [
        Case("job: note on its run", dag_id, whole, "job", lambda who: who.patch_run(note="wait for it"), job=lives),
        Case("job: note on its task", dag_id, whole, "job", lambda who: who.patch_task("job", note="wait for it"), job=lives),
        Case("job: task marked failed", dag_id, killed, "job", _mark("job", "failed"), job=ends),
        Case("job: run marked failed", dag_id, by_run, "job", lambda who: who.patch_run(state="failed"), job=ends),
        Case("job: run deleted", dag_id, deleted(None, "job"), "job", lambda who: who.delete_open_run(), job=ends, ends=False),
        Case(
            "job: cleared, then marked failed",
            dag_id,
            killed,
            "job",
            lambda who: who.clear("job"),
            job=again,
            then=lambda who: who.mark_next_job(),
        ),
    ]


def _without_people() -> list[Case]:
    late = tuple(Told(name, "skipped", "ERROR", "run_timeout", "^the DAG run timed out") for name in ("waits", "after"))
    timed_out = (*late, failed(None, "^2 tasks failed: after, waits; first error: the DAG run timed out", "run_timeout"))
    fast = (
        failed("fails_beside", MISSING_TABLE),
        failed("waits", "fail_fast", "scheduler"),
        skipped("after", "fail_fast", "scheduler"),
    )
    short = (success("first"), success("fails_if_told"), success(None))
    torn = (FAILS, blocked("after", "fails"), ONE_FAILED)
    return [
        Case("every end of a task by itself", "record_ends", (*_by_itself(), failed(None, r"^\d+ tasks failed: ")), "at once"),
        Case("run times out", "record_hurried", timed_out, "at once", let_go=False),
        Case("fail fast", "record_fail_fast", fast, "at once"),
        Case(
            "no worker can import the DAG",
            "record_unimportable",
            (failed("start_batch", ".", "killed|scheduler|task"),),
            "at once",
        ),
        Case("stuck in the queue", "record_stuck", (failed("stuck", "requeued more than", "scheduler"),), "at once"),
        Case("backfill", "record_years", (success("first"), success(None)), "at once", begin=lambda who: who.backfill()),
        Case("blocked, by a DAG that cannot be read", TORN_DAG, torn, "at once", late=True),
        Case("run begins while something is away", "record_short", short, "at once", late=True),
        Case(
            "airflow dags test, tasks test",
            "record_short",
            short,
            "at once",
            begin=lambda who: who.test(),
            late=True,
            # Without a database a command ends, and its run with it.
            only_with=frozenset({"nothing", "SIGKILL of the scheduler", "SIGSTOP of the scheduler"}),
        ),
    ]


def _mark(task_id: str, state: str) -> Act:
    return lambda who: who.patch_task(task_id, new_state=state)


def _mark_and_go(who: Person) -> None:
    who.patch_task("waits", new_state="failed")
    who.let_go()


def all_cases() -> tuple[Case, ...]:
    """Return every case."""
    marked_cases = (*_tasks_that_are_marked(), *_runs_that_are_marked())
    return (*_without_people(), *marked_cases, *_clears_and_notes(), *_deletes(), *_jobs())
