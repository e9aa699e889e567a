"""Workflows and tasks that are not to run for a while: by their rows, and by Airflow's pause."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete

from provider.cli.who import who
from provider.metadata.engine import write_session
from provider.metadata.tables import Task
from tests.provider.cli.workflow_files import stored_rows, task_of, workflow_of
from tests.provider.hooks.airflow_api_server import Server


@pytest.fixture(autouse=True)
def _stored(accelerator, application_database: str, write) -> None:
    workflows = (workflow_of("one", task_of("a"), task_of("b", "a"), task_of("c", "b")), workflow_of("two", task_of("x")))
    assert accelerator("import", write(*workflows)).code == 0


def enabled() -> dict[str, bool]:
    rows = stored_rows()
    return {row["workflow_id"]: row["enabled"] for row in rows.workflows} | {row["task_id"]: row["enabled"] for row in rows.tasks}


def versions(accelerator, workflow_id: str) -> list[tuple[str, str]]:
    found = json.loads(accelerator("history", workflow_id, "-o", "json").out)
    return [(one["action"], one["created_by"]) for one in found]


ALL_ON = dict.fromkeys(("one", "two", "a", "b", "c", "x"), True)


def test_a_workflow_is_switched_off_and_on_and_the_history_says_who(accelerator) -> None:
    ran = accelerator("disable", "one")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("one is disabled: its schedule stops and its messages wait; ")
    assert enabled() == ALL_ON | {"one": False}
    assert accelerator("disable", "one").out == "one was disabled already.\n"

    assert accelerator("enable", "one").out.startswith("one is enabled: its schedule goes on")
    assert enabled() == ALL_ON
    assert versions(accelerator, "one") == [(action, who()) for action in ("enable", "disable", "import")]
    assert versions(accelerator, "two") == [("import", who())]


def test_tasks_are_switched_off_alone(accelerator) -> None:
    accelerator("disable", "one", "--task", "b")
    ran = accelerator("disable", "one", "--task", "b", "--task", "a")
    assert ran.out.splitlines() == [
        "task b of one was disabled already.",
        "task a of one is disabled: it is skipped in batches that start from now on; in those that have started it still runs.",
    ]
    assert enabled() == ALL_ON | {"a": False, "b": False}
    assert accelerator("validate").code == 0
    (newest, *_) = json.loads(accelerator("history", "one", "-o", "json").out)
    assert {row["task_id"]: row["enabled"] for row in newest["rows"]["tasks"]} == {"a": False, "b": False, "c": True}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["oen"], "there is no workflow oen; did you mean one? stored are: one, two."),
        (["one", "--task", "x"], "workflow one has no task x; its tasks are: a, b, c."),
    ],
)
def test_what_is_not_there_is_refused(accelerator, arguments: list[str], said: str) -> None:
    for command in ("enable", "disable"):
        ran = accelerator(command, *arguments)
        assert (ran.code, ran.err) == (1, f"error: {said}\n")
    assert enabled() == ALL_ON
    assert versions(accelerator, "one") == [("import", who())]


def test_a_switch_is_no_word_on_rows_that_are_lost(accelerator) -> None:
    """A version with fewer tasks would tell the DAG factory that somebody meant the others to go."""
    with write_session() as session:
        session.execute(delete(Task).where(Task.task_id == "c"))
    ran = accelerator("disable", "one")
    assert ran.code == 1
    assert ran.err.startswith("error: one has lost rows since version 1 (tasks: 1, dependencies: 1); import it again, ")
    assert len(versions(accelerator, "one")) == 1
    assert accelerator("confirm").code == 0
    assert accelerator("disable", "one").code == 0
    assert [action for action, _by in versions(accelerator, "one")] == ["disable", "found", "import"]


@pytest.mark.parametrize(
    ("command", "paused", "said"), [("pause", True, "is paused: messages"), ("resume", False, "is resumed: ")]
)
def test_airflow_is_asked_to_pause(accelerator, server: Server, command: str, paused: bool, said: str) -> None:
    ran = accelerator(command, "one", "two")
    assert (ran.code, ran.err) == (0, "")
    assert [line.partition(" ")[2][: len(said)] for line in ran.out.splitlines()] == [said, said]
    asked = [(method, path, query, body) for method, path, query, _token, body in server.asked]
    assert asked == [
        ("PATCH", f"/api/v2/dags/{name}", {"update_mask": ["is_paused"]}, {"is_paused": paused}) for name in ("one", "two")
    ]
    assert enabled() == ALL_ON


def test_where_one_is_unknown_none_is_paused(accelerator, server: Server) -> None:
    ran = accelerator("pause", "one", "twoo")
    assert ran.code == 1
    assert ran.err.startswith("error: there is no workflow twoo; did you mean two?")
    assert not server.asked


def test_one_that_airflow_refuses_does_not_keep_the_others(accelerator, server: Server) -> None:
    server.answer = lambda path, _query: (404, {"detail": "Dag with id: one was not found"}) if "one" in path else (200, {})
    ran = accelerator("pause", "one", "two")
    assert ran.code == 1
    assert ran.err.startswith("error: Airflow did not pause one: Airflow PATCH /api/v2/dags/one answered 404: ")
    assert ran.out.startswith("two is paused")
