"""Whatever rows hold stays a text, and no secret is on a page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from provider.pages.answers import PAYLOAD_CHARACTERS, answer, shown_payload
from provider.pages.files import FOLDER, NAMES
from tests.canaries import Canaries
from tests.provider.metadata.inbox_world import message, receive
from tests.provider.pages.conftest import Pages
from tests.provider.pages.rows import batch, log, store

SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`${1}"


def routes(pages: Pages) -> dict[str, Any]:
    """Return what every route answers, for whatever is stored."""
    asked: list[tuple[str, dict[str, Any]]] = [("", {}), ("api/person", {}), ("api/batches", {}), ("api/batches", {"text": "B"})]
    asked += [("api/requests", {"state": "all"}), ("api/definitions", {}), *((f"files/{name}", {}) for name in NAMES)]
    for row in pages.json("batches")["batches"]:
        asked += [(route, {"dag_id": row["workflow_id"], "run_id": row["batch_id"]}) for route in ("api/batch", "api/why")]
    for row in pages.json("requests", state="all")["requests"]:
        asked.append(("api/request", {"id": row["id"]}))
    for row in pages.json("definitions")["workflows"]:
        asked.append(("api/definition", {"workflow_id": row["workflow_id"]}))
    found = {}
    for path, parameters in asked:
        response = pages.ask(f"/accelerator/{path}", params=parameters)
        assert response.status_code == 200, response.text
        found[f"{path} {parameters}"] = response
    return found


def hostile_rows() -> None:
    with write_session() as session:
        workflow = {"workflow_id": SCRIPT, "description": SCRIPT, "schedule": SCRIPT, "owner": SCRIPT, "tags": [SCRIPT]}
        task = {"task_id": SCRIPT, "workflow_id": SCRIPT, "task_type": SCRIPT[:90], "config": {SCRIPT: SCRIPT}, "doc": SCRIPT}
        replace_workflows(session, DefinitionRows([workflow], [task], []))
    texts: dict[str, Any] = dict.fromkeys(("source", "end_cause", "scope"), SCRIPT[:19])
    store(
        batch(
            SCRIPT,
            SCRIPT,
            params={SCRIPT: SCRIPT},
            start_task_ids=[SCRIPT],
            error=SCRIPT,
            ended_by=SCRIPT,
            message_id=SCRIPT,
            **texts,
        ),
        log(
            SCRIPT,
            SCRIPT,
            SCRIPT,
            error_message=SCRIPT,
            ended_by=SCRIPT,
            remote_job_id=SCRIPT,
            remote_job_url=f"javascript:{SCRIPT}",
        ),
    )
    receive(message(SCRIPT, task_id=SCRIPT, batch_id=SCRIPT, params={SCRIPT: SCRIPT}))


@pytest.mark.usefixtures("application_database")
def test_scripts_in_every_column_are_texts_of_json(pages: Pages) -> None:
    hostile_rows()
    found = routes(pages)
    told = 0
    for name, response in found.items():
        kind = response.headers["content-type"]
        if not name.startswith("api/"):
            assert "alert(1)" not in response.text
            continue
        assert kind == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"
        told += SCRIPT in json.dumps(response.json(), ensure_ascii=False).replace('\\"', '"')
    assert told >= 6  # they are there, as they were stored


def test_the_page_has_no_data_and_no_script_of_its_own() -> None:
    page = (FOLDER / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert "style=" not in page
    assert re.findall(r"\bon\w+=", page) == []
    assert "{{" not in page


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".js")])
def test_no_script_reads_html(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert (
        re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|ContextualFragment|\beval\b|new Function|srcdoc",
            text,
        )
        == []
    )


def test_scripts_are_small() -> None:
    lengths = [len((FOLDER / name).read_text().splitlines()) for name in NAMES if name.endswith(".js")]
    assert sum(lengths) < 950
    assert max(lengths) < 400


def test_every_file_is_served_and_every_import_is_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*NAMES, "index.html"}
    for name in NAMES:
        if name.endswith(".js"):
            assert set(re.findall(r'from "\./([\w-]+\.js)"', (FOLDER / name).read_text())) <= NAMES.keys()


@pytest.mark.usefixtures("embedded_database")
def test_no_secret_is_on_any_page(pages: Pages) -> None:
    from airflow.sdk.log import mask_secret

    canaries = Canaries()
    named = canaries.plant("by name", "canary-of-a-name-5f0c2d")
    known = canaries.plant("known to Airflow", "canary-known-77aa01bb")
    key = canaries.plant("private key", "MIIcanaryOfAKeyQ29kZQ")
    deep = canaries.plant("deep", "canary-deep-down-9e8d7c")
    mask_secret(known)
    error = f"failed with {known}: -----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----"
    nested = {"a": {"b": {"c": {"d": {"e": {"f": [{"password": deep}]}}}}}}
    store(
        batch("B1", params={"api_token": named, "text": known, **nested}, error=error, ended_by=known),
        log(
            "t",
            "B1",
            error_message=error,
            remote_job_id=known,
            remote_job_url=f"https://x.example/?y={known}",
            config={"secret": named},
        ),
    )
    with write_session() as session:
        task = {
            "task_id": "t",
            "workflow_id": "daily_sales",
            "task_type": "x",
            "config": {"password": named, "url": known, **nested},
            "doc": error,
        }
        replace_workflows(session, DefinitionRows([{"workflow_id": "daily_sales", "description": known}], [task], []))
    receive(message("1", task_id="nobody", batch_id="B2", params={"password": named, "note": known, **nested}))
    receive(message("2", task_id="nobody", password=named, note=error))
    found = routes(pages)
    leaks = [leak for name, response in found.items() for leak in canaries.in_text(response.content, name)]
    assert leaks == []
    assert "***" in found["api/batch {'dag_id': 'daily_sales', 'run_id': 'B1'}"].text


@pytest.mark.parametrize(
    "payload",
    [
        b'{"task_id": "a", "password": "geheim-12345", "n": 1}',
        b'{"task_id": "a", "password": "geheim-12345',
        b"task_id=a&api_key=geheim-12345&x=1",
        b"password: geheim-12345\nx: 1",
        b"{'secret': 'geheim-12345 geheim-12345'}",
        b"Authorization: Bearer geheim-12345",
        b"password: ge heim geheim-12345",
        b"password: |\n  geheim-12345\nx: 1",
        b'{"password": "ab\\"geheim-12345", "x": tru',
        b'{"password": {"value": "geheim-12345"}, "x": tru',
        b'{"secret": ["aaaaaaa", "geheim-12345"], "x": tru',
        b'{"p": "{\\"password\\": \\"geheim-12345\\"}", "x": tru',
        b'{"p": "{\\"password\\": \\"ab\\\\\\"geheim-12345\\"}", "x": tru',
        b'{"a": {"b": [{"access_token": "geheim-12345"}]}, "x": NaN}',
    ],
)
def test_secrets_of_a_payload_are_masked_also_where_it_is_no_json(payload: bytes) -> None:
    shown = shown_payload(payload, len(payload))
    assert "geheim" not in shown["text"]
    assert "***" in shown["text"]


def test_of_a_payload_that_is_no_json_the_rest_is_shown() -> None:
    shown = shown_payload(b'{"password": 12345, "x": "a=b", "token": "t", "y": [tru', 100)
    assert shown["text"] == '{"password": ***, "x": "a=b", "token": ***, "y": [tru'


def test_a_long_payload_is_cut() -> None:
    """One long word is found out about in one pass."""
    shown = shown_payload(b"x" * 100_000, 300_000)
    assert (len(shown["text"]), shown["bytes"], shown["kept"]) == (PAYLOAD_CHARACTERS, 300_000, 100_000)


def test_what_no_browser_reads_becomes_a_text() -> None:
    body = bytes(answer({"a": float("nan"), "b": "\ud800", "c": float("inf")}).body)
    assert json.loads(body) == {"a": "NaN", "b": "\ud800", "c": "Infinity"}
    assert body.isascii()
