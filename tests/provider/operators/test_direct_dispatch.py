"""Runs that the triggerer starts itself: what Airflow's API is sent, what its answers lead to, and when a task has to do it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from airflow.sdk.log import mask_secret

from provider.dispatch import loop
from provider.dispatch.by_api import ApiRuns
from provider.dispatch.outcomes import conf_of_request, start_dag_run
from provider.hooks import airflow_api
from provider.hooks.airflow_api import AirflowApi, AirflowApiSettings
from provider.hooks.wait_budget import WaitBudget
from provider.triggers import direct_dispatch
from provider.triggers.direct_dispatch import DirectDispatch
from tests.provider.hooks.airflow_api_server import Answer, Server
from tests.provider.operators.supervisor import claimed_request
from tests.provider.triggers.inbox_trigger import GOOD, message_of_inbox, states

SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"
OURS = claimed_request()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def runs(server: Server) -> ApiRuns:
    return ApiRuns(AirflowApi(AirflowApiSettings(server.address, secret="given"), budget=WaitBudget(call=10.0)))


@pytest.fixture(autouse=True)
def nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_dispatch, "_refused", {})


def test_the_run_has_the_batch_id_and_carries_the_request(server: Server, runs: ApiRuns) -> None:
    assert start_dag_run(claimed_request(batch_id="a+b:c~d"), runs).state == "dispatched"
    ((method, path, _query, _token, body),) = server.asked
    assert (method, path) == ("POST", "/api/v2/dags/daily_sales/dagRuns")
    conf = conf_of_request(claimed_request(batch_id="a+b:c~d"))
    assert body == {"dag_run_id": "a+b:c~d", "logical_date": None, "conf": conf}


@pytest.mark.parametrize(
    ("conf", "state"),
    [
        (conf_of_request(OURS), "dispatched"),
        ({"_accelerator": {"request_id": 8, "message_id": "m7"}}, "duplicate"),
        (None, "rejected"),
        ("no object", "rejected"),
    ],
)
def test_a_run_is_there_already(server: Server, runs: ApiRuns, conf: Any, state: str) -> None:
    there = {"conf": conf, "run_type": "manual", "state": "running"}
    server.answer = lambda path, _query: (409, {"detail": "exists"}) if path.endswith("/dagRuns") else (200, there)
    assert start_dag_run(OURS, runs).state == state
    assert server.asked[-1][1] == "/api/v2/dags/daily_sales/dagRuns/B1"


@pytest.mark.parametrize(
    ("answer", "state", "outage", "says"),
    [
        ((400, {"detail": "Invalid input for param day: 'x' is not a date"}), "rejected", False, "Invalid input for param day"),
        ((422, {"detail": [{"loc": ["body", "conf"], "msg": "no"}]}), "rejected", False, "'msg': 'no'"),
        ((400, "<html>"), "rejected", False, "<html>"),
        (
            (400, {"detail": "Dag with dag_id: 'x' has import errors"}),
            "received",
            False,
            "can be imported",
        ),
        ((404, {"detail": "Dag with dag_id: 'x' not found"}), "received", False, "Airflow has no DAG"),
        ((500, "Internal Server Error"), "received", True, "answers 500"),
        ((503, ""), "received", True, "answers 503"),
        ((429, ""), "received", False, "answers 429"),
    ],
)
def test_what_airflow_refuses(server: Server, runs: ApiRuns, answer: Answer, state: str, outage: bool, says: str) -> None:
    server.answer = lambda _path, _query: answer
    outcome = start_dag_run(OURS, runs)
    assert (outcome.state, outcome.outage, runs.forbidden) == (state, outage, None)
    assert says in str(outcome.reason)


def test_what_airflow_says_of_params_with_a_secret_is_not_repeated(server: Server, runs: ApiRuns) -> None:
    server.answer = lambda _path, _query: (400, {"detail": "Invalid input for param api_password: 'hunter2' is too short"})
    reason = str(start_dag_run(claimed_request(params={"api_password": "hunter2"}), runs).reason)
    assert "Invalid input for param api_password" in reason
    assert "hunter2" not in reason


def receive(*batch_ids: str) -> None:
    from provider.metadata import definitions, inbox
    from provider.metadata.engine import write_session
    from provider.metadata.rows import DefinitionRows

    rows = DefinitionRows(
        workflows=[{"workflow_id": "daily_sales", "max_active_batches": 100}],
        tasks=[{"task_id": GOOD["task_id"], "workflow_id": "daily_sales", "task_type": "t"}],
    )
    with write_session() as session:
        definitions.replace_workflows(session, rows)
        for batch_id in batch_ids:
            inbox.receive(session, SUBSCRIPTION, [replace(message_of_inbox(f"m_{batch_id}"), batch_id=batch_id)])


@pytest.mark.usefixtures("application_database")
def test_eight_runs_are_started_at_a_time(server: Server, runs: ApiRuns) -> None:
    together = threading.Barrier(8, timeout=30)

    def answer(_path: str, _query: Any) -> Answer:
        together.wait()  # breaks, and answers nothing, where they come one by one
        return 200, {}

    server.answer = answer
    receive(*(f"B{number}" for number in range(16)))
    assert loop.dispatch(structlog.get_logger("test"), runs) == {"dispatched": 16}
    assert sorted(body["dag_run_id"] for *_rest, body in server.asked) == sorted(f"B{number}" for number in range(16))


@pytest.mark.usefixtures("application_database")
async def test_a_user_who_may_not_start_runs_leaves_them_to_a_task(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = {"conn_type": "airflow_api", "host": server.address, "password": "given"}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    server.answer = lambda _path, _query: (403, {"detail": "Forbidden"})
    receive("B1")
    direct = await DirectDispatch.opened("airflow_api")
    assert direct is not None
    assert await direct.dispatch() is False
    assert states() == {"received": 1}
    assert "Tasks start the runs of messages for the next 600 s" in caplog.text
    assert await DirectDispatch.opened("airflow_api") is None, "it is not tried again at once"


async def test_without_a_connection_a_task_starts_the_runs(caplog: pytest.LogCaptureFixture) -> None:
    assert await DirectDispatch.opened(None) is None
    assert caplog.text == ""
    assert await DirectDispatch.opened("no_such_connection") is None
    assert "no_such_connection" in caplog.text


@pytest.mark.parametrize(
    ("connection", "google", "says"),
    [
        ({"extra": "[1]"}, {}, "AttributeError: "),
        ({}, {"key_path": "/nowhere/key.json"}, "FileNotFoundError: .*/nowhere/key.json"),
        ({}, {"keyfile_dict": json.dumps({"type": "service_account"})}, "KeyError: "),
        ({}, {}, "DefaultCredentialsError: .*/nowhere.json"),
        ({"password": "given", "extra": json.dumps({"ca_file": __file__})}, {}, "airflow_api: the file .* has no certificate"),
    ],
    ids=["extra is a list", "no key file", "damaged key", "no credentials", "no certificate"],
)
async def test_a_connection_that_cannot_be_opened_leaves_the_runs_to_a_task(
    connection: dict[str, Any],
    google: dict[str, Any],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened = {"conn_type": "airflow_api", "host": "https://a.example", "extra": json.dumps({"gcp_conn_id": "g"}), **connection}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(opened))
    monkeypatch.setenv("AIRFLOW_CONN_G", json.dumps({"conn_type": "google_cloud_platform", "extra": google}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    assert await DirectDispatch.opened("airflow_api") is None
    (told,) = [record.getMessage() for record in caplog.records if "Tasks start the runs" in record.getMessage()]
    assert re.search(f"since Airflow's API does not: .*{says}", told)
    assert "\n" not in told
    assert await DirectDispatch.opened("airflow_api") is None, "it is not tried again at once"
    assert caplog.text.count("Tasks start the runs") == 1


async def test_why_a_connection_cannot_be_opened_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mask_secret("hunter2-of-somebody")

    def damaged(_settings: Any) -> Any:
        raise ValueError("cannot read\nhunter2-of-somebody")

    monkeypatch.setattr(airflow_api, "_google_credentials", damaged)
    connection = {"conn_type": "airflow_api", "host": "https://a.example", "extra": {"gcp_conn_id": "g"}}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    assert await DirectDispatch.opened("airflow_api") is None
    assert "does not: connection airflow_api cannot be opened: ValueError: cannot read ***" in caplog.text


async def test_who_gives_up_opening_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def silent(_hook: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(airflow_api.AirflowApiHook, "aget_conn", silent)
    opening = asyncio.create_task(DirectDispatch.opened("airflow_api"))
    await begun.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert direct_dispatch._refused == {}


@pytest.mark.usefixtures("application_database")
async def test_a_failure_of_the_database_is_outlived(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = {"conn_type": "airflow_api", "host": server.address, "password": "given"}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    monkeypatch.setattr(direct_dispatch, "_FIRST_PAUSE_SECONDS", 0.0)
    receive("B1")
    direct = await DirectDispatch.opened("airflow_api")
    assert direct is not None
    with monkeypatch.context() as away:
        away.setattr(loop, "dispatch", lambda *_: (_ for _ in ()).throw(ConnectionError("gone")))
        assert await direct.dispatch() is True
    assert "Requests could not be dispatched" in caplog.text
    assert await direct.dispatch() is True
    assert states() == {"dispatched": 1}
