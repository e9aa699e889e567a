"""The plan on batches small enough to be read, and that the verdict sees every kind of deviation from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import networkx as nx
import pytest

from provider.metadata.states import STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE
from tests.storms.restarts_plan import Restart, Run, make_plan, to_run
from tests.storms.restarts_verdict import Instance, Look, deviations, touched
from tests.storms.scopes_definition import BATCH_WATCHER, FAILURES, START_BATCH, Batch, Round, Task, Wish

FAILS = Task(("fail",))
OFF = Task(enabled=False)

# --- the plan


@pytest.mark.parametrize(
    ("named", "runs"),
    [
        ((), "a b c d e"),
        (("a",), "a b c"),
        (("d",), "c d e"),
        (("b",), "b c"),
        (("a", "d"), "a b c d e"),
    ],
)
def test_what_must_run_again(named: tuple[str, ...], runs: str) -> None:
    graph: nx.DiGraph = nx.DiGraph()
    for chain in ("a>b>c", "d>e", "d>c", "a>off>e", "f"):
        nx.add_path(graph, chain.split(">"))
    batch = Batch(graph, {place: {"a": FAILS, "d": FAILS, "off": OFF}.get(place, Task()) for place in graph}, Wish())
    batch.first_round()
    assert " ".join(sorted(to_run(batch, named))) == runs, "e is blocked by d alone: what is disabled blocks nothing"


def test_a_plan_is_its_seeds() -> None:
    plan = make_plan(3, 20)
    assert plan.runs == make_plan(3, 20).runs != make_plan(4, 20).runs
    assert len({run.batch_id for run in plan.runs}) == 20
    names = [job.name for run in plan.runs for job in run.jobs.values()]
    assert len(names) == len(set(names)), "a remote job tells whose it is"


@pytest.mark.parametrize("seed", range(5))
def test_every_batch_fails_and_something_of_it_stays(seed: int) -> None:
    plan = make_plan(seed, 20)
    assert {run.restarts[0].way for run in plan.runs} > {"one batch", "the page", "--task", "while it retries"}
    for run in plan.runs:
        states = set(run.first.states.values())
        assert {"success", "failed"} <= states
        assert "upstream_failed" in states or not run.edges
        assert len(run.restarts[-1].runs) > 0
        left = {place for place, state in run.restarts[-1].intended.states.items() if state in FAILURES}
        assert not left or len(run.restarts) == 2
    assert any(run.retried for run in plan.runs if run.restarts[0].way == "while it retries")
    assert any(run.wish.starts for run in plan.runs)


# --- the verdict


@dataclass
class Course:
    """What a real Airflow, the tables and the services would leave of a restart, and what a test spoils."""

    run: Run
    turn: int = 0
    before: Look = field(init=False)
    after: Look = field(init=False)
    preview: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self._first()
        for turn in range(self.turn + 1):
            self.before, self.after = (self.before if turn == 0 else self.after), self._again(turn)
        said = [(self.run.jobs[place], STATUS_OF_TASK_STATE[state]) for place, state in self.restart.runs.items()]
        self.preview = {
            "runs": [{"task_id": job.task_id, "map_index": job.map_index, "status": status} for job, status in said],
            "keeps": sum(self.before.instances[place].state == "success" for place in self.run.tasks),
            "repeats": [
                f"{place} starts its remote job anew; the last one was {self.before.jobs[place][-1].rpartition('/')[2]}."
                for place in self.restart.runs
                if self.before.jobs[place]
            ],
        }

    @property
    def restart(self) -> Restart:
        return self.run.restarts[self.turn]

    def _first(self) -> Look:
        states = {START_BATCH: "success", **self.run.first.states}
        if self.restart.watcher or self.run.restarts[0].watcher:
            states[BATCH_WATCHER] = "upstream_failed"
        nothing = Instance("", None, 0, 0, None, frozenset(), {})
        look = Look(dict.fromkeys(states, nothing), dict.fromkeys(self.run.tasks, ()), "", "")
        return self._ended(look, self.run.first, states)

    def _again(self, turn: int) -> Look:
        restart = self.run.restarts[turn]
        states: dict[str, str] = {place: restart.intended.states[place] for place in restart.runs}
        if restart.watcher:
            later = self.run.restarts[turn + 1 :]
            states[BATCH_WATCHER] = "upstream_failed" if later and later[0].watcher else "success"
        return self._ended(self.before if turn == 0 else self.after, restart.intended, states)

    def _ended(self, look: Look, intended: Round, states: Mapping[str, str]) -> Look:
        """Return a batch after a round in which these have got these states."""
        instances, jobs = dict(look.instances), dict(look.jobs)
        for place, state in states.items():
            then, ended = instances[place], intended.ran.get(place, ())
            # By itself it skips in a try of its own; at first it is start_batch that skips.
            tries = then.try_number + (1 if then.id and state == "skipped" and not ended else len(ended))
            logs = {number: status for number, status in then.logs.items() if number <= then.try_number}
            logs |= {then.try_number + number: "ERROR" for number in range(1, len(ended))}
            instances[place] = Instance(
                id=f"{then.id}+",
                state=state,
                try_number=tries,
                max_tries=then.try_number,
                started_at=datetime(2026, 1, 1, 0, tries, tzinfo=UTC) if tries else None,
                history=frozenset(range(1, tries)) | ({then.try_number} - {0} if then.id else set()),
                logs={**logs, max(1, tries): STATUS_OF_TASK_STATE[state]},
            )
            if place in jobs:
                jobs[place] += tuple(f"{place}/{then.try_number + number}" for number in range(len(ended)))
        return Look(instances, jobs, intended.run_state, STATUS_OF_RUN_STATE[intended.run_state])

    def wrong(self) -> list[str]:
        return list(deviations(self.run, self.turn, self.before, self.preview, self.after))

    def to_run(self, state: str) -> str:
        """Return what must run again and has this state before."""
        return next(place for place, found in sorted(self.restart.runs.items()) if found == state and self.runs(place))

    def runs(self, place: str) -> bool:
        return bool(self.restart.intended.ran.get(place))

    def kept(self) -> str:
        """Return a task that has succeeded, and stays."""
        return next(place for place, state in sorted(self.run.first.states.items()) if state == "success")

    def edit(self, place: str, **changes: Any) -> None:
        now = dataclasses.replace(self.after.instances[place], **changes)
        self.after = dataclasses.replace(self.after, instances={**self.after.instances, place: now})

    def edit_before(self, place: str, **changes: Any) -> None:
        then = dataclasses.replace(self.before.instances[place], **changes)
        self.before = dataclasses.replace(self.before, instances={**self.before.instances, place: then})

    def start(self, place: str) -> None:
        self.after = dataclasses.replace(self.after, jobs={**self.after.jobs, place: (*self.after.jobs[place], "x")})


def courses() -> list[Course]:
    runs = [run for seed in (3, 4) for run in make_plan(seed, 20).runs]
    return [Course(run, turn) for run in runs for turn in range(len(run.restarts))]


@pytest.fixture
def course() -> Course:
    """A restart with something of everything."""
    return next(
        one
        for one in courses()
        if one.turn == 0
        and one.restart.watcher
        and {"failed", "upstream_failed"} <= {state for place, state in one.restart.runs.items() if one.runs(place)}
    )


def say_one_more(course: Course) -> str:
    place = course.kept()
    course.preview["runs"].append({"task_id": place, "map_index": -1, "status": "ERROR"})
    return f"the preview says that {place} runs, and it is kept"


def say_one_less(course: Course) -> str:
    place = course.preview["runs"].pop()["task_id"]
    return f"the preview does not say that {place} runs"


def say_another_instance(course: Course) -> str:
    place = course.preview["runs"][0]["task_id"]
    course.preview["runs"][0]["map_index"] = 0
    return f"the preview says that {place}[0] runs, and it is kept"


def say_another_state(course: Course) -> str:
    place = course.to_run("failed")
    next(one for one in course.preview["runs"] if one["task_id"] == place)["status"] = "BLOCKED"
    return f"the preview says that {place} is BLOCKED, and it is failed"


def hide_a_job(course: Course) -> str:
    place = course.to_run("failed")
    course.preview["repeats"] = [text for text in course.preview["repeats"] if not text.startswith(f"{place} ")]
    return f"the preview does not say that {place} starts its job "


def name_another_job(course: Course) -> str:
    place = course.to_run("failed")
    job = course.before.jobs[place][-1]
    course.before = dataclasses.replace(course.before, jobs={**course.before.jobs, place: (f"{job}/other",)})
    return f"the preview does not say that {place} starts its job other anew"


def name_one_job_more(course: Course) -> str:
    course.preview["repeats"].append("and another one")
    return f"the preview speaks of {len(course.preview['repeats'])} jobs"


def miscount_what_stays(course: Course) -> str:
    course.preview["keeps"] += 1
    return f"the preview says that {course.preview['keeps']} stay"


def clear_what_is_kept(course: Course) -> str:
    place = course.kept()
    course.edit(place, id="new")
    return f"{place} is kept and was cleared"


def clear_start_batch(course: Course) -> str:
    course.edit(START_BATCH, id="new")
    return f"{START_BATCH} is kept and was cleared"


def clear_what_is_tried_again(course: Course) -> str:
    place = course.kept()
    course.edit_before(place, state="up_for_retry")
    course.edit(place, id="new", max_tries=7)
    return f"{place} was left to Airflow and was cleared"


def try_what_is_kept(course: Course) -> str:
    place = course.kept()
    course.edit(place, try_number=9)
    return f"{place} is kept and has another try"


def start_a_kept_job(course: Course) -> str:
    place = course.kept()
    course.start(place)
    return f"{place} is kept and has started its remote job again"


def leave_it(course: Course) -> str:
    place = course.to_run("failed")
    course.edit(place, id=course.before.instances[place].id)
    return f"{place} must run again and was not cleared"


def leave_the_watcher(course: Course) -> str:
    course.edit(BATCH_WATCHER, id=course.before.instances[BATCH_WATCHER].id)
    return f"{BATCH_WATCHER} must run again and was not cleared"


def do_not_run(course: Course) -> str:
    place = course.to_run("upstream_failed")
    course.edit(place, try_number=0)
    return f"{place} was tried 0 times, intended "


def run_twice(course: Course) -> str:
    place = course.to_run("upstream_failed")
    course.edit(place, try_number=9)
    return f"{place} was tried 9 times, intended "


def lose_the_try_before(course: Course) -> str:
    place = course.to_run("failed")
    course.edit(place, history=frozenset())
    return f"try {course.before.instances[place].try_number} of {place} is not in Airflow's history"


def start_two_jobs(course: Course) -> str:
    place = course.to_run("failed")
    course.start(place)
    return f"{place} has started {len(course.after.jobs[place])} remote jobs, intended {len(course.after.jobs[place]) - 1}"


def start_no_job(course: Course) -> str:
    place = course.to_run("upstream_failed")
    course.after = dataclasses.replace(course.after, jobs={**course.after.jobs, place: ()})
    return f"{place} has started 0 remote jobs, intended "


def log_no_new_try(course: Course) -> str:
    place = course.to_run("failed")
    course.edit(place, logs=course.before.instances[place].logs)
    return f"{place} has {course.before.instances[place].try_number} tries in TaskLog, intended "


def end_otherwise(course: Course) -> str:
    place = course.to_run("upstream_failed")
    course.edit(place, state="skipped")
    return f"{place} is skipped, intended "


def fail_otherwise(course: Course) -> str:
    place = course.to_run("upstream_failed")
    course.edit_before(place, state="skipped")
    return f"{place} is skipped, intended upstream_failed"


def lose_a_task(course: Course) -> str:
    place = course.kept()
    course.after = dataclasses.replace(
        course.after, instances={one: found for one, found in course.after.instances.items() if one != place}
    )
    return f"{place}: gone"


def end_the_run_otherwise(course: Course) -> str:
    course.after = dataclasses.replace(course.after, run_state="running", batch_status="PROCESSING")
    return "the run is running, intended "


def end_the_batch_otherwise(course: Course) -> str:
    course.after = dataclasses.replace(course.after, batch_status="PROCESSING")
    return "the TaskBatch is PROCESSING, and the run is "


@pytest.mark.parametrize(
    "spoil",
    [
        say_one_more,
        say_one_less,
        say_another_instance,
        say_another_state,
        hide_a_job,
        name_another_job,
        name_one_job_more,
        miscount_what_stays,
        clear_what_is_kept,
        clear_start_batch,
        clear_what_is_tried_again,
        try_what_is_kept,
        start_a_kept_job,
        leave_it,
        leave_the_watcher,
        do_not_run,
        run_twice,
        lose_the_try_before,
        start_two_jobs,
        start_no_job,
        log_no_new_try,
        end_otherwise,
        fail_otherwise,
        lose_a_task,
        end_the_run_otherwise,
        end_the_batch_otherwise,
    ],
)
def test_every_deviation_is_seen(course: Course, spoil: Callable[[Course], str]) -> None:
    assert course.wrong() == []
    line = spoil(course)
    assert any(found.startswith(line) for found in course.wrong()), course.wrong()


def test_what_is_intended_is_right() -> None:
    assert [line for course in courses() for line in course.wrong()] == []
    assert all(course.after.mirrored() for course in courses())


def test_what_skips_itself_does_so_in_a_try_and_without_a_job() -> None:
    course, place = next(
        (one, place)
        for one in courses()
        for place in one.restart.runs
        if one.restart.intended.states[place] == "skipped" and not one.runs(place)
    )
    assert course.wrong() == []
    course.start(place)
    assert any(line.startswith(f"{place} has started ") for line in course.wrong())
    course.edit(place, try_number=course.before.instances[place].try_number)
    assert f"{place} was tried 0 times, intended 1" in course.wrong()


def test_touched_jobs_are_counted(course: Course) -> None:
    jobs, changed = touched(course.run, 0, course.before, course.after)
    assert (jobs > 0, changed) == (True, 0)
    course.start(course.kept())
    assert touched(course.run, 0, course.before, course.after) == (jobs, 1)


def test_the_tables_are_waited_for(course: Course) -> None:
    assert course.after.mirrored()
    log_no_new_try(course)
    assert not course.after.mirrored()
