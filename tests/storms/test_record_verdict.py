"""The verdict on the record: it is content where both sides say the same and what was done, and sees every kind of mistake."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from demo.postgres import PostgresServer
from tests.storms.intake_world import plain
from tests.storms.record_cases import all_cases
from tests.storms.record_plan import make_plan
from tests.storms.record_strikes import KINDS
from tests.storms.record_verdict import TellingRow, Verdict

AIRFLOW = """
CREATE TABLE dag_run (dag_id text, run_id text, state text, start_date timestamptz, end_date timestamptz, run_after timestamptz);
CREATE TABLE task_instance (dag_id text, run_id text, task_id text, map_index int, try_number int, state text,
    start_date timestamptz, end_date timestamptz);
CREATE TABLE task_instance_history (LIKE task_instance);
CREATE TABLE log (event text, dag_id text, run_id text, task_id text, map_index int, try_number int);
INSERT INTO dag_run VALUES
    ('record_waits', 'b1', 'failed', '2026-03-16 04:00Z', '2026-03-16 04:09Z', '2026-03-16 04:00Z'),
    ('record_waits', 'b2', 'failed', '2026-03-16 04:00Z', '2026-03-16 04:09Z', '2026-03-16 04:00Z'),
    ('other', 'b1', 'failed', '2026-03-16 04:00Z', '2026-03-16 04:09Z', '2026-03-16 04:00Z');
INSERT INTO task_instance VALUES
    ('record_waits', 'b1', 'good', -1, 1, 'success', '2026-03-16 04:01Z', '2026-03-16 04:02Z'),
    ('record_waits', 'b1', 'again', -1, 2, 'success', '2026-03-16 04:03Z', '2026-03-16 04:04Z'),
    ('record_waits', 'b1', 'cleared', -1, 1, NULL, '2026-03-16 04:01Z', '2026-03-16 04:02Z'),
    ('record_waits', 'b1', 'marked', -1, 1, 'failed', '2026-03-16 04:01Z', '2026-03-16 04:05Z'),
    ('record_waits', 'b1', 'blocked', -1, 0, 'upstream_failed', '2026-03-16 04:05Z', '2026-03-16 04:05Z'),
    ('record_waits', 'b1', 'mapped', 0, 1, 'running', '2026-03-16 04:01Z', NULL),
    ('record_waits', 'b1', 'open', -1, 0, 'skipped', NULL, NULL),
    ('record_waits', 'b2', 'lost', -1, 1, 'failed', '2026-03-16 04:01Z', '2026-03-16 04:05Z'),
    ('other', 'b1', 'good', -1, 1, 'success', '2026-03-16 04:01Z', '2026-03-16 04:02Z');
INSERT INTO task_instance_history VALUES
    ('record_waits', 'b1', 'again', -1, 1, 'failed', '2026-03-16 04:01Z', '2026-03-16 04:02Z'),
    ('record_waits', 'b1', 'cleared', -1, 1, 'success', '2026-03-16 04:01Z', '2026-03-16 04:02Z'),
    ('record_waits', 'b1', 'good', -1, 0, NULL, NULL, NULL);
INSERT INTO log VALUES ('heartbeat timeout', 'record_waits', 'b2', 'lost', -1, 1);
"""

OURS = """
CREATE TABLE task_batches (workflow_id text, batch_id text, status text, airflow_state text, started_at timestamptz,
    ended_at timestamptz, error text, end_cause text, ended_by text, run_after timestamptz);
CREATE TABLE task_logs (workflow_id text, batch_id text, task_id text, map_index int, try_number int, status text,
    airflow_state text, started_at timestamptz, ended_at timestamptz, error_type text, error_message text, end_cause text,
    ended_by text);
INSERT INTO task_batches VALUES
    ('record_waits', 'b1', 'ERROR', 'failed', '2026-03-16 04:00Z', '2026-03-16 04:09Z', '1 task failed: marked', 'task',
     NULL, '2026-03-16 04:00Z'),
    ('record_waits', 'b2', 'ERROR', 'failed', '2026-03-16 04:00Z', '2026-03-16 04:09Z', '1 task failed: lost', 'task', NULL,
     '2026-03-16 04:00Z'),
    ('record_waits', 'gone', 'ERROR', NULL, '2026-03-16 04:00Z', '2026-03-16 04:09Z', 'deleted by bob', 'deleted', 'bob',
     '2026-03-16 04:00Z');
INSERT INTO task_logs VALUES
    ('record_waits', 'b1', 'good', -1, 1, 'SUCCESS', 'success', '2026-03-16 04:01Z', '2026-03-16 04:02Z', NULL, NULL, 'task',
     NULL),
    ('record_waits', 'b1', 'again', -1, 1, 'ERROR', 'failed', '2026-03-16 04:01Z', '2026-03-16 04:02Z', NULL, 'no rows', 'task',
     NULL),
    ('record_waits', 'b1', 'again', -1, 2, 'SUCCESS', 'success', '2026-03-16 04:03Z', '2026-03-16 04:04Z', NULL, NULL, 'task',
     NULL),
    ('record_waits', 'b1', 'cleared', -1, 1, 'SUCCESS', 'success', '2026-03-16 04:01Z', '2026-03-16 04:02Z', NULL, NULL, 'task',
     NULL),
    ('record_waits', 'b1', 'cleared', -1, 2, 'NEW', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('record_waits', 'b1', 'marked', -1, 1, 'ERROR', 'failed', '2026-03-16 04:01Z', '2026-03-16 04:05Z', NULL,
     'marked failed by ann', 'marked_failed', 'ann'),
    ('record_waits', 'b1', 'blocked', -1, 1, 'BLOCKED', 'upstream_failed', '2026-03-16 04:05Z', '2026-03-16 04:05Z', NULL,
     'blocked by marked', 'upstream', NULL),
    ('record_waits', 'b1', 'mapped', 0, 1, 'PROCESSING', 'running', '2026-03-16 04:01Z', NULL, NULL, NULL, NULL, NULL),
    ('record_waits', 'b1', 'open', -1, 1, 'ERROR', 'skipped', NULL, '2026-03-16 04:09Z', NULL, 'the DAG run timed out',
     'run_timeout', NULL),
    ('record_waits', 'b2', 'lost', -1, 1, 'ERROR', 'failed', '2026-03-16 04:01Z', '2026-03-16 04:05Z', NULL, 'no heartbeat',
     'heartbeat', NULL),
    ('record_waits', 'gone', 'good', -1, 1, 'ERROR', NULL, '2026-03-16 04:01Z', '2026-03-16 04:02Z', NULL, 'deleted by bob',
     'deleted', 'bob');
"""

TELLING = {"label": "a case", "dag_id": "record_waits", "run_id": "b1", "map_index": -1, "before": 0, "person": None}


def told(
    task_id: str | None, state: str | None, status: str, cause: str = "^(task)$", text: str | None = None, **more: Any
) -> TellingRow:
    return TellingRow(**{**TELLING, "task_id": task_id, "state": state, "status": status, "cause": cause, "text": text, **more})


TOLD = [
    told(None, "failed", "ERROR", text="^1 task failed"),
    told("good", "success", "SUCCESS"),
    told("again", "failed", "ERROR", text="rows", before=1),
    told("again", "success", "SUCCESS"),
    told("marked", "failed", "ERROR", "^(marked_failed)$", "by ann", person="ann"),
    told("good", None, "ERROR", "^(deleted)$", "deleted", person="bob", run_id="gone"),
    told(None, None, "ERROR", "^(deleted)$", "deleted", person="bob", run_id="gone"),
    told("lost", "failed", "ERROR", text="what it says by itself", run_id="b2", label="lost"),
    told(None, "failed", "ERROR", text="^none of them is lost", run_id="b2", label="of a lost one"),
]


class Sides:
    """Both databases, with a run of nearly everything in them; a test breaks rows by hand."""

    def __init__(self, airflow: str, ours: str) -> None:
        self.airflow = psycopg.connect(airflow, autocommit=True)
        self.ours = psycopg.connect(ours, autocommit=True)
        self.airflow.execute(AIRFLOW)
        self.ours.execute(OURS)
        self.told = list(TOLD)
        self.deleted = [("record_waits", "gone")]
        self._addresses = airflow, ours

    def close(self) -> None:
        self.airflow.close()
        self.ours.close()

    def wrong(self) -> list[str]:
        with Verdict(*self._addresses) as verdict:
            verdict.read(self.told, self.deleted)
            return verdict.differences() + verdict.untrue()


@pytest.fixture
def addresses(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> tuple[str, str]:
    number = f"{abs(hash(request.node.nodeid))}_{os.getpid()}"
    first, second = (plain(postgres_server.create_database(f"verdict_{side}_{number}")) for side in ("airflow", "ours"))
    return first, second


@pytest.fixture
def sides(addresses: tuple[str, str]) -> Iterator[Sides]:
    sides = Sides(*addresses)
    yield sides
    sides.close()


def ours(statement: str) -> Callable[[Sides], object]:
    return lambda sides: sides.ours.execute(statement)


def airflow(statement: str) -> Callable[[Sides], object]:
    return lambda sides: sides.airflow.execute(statement)


def tell(row: TellingRow) -> Callable[[Sides], object]:
    return lambda sides: sides.told.append(row)


MISTAKES: dict[str, tuple[Callable[[Sides], object], str]] = {
    "no row": (
        ours("DELETE FROM task_logs WHERE task_id = 'good' AND batch_id = 'b1'"),
        "good[-1] try 1: Airflow has it, success",
    ),
    "no row of an earlier try": (
        ours("DELETE FROM task_logs WHERE task_id = 'again' AND try_number = 1"),
        "again[-1] try 1: Airflow",
    ),
    "no row of a task that waits after a clear": (
        ours("DELETE FROM task_logs WHERE task_id = 'cleared' AND try_number = 2"),
        "cleared[-1] try 2: Airflow has it, without a state",
    ),
    "a row too many": (
        ours("UPDATE task_logs SET try_number = 7 WHERE task_id = 'marked'"),
        "marked[-1] try 7: the record has it",
    ),
    "another map index": (
        ours("UPDATE task_logs SET map_index = 1 WHERE task_id = 'mapped'"),
        "mapped[1] try 1: the record has it",
    ),
    "an old state": (
        ours("UPDATE task_logs SET airflow_state = 'running' WHERE task_id = 'again'"),
        "and the record says running",
    ),
    "no state": (
        ours("UPDATE task_logs SET airflow_state = NULL WHERE task_id = 'mapped'"),
        "it is running, and the record says no",
    ),
    "another status": (
        ours("UPDATE task_logs SET status = 'ERROR' WHERE task_id = 'again'"),
        "is success, and its status is ERROR",
    ),
    "a skip is an error": (
        ours("UPDATE task_logs SET end_cause = 'task' WHERE task_id = 'open'"),
        "open[-1] try 1: it is skipped, and its status is ERROR",
    ),
    "another start": (ours("UPDATE task_logs SET started_at = now() WHERE task_id = 'mapped'"), "it started at 2026-03-16"),
    "no end": (ours("UPDATE task_logs SET ended_at = NULL WHERE task_id = 'lost'"), "and the record says never"),
    "the end of the run": (
        airflow("UPDATE dag_run SET end_date = now() WHERE dag_id = 'record_waits'"),
        "open[-1] try 1: it ended",
    ),
    "no batch": (ours("DELETE FROM task_batches WHERE batch_id = 'b1'"), "batch: Airflow has it, failed"),
    "another batch status": (ours("UPDATE task_batches SET status = 'SUCCESS' WHERE batch_id = 'b1'"), "the record says SUCCESS"),
    "another batch state": (
        ours("UPDATE task_batches SET airflow_state = 'x' WHERE batch_id = 'b1'"),
        "the record says ERROR, x",
    ),
    "another batch start": (ours("UPDATE task_batches SET started_at = NULL WHERE batch_id = 'b1'"), "did not start when"),
    "another batch end": (ours("UPDATE task_batches SET ended_at = NULL WHERE batch_id = 'b1'"), "batch: it did not end when"),
    "another run": (ours("UPDATE task_batches SET run_after = now() WHERE batch_id = 'b1'"), "batch: it is another run"),
    "a run that nobody deleted": (lambda sides: sides.deleted.clear(), "gone batch: the record has it, and nobody deleted"),
    "a try of a run that nobody deleted": (lambda sides: sides.deleted.clear(), "gone good[-1] try 1: the record has a try"),
    "a deleted run goes on": (
        ours("UPDATE task_batches SET status = 'PROCESSING' WHERE batch_id = 'gone'"),
        "deleted and it is PROC",
    ),
    "a deleted try goes on": (
        ours("UPDATE task_logs SET status = 'NEW' WHERE batch_id = 'gone'"),
        "its run is deleted and it is NEW",
    ),
    "another cause": (ours("UPDATE task_logs SET end_cause = 'remote' WHERE task_id = 'again'"), "has the cause remote and not"),
    "another cause of a batch": (
        ours("UPDATE task_batches SET end_cause = 'killed'"),
        "batch: its end has the cause killed and not",
    ),
    "another person": (ours("UPDATE task_logs SET ended_by = 'bob' WHERE task_id = 'marked'"), "ended by bob and not by ann"),
    "no person": (ours("UPDATE task_batches SET ended_by = NULL WHERE batch_id = 'gone'"), "ended by nobody and not by bob"),
    "a person who did nothing": (
        ours("UPDATE task_batches SET ended_by = 'ann' WHERE batch_id = 'b1'"),
        "by ann and not by nobody",
    ),
    "another text": (ours("UPDATE task_logs SET error_message = 'x' WHERE task_id = 'marked'"), "it says x and not by ann"),
    "a text of nothing": (ours("UPDATE task_logs SET error_message = 'stale' WHERE task_id = 'good'"), "it says stale"),
    "another text of a batch": (ours("UPDATE task_batches SET error = 'x' WHERE batch_id = 'b1'"), "batch: it says x and not"),
    "a status that was not intended": (tell(told("blocked", "upstream_failed", "ERROR")), "it is BLOCKED and not ERROR"),
    "a run that is still there": (tell(told("good", None, "SUCCESS")), "its run is still there"),
    "nothing of what was done": (tell(told("never", None, "SUCCESS")), "there is no row of it"),
    "no cause": (ours("UPDATE task_logs SET end_cause = NULL WHERE task_id = 'blocked'"), "does not say by what"),
    "no reason": (
        ours("UPDATE task_logs SET error_message = '' WHERE task_id = 'blocked'"),
        "it is BLOCKED and does not say why",
    ),
    "a secret": (ours("UPDATE task_logs SET error_message = 'MIIEcanary' WHERE task_id = 'blocked'"), "there is a secret in it"),
    "several lines": (ours("UPDATE task_logs SET error_message = E'a\\nb' WHERE task_id = 'blocked'"), "has several lines"),
    "a person and no mark": (ours("UPDATE task_logs SET ended_by = 'bob' WHERE task_id = 'blocked'"), "do not go together"),
    "a mark and no person": (ours("UPDATE task_logs SET ended_by = NULL WHERE task_id = 'marked'"), "nobody do not go together"),
    "no cause of a batch": (
        ours("UPDATE task_batches SET end_cause = NULL WHERE batch_id = 'b2'"),
        "b2 batch: it has ended, ERROR",
    ),
    "no reason of a batch": (ours("UPDATE task_batches SET error = '' WHERE batch_id = 'b2'"), "b2 batch: it is ERROR and does"),
    "a secret in a batch": (ours("UPDATE task_batches SET error = 'MIIEcanary' WHERE batch_id = 'b2'"), "b2 batch: there is a"),
    "a lost try": (ours("UPDATE task_logs SET end_cause = 'upstream' WHERE task_id = 'lost'"), "the scheduler has lost it"),
}


def test_it_is_content_where_nothing_is_wrong(sides: Sides) -> None:
    assert sides.wrong() == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_names_a_mistake(sides: Sides, mistake: str) -> None:
    make, told_so = MISTAKES[mistake]
    make(sides)
    assert told_so in "\n".join(sides.wrong())


def test_what_was_killed_is_no_mistake_and_does_not_count(sides: Sides, addresses: tuple[str, str]) -> None:
    sides.told.append(told("good", "failed", "ERROR", label="never came"))
    sides.told.append(told(None, "failed", "ERROR", text="^2 tasks failed", label="tells of it"))
    with Verdict(*addresses) as verdict:
        verdict.read(sides.told, sides.deleted)
        assert verdict.untrue() == []
        assert verdict.disturbed() == [
            "a case: b1 batch: Airflow says failed, intended failed",
            "lost: b2 lost[-1] newest try: Airflow says failed, intended failed",
            "never came: b1 good[-1] newest try: Airflow says success, intended failed",
            "of a lost one: b2 batch: Airflow says failed, intended failed",
            "tells of it: b1 batch: Airflow says failed, intended failed",
        ]
        assert [tuple(row) for row in verdict.table()] == [
            ("a case", 2, 7, 1, 0),
            ("lost", 1, 1, 1, 0),
            ("never came", 1, 1, 1, 0),
            ("of a lost one", 1, 1, 1, 0),
            ("tells of it", 1, 1, 1, 0),
        ]
        disturbed = ("lost", "never came", "of a lost one", "tells of it")
        assert verdict.rare(1) == [f"{label}: 1 rows, and only 0 undisturbed" for label in disturbed]
        assert verdict.sizes() == (3, 11)


def test_differences_and_faults_are_counted_by_case(sides: Sides, addresses: tuple[str, str]) -> None:
    sides.ours.execute("UPDATE task_logs SET airflow_state = 'running', end_cause = 'killed' WHERE task_id = 'good'")
    with Verdict(*addresses) as verdict:
        verdict.read(sides.told, sides.deleted)
        assert [row.differences for row in verdict.table() if row.label == "a case"] == [3]


def test_a_second_look_sees_what_changed(sides: Sides, addresses: tuple[str, str]) -> None:
    with Verdict(*addresses) as verdict:
        verdict.read(sides.told, sides.deleted)
        assert verdict.differences() == []
        sides.airflow.execute("UPDATE task_instance SET state = 'failed' WHERE task_id = 'again'")
        verdict.read(sides.told, sides.deleted)
        assert verdict.differences() == ["record_waits b1 again[-1] try 2: it is failed, and the record says success"]


def test_the_whole_storm_is_as_large_as_it_has_to_be() -> None:
    plan = make_plan(3, len(KINDS))
    runs = [run for wave in plan.waves for run in wave.runs]
    assert {wave.kind for wave in plan.waves} == set(KINDS)
    assert {run.person for run in runs if run.case.act} == {"ann", "bob"}
    assert len(runs) >= 60
    assert sum(len(run.case.told) for run in runs) >= 300
    assert len({run.batch_id for run in runs}) == len(runs)
    assert len({case.name for case in all_cases()}) == len(all_cases())
    counts = Counter(run.case.name for run in runs)
    assert counts.keys() == {case.name for case in all_cases()}
    assert min(counts.values()) >= 3


def test_a_plan_follows_from_its_seed() -> None:
    def who(seed: int) -> list[tuple[str, str]]:
        return [(run.batch_id, run.person) for wave in make_plan(seed, 2).waves for run in wave.runs]

    assert who(5) == who(5) != who(6)


def test_a_case_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="no such case: nothing of the kind"):
        make_plan(1, 1, names=["nothing of the kind"])
