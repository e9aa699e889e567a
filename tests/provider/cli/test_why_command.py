"""One row per cause: rows of the application database and what Airflow says, and the first line that comes of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.log import mask_secret
from sqlalchemy import update

from provider.airflow_view.view import DagState, NextTry, Waiting
from provider.cli import why_commands
from provider.metadata.definitions import delete_workflows
from provider.metadata.engine import write_session
from provider.metadata.tables import Task, Workflow
from tests.provider.cli.running_batch import NOON, Airflow, airflow, batch, log, rows, unseen

__all__ = ["airflow"]

#: What is said of a task that has run for a while.
ITS_LOG = "Its log in Airflow says what it does; `accelerator doctor` tells whether the services answer."
TOMORROW = datetime.now(UTC) + timedelta(days=1)
TOMORROW_TOLD = f"{TOMORROW:%Y-%m-%dT%H:%M:%SZ}"
GONE = DagState(paused=False, stale=True, running=1)
LIVE = {"scheduler": {"status": "healthy"}}
OTHERS = "provider.exceptions.DefinitionError: 1 problem in the workflow definitions. Other workflows are not affected"


def running(runs: int, *, of: int) -> DagState:
    return DagState(paused=False, stale=False, running=runs, max_active_runs=of)


#: Attributes of Airflow, and the beginning of the first line for the batch.
OF_BATCH: list[tuple[dict[str, Any], str]] = [
    (
        {"known": DagState(paused=True, stale=False, running=1)},
        "DAG w is paused. `accelerator resume w`, or its switch in Airflow.",
    ),
    ({"known": GONE}, "No DAG file defines w any more."),
    ({"known": None}, "No DAG file defines w yet."),
    (
        {"known": GONE, "errors": [{"filename": "w.py", "stack_trace": "Traceback:\n  x\nSyntaxError: invalid syntax\n"}]},
        "DAG w is gone: w.py cannot be imported, SyntaxError: invalid syntax. Correct that file,",
    ),
    (
        {"known": None, "errors": [{"filename": "w.py", "stack_trace": "SyntaxError: x."}, {"filename": "v.py"}]},
        "Airflow has no DAG w, and there are DAG files that cannot be imported: w.py, v.py. w.py cannot be imported, SyntaxErr",
    ),
    # The file that shows what is wrong with other workflows makes no DAG.
    ({"known": None, "errors": [{"filename": "e.py", "stack_trace": OTHERS}]}, "No DAG file defines w yet."),
    (
        {"known": None, "state": {**LIVE, "dag_processor": {"status": None}}},
        "Airflow has no DAG w, and no dag-processor is alive, last heartbeat an unknown time. Start `airflow dag-processor`.",
    ),
    (
        {"known": GONE, "state": {**LIVE, "dag_processor": {"status": "healthy"}}},
        "No DAG file defines w any more. Wait for the next parse;",
    ),
    ({"run_state": None}, "Airflow has no run B1 of w any more."),
    (
        {"run_state": "queued", "active": [f"B{n}" for n in range(2, 9)], "known": running(7, of=7)},
        "The run is queued while others run: B2, B3, B4, B5, B6 and 2 more. Wait for one of them, or raise max_active_batches",
    ),
    (
        {"run_state": "queued", "active": [f"B{n}" for n in range(2, 102)], "known": running(150, of=120)},
        "The run is queued while others run: B2, B3, B4, B5, B6 and 145 more.",
    ),
    (
        {"run_state": "queued", "active": [f"B{n}" for n in range(2, 102)], "known": running(150, of=500)},
        "The run is queued and the scheduler has not begun it yet, while 150 of 500 that may run do.",
    ),
    (
        {"run_state": "queued", "active": ["B2"]},
        "The run is queued and the scheduler has not begun it yet. The scheduler's log says why; `accelerator doctor`",
    ),
    (
        {"run_state": "queued", "active": ["B2"], "known": running(1, of=16)},
        "The run is queued and the scheduler has not begun it yet, while 1 of 16 that may run do. The scheduler's log",
    ),
    ({"run_state": "queued"}, "The run is queued and the scheduler has not begun it yet."),
    (
        {"state": {"scheduler": {"status": "unhealthy", "latest_scheduler_heartbeat": "2026-03-16T04:00:00Z"}}},
        "No scheduler is alive, last heartbeat 2026-03-16T04:00:00Z. Start `airflow scheduler`.",
    ),
    ({}, "All tasks have ended; the run is about to."),
]


@pytest.mark.usefixtures("application_database")
@pytest.mark.parametrize(("said", "line"), OF_BATCH, ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_a_batch(accelerator, airflow: Airflow, said: dict[str, Any], line: str) -> None:
    rows(batch())
    vars(airflow).update(said)
    found = accelerator("why", "B1")
    assert found.code == 0, found.err
    assert found.out.splitlines()[0].startswith(line)


FULL = {"default_pool": {"slots": 1, "occupied_slots": 1}}
CROWD = [{"dag_id": "other", "task_id": f"x{number}", "dag_run_id": "R", "state": "running"} for number in range(105)]
#: State of a and values of its instance, attributes of Airflow, and the beginning of the first line for it.
OF_TASK: list[tuple[str | None, dict[str, Any], dict[str, Any], str]] = [
    ("scheduled", {"pool": "none"}, {}, "There is no pool none."),
    (
        "scheduled",
        {},
        {"pools": FULL, "inside": [{"dag_id": "other", "task_id": "x", "dag_run_id": "R"}]},
        "Pool default_pool is full, 1 of 1 slots are taken: other x in R.",
    ),
    ("scheduled", {}, {"pools": {"default_pool": {"slots": 0, "occupied_slots": 0}}}, "Pool default_pool is full, 0 of 0 slots"),
    (
        "scheduled",
        {"pool_slots": 2},
        {"pools": {"default_pool": {"slots": 4, "occupied_slots": 3}}},
        "Pool default_pool has too little room, 3 of 4 slots are taken and a needs 2.",
    ),
    (
        "scheduled",
        {"pool_slots": 9},
        {"pools": {"default_pool": {"slots": 4, "occupied_slots": 0}}},
        "a can never run: it needs 9 slots of pool default_pool, which has 4. Give the pool more slots in Airflow, or lower",
    ),
    (
        "scheduled",
        {"pool_slots": 9},
        {"pools": {"default_pool": {"slots": -1, "occupied_slots": 3}}},
        "The scheduler has not queued a",
    ),
    ("scheduled", {}, {"everywhere": CROWD}, "The scheduler has not queued a yet, while at least 100 are queued or run: "),
    (
        "scheduled",
        {},
        {"pools": FULL, "inside": CROWD},
        "Pool default_pool is full, 1 of 1 slots are taken: other x0 in R, other x1 in R, other x2 in R, other x3 in R, "
        "other x4 in R and at least 95 more.",
    ),
    (
        "queued",
        {},
        {"everywhere": [*CROWD[:60], *({**one, "state": "queued"} for one in CROWD[60:])]},
        "a is queued since an unknown time and no worker has taken it (executor of the default, queue default), while at least",
    ),
    ("scheduled", {}, {"said": ["Max active tasks reached"]}, "Airflow says: Max active tasks reached"),
    ("scheduled", {}, {}, "The scheduler has not queued a yet. Look at [core] parallelism"),
    (
        "scheduled",
        {},
        {"everywhere": [{"dag_id": "other", "task_id": "x", "dag_run_id": "R"}]},
        "The scheduler has not queued a yet, while 1 are queued or run: other x in R. Look at [core] parallelism",
    ),
    ("queued", {"queue": "q", "queued_when": NOON}, {}, "a is queued since 2026-03-16T12:00:00Z and no worker has taken it"),
    (
        "queued",
        {"queue": "q", "queued_when": NOON},
        {"everywhere": [{"dag_id": "o", "task_id": name, "dag_run_id": "R", "state": name} for name in ("queued", "running")]},
        "a is queued since 2026-03-16T12:00:00Z and no worker has taken it (executor of the default, queue q), while 1 run: "
        "o running in R. See that workers of that queue run and have room",
    ),
    ("running", {"start_date": NOON}, {}, f"a is running since 2026-03-16T12:00:00Z. {ITS_LOG}"),
    ("running", {"start_date": "2026-03-16T12:00:00.123456+00:00"}, {}, "a is running since 2026-03-16T12:00:00Z."),
    ("up_for_retry", {}, {}, "a has failed and waits for its next try."),
    (
        "up_for_retry",
        {},
        {"due": NextTry(TOMORROW, exact=True)},
        f"a has failed and waits for its next try, due at {TOMORROW_TOLD}.",
    ),
    (
        "up_for_retry",
        {},
        {"due": NextTry(TOMORROW, exact=False)},
        f"a has failed and waits for its next try, due at {TOMORROW_TOLD} at the earliest, as its pauses grow.",
    ),
    (
        "up_for_retry",
        {},
        {"due": NextTry(NOON, exact=True)},
        "a has failed and waits for its next try, due since 2026-03-16T12:00:00Z.",
    ),
    ("up_for_retry", {}, {"state": {"scheduler": {"status": "unhealthy"}}}, "No scheduler is alive,"),
    ("up_for_retry", {}, {"known": DagState(paused=True, stale=False, running=1)}, "DAG w is paused."),
    ("up_for_reschedule", {}, {"state": {"scheduler": {"status": "unhealthy"}}}, "No scheduler is alive,"),
    ("up_for_reschedule", {}, {}, "a has put itself off. Its log says what it looks for."),
    (
        "up_for_reschedule",
        {},
        {"put_off": Waiting(NOON, NOON + timedelta(minutes=3))},
        "a has put itself off since 2026-03-16T12:00:00Z; the next look is at 2026-03-16T12:03:00Z.",
    ),
    ("deferred", {}, {}, "a waits for a message that tells its end: task_id a, batch_id B1, status SUCCESS or ERROR."),
    (
        "deferred",
        {},
        {"state": {"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}},
        "a is deferred and no triggerer is alive",
    ),
    ("failed", {}, {}, "a has ended as failed"),
]


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("state", "values", "said", "line"), OF_TASK, ids=lambda value: value[:30] if isinstance(value, str) else ""
)
def test_a_task(
    accelerator, airflow: Airflow, state: str | None, values: dict[str, Any], said: dict[str, Any], line: str
) -> None:
    rows(batch())
    airflow.add("start_batch", "success")
    airflow.add("a", state, **values)
    vars(airflow).update(said)
    found = accelerator("why", "a", "B1")
    assert found.code == 0, found.err
    assert found.out.splitlines()[0].startswith(line)


#: When start_batch waits, and the first line for it.
OF_OUTAGE: list[tuple[Waiting | None, str]] = [
    (
        Waiting(NOON, NOON + timedelta(minutes=3)),
        "start_batch waits for the application database since 2026-03-16T12:00:00Z, until 2026-03-16T14:00:00Z at most "
        "([accelerator] outage_wait_hours); the next look is at 2026-03-16T12:03:00Z.",
    ),
    (None, "start_batch waits for the application database, for 2:00:00 at most ([accelerator] outage_wait_hours)."),
]


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize("names", [("B1",), ("start_batch", "B1")], ids=len)
@pytest.mark.parametrize(("put_off", "line"), OF_OUTAGE, ids=["known", "unknown"])
def test_a_batch_that_waits_for_the_application_database(
    accelerator, airflow: Airflow, monkeypatch: pytest.MonkeyPatch, put_off: Waiting | None, line: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__OUTAGE_WAIT_HOURS", "2")
    rows(batch("NEW"))
    airflow.add("start_batch", "up_for_reschedule")
    airflow.add("a", None)
    airflow.put_off = put_off
    assert accelerator("why", *names).out.startswith(line)


#: Airflow's state of a task with a remote job, values of its row, and the first line for it.
OF_JOB: list[tuple[str, dict[str, Any], str]] = [
    (
        "deferred",
        {"remote_job_id": "j1", "remote_job_url": "https://x.example/j1", "remote_job": {"service": {"name": "dataform"}}},
        "b waits for remote job j1 of dataform since 2026-03-16T12:00:00Z; on record it has not ended, as of "
        "2026-03-16T12:00:00Z. Look at https://x.example/j1",
    ),
    ("running", {"remote_job_id": "j1"}, "b waits for remote job j1 since 2026-03-16T12:00:00Z; on record it has not ended"),
    ("running", {}, "b is running since 2026-03-16T12:00:00Z."),
]


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize("names", [("B1",), ("b", "B1")], ids=len)
@pytest.mark.parametrize(("state", "values", "line"), OF_JOB)
def test_a_task_that_waits_for_its_remote_job(
    accelerator, airflow: Airflow, state: str, values: dict[str, Any], line: str, names: tuple[str, ...]
) -> None:
    rows(batch(), log("b", "PROCESSING", **values))
    airflow.add("b", state, start_date=NOON)
    assert accelerator("why", *names).out.startswith(line)


@pytest.mark.usefixtures("embedded_database")
def test_a_job_of_an_earlier_try_is_not_waited_for(accelerator, airflow: Airflow) -> None:
    rows(batch(), log("b", "ERROR", remote_job_id="j1"))
    airflow.add("b", "running", start_date=NOON)
    assert accelerator("why", "b", "B1").out.startswith("b is running since")


@pytest.mark.usefixtures("embedded_database")
def test_a_try_that_waits_for_the_next_one_says_why_it_failed(accelerator, airflow: Airflow) -> None:
    rows(batch(), log("a", "ERROR", error_message="no table"))
    airflow.add("a", "up_for_retry")
    assert accelerator("why", "a", "B1").out.startswith("a has failed and waits for its next try: no table")


@pytest.mark.usefixtures("embedded_database")
def test_a_workflow_with_a_wrong_definition(accelerator, airflow: Airflow) -> None:
    rows(batch(), Task(task_id="c", workflow_id="w", task_type="gsc", config={}))
    airflow.known = None
    line = accelerator("why", "B1").out.splitlines()[0]
    assert line.startswith(
        "Airflow has no DAG w, as its definition is broken: tasks row c: task_type: 'gsc' is not known; known types"
    )
    assert line.endswith("Correct its rows: `accelerator validate` lists all that is wrong.")


@pytest.mark.usefixtures("embedded_database")
def test_a_workflow_that_was_deleted(accelerator, airflow: Airflow) -> None:
    rows(batch())
    with write_session() as session:
        delete_workflows(session, ["w"])
    airflow.known = GONE
    said = "Table workflows has no row w, so there is no DAG. Import the workflow again."
    assert accelerator("why", "B1").out.startswith(said)


@pytest.mark.usefixtures("embedded_database")
def test_a_task_waits_for_its_parents(accelerator, airflow: Airflow) -> None:
    rows(batch())
    airflow.add("a", "running")
    airflow.add("b", None)
    assert accelerator("why", "b", "latest").out.startswith("b waits for a (running). Ask for the first of them.")


@pytest.mark.usefixtures("embedded_database")
def test_a_batch_waits_for_its_first_task_and_not_for_those_behind(accelerator, airflow: Airflow) -> None:
    rows(batch())
    airflow.add("start_batch", "success")
    airflow.add("a", "running", start_date=NOON)
    airflow.add("b", None)
    assert accelerator("why", "B1").out.splitlines()[0] == f"a is running since 2026-03-16T12:00:00Z. {ITS_LOG}"


@pytest.mark.usefixtures("embedded_database")
def test_a_task_that_has_just_begun_needs_no_advice(accelerator, airflow: Airflow) -> None:
    rows(batch())
    began = datetime.now(UTC)
    airflow.add("a", "running", start_date=began.isoformat())
    assert accelerator("why", "B1").out.splitlines()[0] == f"a is running since {began:%Y-%m-%dT%H:%M:%SZ}."


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize("reason", ["out of scope of this batch", "the task is disabled"])
def test_a_task_that_the_batch_leaves_out(accelerator, airflow: Airflow, reason: str) -> None:
    rows(batch(), log("a", "SKIPPED", error_message=reason))
    airflow.add("a", "skipped")
    assert accelerator("why", "a", "B1").out == f"a does not run in this batch: {reason}.\n"


@pytest.mark.usefixtures("embedded_database")
def test_a_task_that_failed_says_why_and_by_whom(accelerator, airflow: Airflow) -> None:
    rows(batch(), log("a", "ERROR", error_message="no table\nmore", ended_by="ann"))
    airflow.add("a", "failed")
    assert accelerator("why", "a", "B1").out.startswith("a has ended as failed by ann: no table")


@pytest.mark.usefixtures("embedded_database")
def test_a_batch_that_has_ended_needs_no_airflow(accelerator, airflow: Airflow) -> None:
    rows(batch("ERROR", ended_at=NOON, ended_by="ann", end_cause="marked_failed"))
    found = accelerator("why", "B1", "-o", "json")
    (answer,) = json.loads(found.out)
    assert answer["reason"] == "The batch has ended as ERROR at 2026-03-16T12:00:00Z, by ann (marked_failed)."


@pytest.mark.usefixtures("embedded_database")
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("B2",), "there is no batch B2;"),
        (("x", "B1"), "batch B1 has no task x; it has a."),
        (("x", "y", "B1"), "name a batch or a message, or a task and its batch; nothing more."),
    ],
)
def test_unknown_names(accelerator, airflow: Airflow, names: tuple[str, ...], said: str) -> None:
    rows(batch())
    airflow.add("a", "running")
    found = accelerator("why", *names)
    assert found.code == 1
    assert said in found.err


@pytest.mark.usefixtures("embedded_database")
def test_a_state_that_is_no_end_is_told_of(accelerator, airflow: Airflow) -> None:
    rows(batch())
    airflow.add("a", "awaiting_input", start_date="2026-03-16T12:00:00Z")
    assert "a is awaiting_input since 2026-03-16T12:00:00Z." in accelerator("why", "B1").out


@pytest.mark.usefixtures("embedded_database")
def test_no_secret_is_told(accelerator, airflow: Airflow) -> None:
    mask_secret("canary-known-4411aa")
    rows(batch(), log("a", "ERROR", error_message="password canary-known-4411aa was refused"))
    airflow.add("a", "failed")
    assert accelerator("why", "a", "B1").out.startswith("a has ended as failed: password *** was refused")


@pytest.mark.usefixtures("embedded_database")
def test_a_secret_is_masked_before_its_text_is_cut(accelerator, airflow: Airflow) -> None:
    mask_secret("canary-across-a-cut-5522bb")
    of_batch, of_task = (f"{'x' * length}-canary-across-a-cut-5522bb was refused" for length in (1490, 290))
    rows(batch("ERROR", ended_at=NOON, error=of_batch), log("a", "ERROR", error_message=of_task))
    airflow.add("a", "failed")
    assert f": {'x' * 1490}-*** was … Mend" in accelerator("why", "B1").out
    assert accelerator("why", "a", "B1").out.startswith(f"a has ended as failed: {'x' * 290}-*** was … Mend")


@pytest.mark.usefixtures("embedded_database")
def test_an_error_that_says_nothing(accelerator, airflow: Airflow) -> None:
    rows(batch("ERROR", ended_at=NOON, error="\n \n"), log("a", "ERROR", error_message=" \n"))
    airflow.add("a", "failed")
    assert "The batch has ended as ERROR at 2026-03-16T12:00:00Z. Mend" in accelerator("why", "B1").out
    assert "a has ended as failed. Mend" in accelerator("why", "a", "B1").out


@pytest.mark.usefixtures("embedded_database")
def test_an_id_that_a_shell_would_take_apart_is_quoted_where_it_is_advised(accelerator, airflow: Airflow) -> None:
    odd = batch("ERROR", ended_at=NOON)
    failed = log("a", "ERROR")
    odd.batch_id = failed.batch_id = "B 1; ls"
    rows(odd, failed)
    assert "`accelerator restart 'B 1; ls'`" in accelerator("why", "B 1; ls").out


@pytest.mark.usefixtures("embedded_database")
def test_a_limit_is_seen_whatever_else_runs(accelerator, airflow: Airflow) -> None:
    rows(batch())
    with write_session() as session:
        session.execute(update(Workflow).values(max_active_tasks=1))
    airflow.add("a", "scheduled")
    mine = {"dag_id": "w", "dag_run_id": "B1", "task_id": "b", "state": "running"}
    airflow.everywhere = [*CROWD, mine]

    assert accelerator("why", "B1").out.startswith("a waits as max_active_tasks is 1, and so many are queued or run: w b in B1.")


@pytest.mark.usefixtures("embedded_database")
def test_a_run_that_is_new_wants_nothing(accelerator, airflow: Airflow) -> None:
    new = batch("NEW")
    new.created_at = datetime.now(UTC)
    rows(new)
    airflow.run_state = "queued"
    said = "The run is queued and the scheduler has not begun it yet. That takes seconds: ask again."
    assert accelerator("why", "B1").out.splitlines()[0] == said


@pytest.mark.usefixtures("embedded_database")
def test_an_airflow_that_cannot_be_asked(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_commands, "open_view", unseen)
    rows(batch())
    found = accelerator("why", "B1")
    assert (found.code, found.err) == (
        1,
        "error: Airflow cannot be asked: there is no Airflow database here. Set a connection.\n",
    )
