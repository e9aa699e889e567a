"""One byte at a time, or none: every call ends within its time, and costs no other one its own."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from provider.hooks.dataform.hook import DataformInvocationHook
from provider.hooks.powerbi.transport import MAX_CONNECTIONS
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from provider.threads import within
from tests.provider.defects.hostile_world import CALL, COMPLETED, JOB, hook, in_body, in_chunks, in_headers, nothing
from tests.provider.defects.raw_server import RawServer, Wire, http
from tests.provider.defects.refresh_service import BY_ID, OURS
from tests.provider.operators.powerbi_world import enhanced
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("how", [in_body, in_chunks, in_headers, nothing])
@pytest.mark.parametrize("blocking", [True, False])
def test_one_byte_at_a_time(power_bi, how, blocking):
    server: RawServer = power_bi(lambda method, path, headers: b"")
    server.answer = lambda method, path, headers: how(server)
    service = hook(call=CALL)
    service.connect()

    with pytest.raises(RemoteCallError, match=f"no whole answer within {CALL:g} s") as raised:
        service.status(JOB) if blocking else asyncio.run(service.astatus(JOB))

    assert raised.value.retryable
    # Details, and then the history; the server may read the second after its client has given it up.
    assert wait_for(lambda: server.count("GET") == 2, 10)


@pytest.mark.parametrize("how", [in_body, in_headers])
def test_start_that_drips_is_looked_up_and_not_repeated(power_bi, life, how):
    """The service has carried it out; its answer never ends."""
    server: RawServer = power_bi(lambda method, path, headers: b"")
    started: list[dict[str, Any]] = []

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Wire:
        if method == "POST":
            started.append({"requestId": OURS, "refreshType": "ViaEnhancedApi", "status": "Completed"})
            answered: Wire = how(server)
            return answered
        return http(200, {"value": started}) if "?" in path else COMPLETED

    server.answer = answer

    result = life(lambda: enhanced(**BY_ID, http_timeout=CALL)).run()

    assert result["id"] == OURS
    assert server.count("POST") == 1


async def test_dripping_calls_do_not_starve_a_healthy_one(power_bi):
    """They hold all connections of the event loop, for the time of one call."""
    server: RawServer = power_bi(lambda method, path, headers: b"")
    healthy = {**JOB, "id": "healthy"}
    server.answer = lambda method, path, headers: COMPLETED if path.endswith("healthy") else in_body(server)
    service = hook(call=CALL)
    await asyncio.to_thread(service.connect)
    dripping = [asyncio.create_task(service.astatus(JOB)) for _ in range(MAX_CONNECTIONS)]
    assert await asyncio.to_thread(wait_for, lambda: server.count("GET") >= MAX_CONNECTIONS, 30)

    status = await service.astatus(healthy)

    assert status.state == "done"
    assert server.count("GET", "healthy") == 1
    # None of them was answered, and each has at most come as far as its second question.
    assert server.count("GET") <= 2 * MAX_CONNECTIONS + 1
    errors = await asyncio.gather(*dripping, return_exceptions=True)
    assert {type(error) for error in errors} == {RemoteCallError}


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def google_connection(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": "demo-project", "is_anonymous": True, **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))


@pytest.mark.parametrize("blocking", [True, False])
def test_dataform_that_never_answers(monkeypatch, silent, blocking):
    google_connection(monkeypatch, dataform_endpoint=f"http://{silent}")
    name = "projects/demo-project/locations/europe-west3/repositories/sales/workflowInvocations/one"
    service = DataformInvocationHook(budget=WaitBudget(call=CALL))
    service.connect()
    job = {"id": "one", "url": "", "name": name}

    with pytest.raises(RemoteCallError, match="DEADLINE_EXCEEDED|UNAVAILABLE") as raised:
        service.status(job) if blocking else asyncio.run(service.astatus(job))

    assert raised.value.retryable


PLACE = {"project_id": "demo-project", "location": "europe-west3", "job_id": "airflow_1"}


def bigquery_calls(service: Any) -> dict[str, Callable[[], Any]]:
    request = {"job_name": "airflow", "configuration": {"query": {"query": "SELECT 1"}}, "project_id": None, "location": None}
    return {
        "status": partial(service.status, PLACE),
        "find": partial(service.find, PLACE),
        "cancel": partial(service.cancel, PLACE),
        "prepare": partial(service.prepare, request),
        "start": partial(service.start, request, PLACE),
        "astatus": lambda: asyncio.run(service.astatus(PLACE)),
        "acancel": lambda: asyncio.run(service.acancel(PLACE)),
    }


@pytest.mark.parametrize("call", ["status", "find", "cancel", "prepare", "start", "astatus", "acancel"])
@pytest.mark.parametrize("how", [in_body, in_headers])
def test_bigquery_that_answers_one_byte_at_a_time(monkeypatch, call, how):
    """Google's client begins its timeout anew with each byte."""
    from provider.hooks.bigquery import BigQueryJobHook

    with RawServer(lambda method, path, headers: b"") as server:
        server.answer = lambda method, path, headers: how(server)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        google_connection(monkeypatch)
        service = BigQueryJobHook(budget=WaitBudget(call=CALL))

        with pytest.raises(RemoteCallError, match="no answer within") as raised:
            within(60, bigquery_calls(service)[call], "test-bigquery")

    assert raised.value.retryable
    assert raised.value.maybe_done is (call == "start")


@pytest.mark.parametrize("how", [in_body, in_headers, nothing])
def test_token_that_comes_one_byte_at_a_time(identity, how):
    """Msal has a timeout between two bytes alone."""
    identity.answer = lambda method, path, headers: how(identity)

    with pytest.raises(RemoteCallError, match="gave no token"):
        hook(call=CALL).status(JOB)
