"""The list of batches and one batch: pages that stay what they are, filters, counts, whatever the ids look like."""

from __future__ import annotations

import json
import random
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from airflow.sdk.log import mask_secret

from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from provider.pages import batches
from tests.provider.metadata.inbox_world import message, receive, store_definitions
from tests.provider.pages.conftest import Pages
from tests.provider.pages.rows import batch, log, store

pytestmark = pytest.mark.usefixtures("application_database")


def ids(found: dict[str, Any]) -> list[str]:
    return [row["batch_id"] for row in found["batches"]]


def place_of(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()


def test_pages_forward_and_back_are_stable_while_batches_come(pages: Pages) -> None:
    """Several batches share a moment, so that a place is more than a time."""
    rng = random.Random(11)
    stored = [batch(f"b{number:03}", rng.choice(["daily_sales", "small"]), minute=number // 4) for number in range(60)]
    rng.shuffle(stored)
    store(*stored)
    order = sorted(stored, key=lambda row: (row["created_at"], row["workflow_id"], row["batch_id"]), reverse=True)
    expected = [row["batch_id"] for row in order]
    found = pages.json("batches", limit=7)
    walked = [found]
    new = 0
    while found["more"]:
        store(batch(f"new{new}", minute=1000 + new))
        new += 1
        found = pages.json("batches", limit=7, after=found["batches"][-1]["place"])
        walked.append(found)
    assert [one for page in walked for one in ids(page)] == expected
    assert new == 8
    for earlier, later in zip(walked[-2::-1], walked[:0:-1], strict=True):
        store(batch(f"back{new}", minute=2000 + new))
        new += 1
        assert ids(pages.json("batches", limit=7, before=later["batches"][0]["place"])) == ids(earlier)
    newest = pages.json("batches", limit=200, before=walked[0]["batches"][0]["place"])
    assert len(newest["batches"]) == new
    assert newest["more"] is False


def test_filters(pages: Pages) -> None:
    store(
        batch("Batch_1", minute=1, status="ERROR", error="e" * 1000),
        batch("Batch_2", minute=2, source="ui"),
        batch("other", "small", minute=3, status="PROCESSING"),
        batch("100%_done", minute=4),
    )
    assert ids(pages.json("batches")) == ["100%_done", "other", "Batch_2", "Batch_1"]
    assert ids(pages.json("batches", status="ERROR")) == ["Batch_1"]
    assert ids(pages.json("batches", status="ERROR,PROCESSING")) == ["other", "Batch_1"]
    assert ids(pages.json("batches", workflow="small")) == ["other"]
    assert ids(pages.json("batches", source="ui")) == ["Batch_2"]
    assert ids(pages.json("batches", text="bATCH_")) == ["Batch_2", "Batch_1"]
    assert ids(pages.json("batches", text="%_")) == ["100%_done"]
    assert ids(pages.json("batches", since="2026-03-16T04:02:00Z", until="2026-03-16T06:03:00+02:00")) == ["Batch_2"]
    assert len(pages.json("batches", status="ERROR")["batches"][0]["error"]) == 400


@pytest.mark.parametrize(
    "asked",
    [
        {"after": "x"},
        {"before": place_of('["a","b","c"]')},
        {"after": place_of('["0001-01-01T00:00:00+14:00","a","b"]')},
        {"before": place_of('["9999-12-31T23:59:59-14:00","a","b"]')},
        {"after": place_of('["2026-01-01T00:00:00Z","\\ud800","b"]')},
        {"after": place_of('["2026-01-01T00:00:00Z","a\\u0000","b"]')},
        {"after": place_of('["2026-01-01T00:00:00Z"]')},
        {"since": "2026-03-16T04:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-14:00"},
        {"limit": "0"},
        {"text": "a" * 501},
        {"workflow": "a\0b"},
    ],
)
def test_what_makes_no_sense_is_refused(pages: Pages, asked: dict[str, str]) -> None:
    assert pages.ask("/accelerator/api/batches", params=asked).status_code == 422


def test_a_text_is_looked_for_in_a_bounded_number_of_rows(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    from provider.metadata import page_queries

    monkeypatch.setattr(page_queries, "SEARCHED", 3)
    store(*(batch(f"b{number}", minute=number) for number in range(5)))
    assert ids(pages.json("batches", text="b")) == ["b4", "b3", "b2"]
    assert ids(pages.json("batches", text="b0")) == []


def test_tasks_are_counted_by_their_last_try(pages: Pages) -> None:
    store(
        batch("B1"),
        batch("B2", minute=1),
        batch("B1", "small", minute=2),
        log("a", "B1", status="ERROR"),
        log("a", "B1", try_number=2),
        *(log("m", "B1", map_index=index, status="ERROR" if index else "SUCCESS") for index in range(3)),
        log("a", "B2", status="BLOCKED"),
    )
    assert [row["tasks"] for row in pages.json("batches")["batches"]] == [{}, {"BLOCKED": 1}, {"SUCCESS": 2, "ERROR": 2}]


def test_a_secret_is_masked_before_its_text_is_cut(pages: Pages) -> None:
    mask_secret("77f-canary-of-a-list")
    store(batch("B1", error=f"{'x' * 390}-77f-canary-of-a-list"), batch("B2", minute=1, error="y" * 401), batch("B3", minute=2))
    assert [row["error"] for row in pages.json("batches")["batches"]] == [None, f"{'y' * 399}…", f"{'x' * 390}-***"]


def test_an_id_that_holds_a_secret_ends_no_list(pages: Pages) -> None:
    mask_secret("canary-of-an-id")
    store(*(batch(f"canary-of-an-id-{number}", minute=number) for number in range(3)))
    first = pages.json("batches", limit=2)
    second = pages.json("batches", limit=2, after=first["batches"][-1]["place"])
    assert ids(first) + ids(second) == ["***-2", "***-1", "***-0"]
    assert "canary" not in json.dumps([first, second])


def test_errors_of_a_batch_are_cut_after_they_were_masked(pages: Pages) -> None:
    mask_secret("77f-canary-of-a-page")
    text = f"{'x' * 9_990}-77f-canary-of-a-page {'y' * 100_000}"
    store(batch("B1", error=text), log("load", "B1", error_message=text))
    found = pages.json("batch", dag_id="daily_sales", run_id="B1")
    for error in (found["batch"]["error"], found["tries"][0]["error_message"]):
        assert error == f"{'x' * 9_990}-*** yyyy…"


@pytest.mark.parametrize("run_id", ["a/b c", "Ünï—ço?de&x=1#y", "manual__2026-03-16T04:00:00+00:00", "%2F", "..", "<b>"])
def test_a_batch_with_whatever_id(pages: Pages, run_id: str) -> None:
    store(batch(run_id), log("t", run_id), log("t", "another"))
    found = pages.json("batch", dag_id="daily_sales", run_id=run_id)
    assert (found["batch"]["batch_id"], [one["task_id"] for one in found["tries"]]) == (run_id, ["t"])
    assert ids(pages.json("batches", text=run_id)) == [run_id]


def test_all_of_a_batch(pages: Pages) -> None:
    store_definitions()
    store(batch("B1", params={"region": "EMEA"}), log("stg_orders", "B1", error_message="x" * 3000, config={"a": 1}))
    receive(message("7", task_id="stg_orders", batch_id="B1"), message("8", task_id="stg_small", batch_id="B1"))
    found = pages.json("batch", dag_id="daily_sales", run_id="B1")
    (one,) = found["tries"]
    assert "config" not in one
    assert (len(one["error_message"]), one["started_at"]) == (3000, "2026-03-16T04:00:00Z")
    assert found["batch"]["params"] == {"region": "EMEA"}
    assert [request["message_id"] for request in found["requests"]] == ["7"]
    assert ["stg_orders", "refresh"] in found["edges"]
    assert found["causes"]["remote"].startswith("its remote job")
    assert found["record_current_at"] is None


def test_a_batch_with_more_tries_than_a_page_takes(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_TRIES", 3)
    store(batch("B1"), *(log("m", "B1", map_index=index) for index in range(4)))
    found = pages.json("batch", dag_id="daily_sales", run_id="B1")
    assert (len(found["tries"]), found["more_tries"]) == (3, True)


@pytest.mark.parametrize("asked", [{"after": str(2**70)}, {"after": "-1"}, {"text": "a\0b"}])
def test_what_makes_no_sense_of_requests_is_refused(pages: Pages, asked: dict[str, str]) -> None:
    assert pages.ask("/accelerator/api/requests", params=asked).status_code == 422


def test_requests_page_by_page(pages: Pages) -> None:
    store_definitions()
    receive(*(message(str(number), task_id="nobody", batch_id=f"B{number}") for number in range(5)))
    first = pages.json("requests", limit=2)
    second = pages.json("requests", limit=2, after=first["requests"][-1]["id"])
    assert [one["message_id"] for one in first["requests"] + second["requests"]] == ["4", "3", "2", "1"]
    assert (first["more"], second["more"]) == (True, True)
    assert [one["message_id"] for one in pages.json("requests", text="b3")["requests"]] == ["3"]
    assert pages.json("requests", state="received")["requests"] == []
    assert {"payload", "params", "attributes", "error"}.isdisjoint(first["requests"][0])


def test_a_rejected_message_is_corrected(pages: Pages) -> None:
    store_definitions()
    receive(message("1", task_id="stg_oders", batch_id="B1"), message("2", task_id="stg_orders", batch_id="B2"))
    shown = {one["message_id"]: pages.json("request", id=one["id"]) for one in pages.json("requests")["requests"]}
    assert (shown["1"]["may_correct"], shown["2"]["may_correct"]) == (True, False)
    sent = {"id": shown["1"]["request"]["id"], "payload": shown["1"]["payload"]["text"].replace("stg_oders", "stg_orders")}
    unread = pages.ask("/accelerator/api/request/retry", method="POST", json={**sent, "payload": "{"})
    assert (unread.status_code, "cannot be read" in unread.json()["detail"]) == (409, True)
    assert pages.ask("/accelerator/api/request/retry", method="POST", json={**sent, "payload": "x" * 20_001}).status_code == 422
    unknown = pages.ask("/accelerator/api/request/retry", method="POST", json={**sent, "payload": '{"task_id": "stg"}'}).json()
    assert unknown["state"] == "rejected"
    again = pages.ask("/accelerator/api/request/retry", method="POST", json={**sent, "id": unknown["id"]})
    assert again.json()["state"] == "received"
    assert {one["batch_id"] for one in pages.json("requests", state="received")["requests"]} == {"B1", "B2"}


@pytest.mark.parametrize("said", [{"params": {"password": "hunter2"}}, {"params": {"long": "x" * 20_000}}])
def test_what_is_not_shown_as_it_is_cannot_be_corrected_here(pages: Pages, said: dict[str, Any]) -> None:
    receive(message("1", task_id="nobody", batch_id="B1", **said))
    (one,) = pages.json("requests")["requests"]
    found = pages.json("request", id=one["id"])
    assert (found["may_retry"], found["may_correct"]) == (True, False)


def test_one_request_with_its_payload(pages: Pages) -> None:
    receive(message("1", task_id="nobody", batch_id="B1", params={"x": 1}))
    (one,) = pages.json("requests")["requests"]
    found = pages.json("request", id=one["id"])
    assert '"x": 1' in found["payload"]["text"]
    assert found["may_retry"] is True
    with write_session() as session:
        task = {"task_id": "nobody", "workflow_id": "daily_sales", "task_type": "t"}
        replace_workflows(session, DefinitionRows(workflows=[{"workflow_id": "daily_sales"}], tasks=[task]))
    answer = pages.ask("/accelerator/api/request/retry", method="POST", json={"id": one["id"]})
    assert answer.json()["state"] == "received"
    assert pages.json("requests")["requests"][0]["batch_id"] == "B1"
