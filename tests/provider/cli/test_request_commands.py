"""The inbox on the command line: what waits, what was rejected and why, and another chance for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from provider import messages
from provider.cli.main import console
from provider.metadata import request_queue, states
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import BatchRequest, Workflow
from tests.provider.metadata.inbox_world import claim, message, receive, rows, store_definitions


@pytest.fixture(autouse=True)
def _definitions(application_database: str) -> None:
    store_definitions()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = console(["requests", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    code, out, _err = run(capsys, "--output", "json", *arguments)
    assert code == 0
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_what_waits_and_what_was_rejected_is_listed_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"), message("2", task_id="stg_orders", batch_id="B1"))
    receive(message("3", task_id="nobody\x1b[31m"))
    assert [(request["message_id"], request["state"]) for request in listed(capsys)] == [("3", "rejected"), ("1", "received")]
    assert [request["message_id"] for request in listed(capsys, "--state", "duplicate")] == ["2"]
    assert [request["message_id"] for request in listed(capsys, "--state", "all", "--limit", "2")] == ["3", "2"]
    assert [request["message_id"] for request in listed(capsys, "--workflow", "daily_sales")] == ["1"]
    code, out, _err = run(capsys)
    assert code == 0
    assert "is in no row of the table tasks" in out
    assert "\x1b" not in out


def test_an_empty_inbox_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == (0, "No requests wait or were rejected; --state all shows the others.\n", "")


def test_a_rejected_message_has_another_chance_once_its_workflow_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    receive(message("1", task_id="new_task", batch_id="B1", params={"x": 1}))
    (rejected,) = rows()
    assert run(capsys, "retry", str(rejected.id))[0] == 1
    (rejected,) = rows()
    assert rejected.state == "rejected"
    with write_session() as session:
        task = {"task_id": "new_task", "workflow_id": "new", "task_type": "t"}
        replace_workflows(session, DefinitionRows(workflows=[{"workflow_id": "new"}], tasks=[task]))
    code, out, _err = run(capsys, "retry", str(rejected.id))
    (row,) = rows()
    assert (code, out) == (0, f"{rejected.id}: received, as request {row.id}\n")
    (request,) = claim()
    assert (request.message_id, request.batch_id, request.params) == ("1", "B1", {"x": 1})
    assert row.payload == rejected.payload


def corrected(tmp_path: Path, **said: Any) -> str:
    file = tmp_path / "message.json"
    file.write_text(json.dumps(said))
    return str(file)


def test_a_rejected_message_is_corrected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    receive(message("1", task_id="stg_oders", batch_id="B1"))
    (rejected,) = rows()
    file = corrected(tmp_path, task_id="stg_orders", batch_id="B1", scope="workflow")
    assert run(capsys, "retry", str(rejected.id), "--payload", file)[:2] == (
        0,
        f"{rejected.id}: received, as request {rows()[0].id}\n",
    )
    (request,) = claim()
    assert (request.message_id, request.workflow_id, request.batch_id) == ("1", "daily_sales", "B1")
    assert json.loads(rows()[0].payload)["task_id"] == "stg_orders"


def test_a_message_of_which_only_the_beginning_was_kept_is_corrected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    receive(messages.read(b"x" * 300_000, {}, "1", None))
    (rejected,) = rows()
    assert "of which only the beginning was kept" in run(capsys, "retry", str(rejected.id))[2]
    file = corrected(tmp_path, task_id="stg_orders", batch_id="B1", scope="workflow")
    assert run(capsys, "retry", str(rejected.id), "--payload", file)[0] == 0
    assert [row.state for row in rows()] == ["received"]


def test_a_correction_that_cannot_be_read_changes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    receive(message("1", task_id="stg_oders", batch_id="B1"))
    (rejected,) = rows()
    code, _out, err = run(capsys, "retry", str(rejected.id), "--payload", corrected(tmp_path, task_id=7))
    assert (code, "was not changed, as its corrected message cannot be read: task_id" in err) == (1, True)
    (row,) = rows()
    assert (row.id, row.payload, row.reason) == (rejected.id, rejected.payload, rejected.reason)


def test_only_one_message_that_was_rejected_is_corrected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = corrected(tmp_path, task_id="stg_orders", batch_id="B2", scope="workflow")
    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "elsewhere", "objectId": "a.csv", "objectGeneration": "1"}
    receive(message("1", task_id="stg_orders", batch_id="B1"), messages.read(b"", attributes, "2", None))
    before = {row.id: row.payload for row in rows()}
    refusals = [run(capsys, "retry", str(number), "--payload", file)[2] for number in before]
    assert [text.partition(" is ")[2] for text in refusals] == [
        "received: only a message that was rejected can be corrected.\n",
        "a file's notification: only a message that was rejected can be corrected.\n",
    ]
    assert "name one request" in run(capsys, "retry", *map(str, before), "--payload", file)[2]
    assert "corrects a message that is retried" in run(capsys, "--payload", file)[2]
    assert {row.id: row.payload for row in rows()} == before


def test_a_file_that_nobody_waited_for_has_another_chance(capsys: pytest.CaptureFixture[str]) -> None:
    from provider import messages

    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "elsewhere", "objectId": "a.csv", "objectGeneration": "1"}
    receive(messages.read(b"", attributes, "1", None))
    with write_session() as session:
        session.execute(update(Workflow).where(Workflow.workflow_id == "small").values(file_pattern="gs://elsewhere/*"))
    assert run(capsys, "retry", str(rows()[0].id))[0] == 0
    assert [request.workflow_id for request in claim()] == ["small"]


def test_a_request_that_was_postponed_is_due_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    (request,) = claim()
    with write_session() as session:
        request_queue.postpone(session, request.id, "waits: Airflow has no DAG yet")
    assert claim() == []
    code, out, _err = run(capsys, "retry", str(request.id))
    assert (code, out) == (0, f"{request.id}: due now\n")
    assert [again.id for again in claim()] == [request.id]


def test_a_claimed_request_is_left_to_its_claimer(capsys: pytest.CaptureFixture[str]) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    (request,) = claim()
    assert run(capsys, "retry", str(request.id)) == (0, f"{request.id}: a dispatcher is at it already\n", "")
    assert claim() == []


def test_of_a_file_for_two_workflows_only_the_rejected_part_is_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    from provider import messages

    with write_session() as session:
        session.execute(update(Workflow).values(file_pattern="gs://both/*", max_active_batches=10))
    attributes = {"eventType": "OBJECT_FINALIZE", "bucketId": "both", "objectId": "a.csv", "objectGeneration": "1"}
    receive(messages.read(b"", attributes, "1", None))
    first, second, *_others = rows()
    with write_session() as session:
        request_queue.mark(session, [first.id], states.DISPATCHED)
        request_queue.mark(session, [second.id], states.REJECTED, "Airflow refuses the run: a param is missing")
    code, out, _err = run(capsys, "retry", str(second.id))
    again = {row.part: row for row in rows()}
    assert (code, out) == (0, f"{second.id}: received, as request {again[second.part].id}\n")
    kept = ("part", "workflow_id", "batch_id", "payload", "attributes", "params", "content_hash", "start_task_ids")
    assert all(getattr(again[second.part], name) == getattr(second, name) for name in kept)
    assert again[second.part].reason is None
    assert (again[first.part].id, again[first.part].state) == (first.id, "dispatched")
    assert first.workflow_id not in {request.workflow_id for request in claim()}


def test_a_request_that_still_waits_says_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    with write_session() as session:
        session.execute(update(Workflow).values(enabled=False))
    (request,) = rows()
    assert run(capsys, "retry", str(request.id)) == (0, f"{request.id}: {states.WORKFLOW_DISABLED}\n", "")


def test_the_others_are_retried_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    (request,) = rows()
    code, out, err = run(capsys, "retry", "4711", str(request.id))
    assert (code, out) == (1, f"{request.id}: due now\n")
    assert "there is no request 4711" in err


@pytest.mark.parametrize("state", ["dispatched", "duplicate", "recorded"])
def test_what_has_had_its_effect_has_it_once(capsys: pytest.CaptureFixture[str], state: str) -> None:
    receive(message("1", task_id="stg_orders", batch_id="B1"))
    with write_session() as session:
        session.execute(update(BatchRequest).values(state=state))
    code, _out, err = run(capsys, "retry", str(rows()[0].id))
    assert code == 1
    assert f"is {state}, so there is nothing to retry" in err
    assert rows()[0].state == state


def test_an_id_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "retry", "4711")[0] == 1
    assert run(capsys, "retry")[2].startswith("error: name the requests to retry")
    with pytest.raises(SystemExit):
        console(["requests", "retry", "x"])


def test_secrets_of_a_request_are_masked_for_who_looks(capsys: pytest.CaptureFixture[str]) -> None:
    sent = {"task_id": "stg_orders", "batch_id": "B1", "params": {"password": "Hunter2", "api_key": "Hunter3", "day": "monday"}}
    attributes = {"authorization": "Bearer Hunter4", "origin": "shop"}
    receive(messages.read(json.dumps(sent).encode(), attributes, "1", None))
    (shown,) = listed(capsys)
    assert (shown["params"], shown["attributes"]) == (
        {"password": "***", "api_key": "***", "day": "monday"},
        {"authorization": "***", "origin": "shop"},
    )
    for arguments in (["--state", "all", "--output", "json"], ["--state", "all"]):
        assert "Hunter" not in "".join(str(part) for part in run(capsys, *arguments))


def test_a_message_of_which_only_the_beginning_was_kept_has_no_other_chance_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    receive(messages.read(b"x" * 300_000, {}, "1", None))
    code, _out, err = run(capsys, "retry", str(rows()[0].id))
    assert (code, "300000 bytes, of which only the beginning was kept; correct it with" in err) == (1, True)
    assert rows()[0].state == "rejected"
