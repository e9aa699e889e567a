"""What is Power BI's own, beside what test_power_bi_peer_table and test_power_bi_peer_defects show."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowFailException

from provider.emulators.rules import Rule
from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.powerbi import tokens
from provider.hooks.powerbi.credentials import Issuer
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.powerbi.transport import MAX_CONNECTIONS
from provider.operators.powerbi import PowerBISemanticModelRefreshOperator
from tests.provider.operators.powerbi_world import LONG, dataflow, model, posted, powerbi, workspace
from tests.provider.operators.waits import SHORT_WAITS


@pytest.mark.parametrize("wrong", [{"semantic_model": "Seles"}, {"workspace": "Finanz"}])
def test_unknown_name_is_not_retried(start_cloud, life, wrong):
    start_cloud(**powerbi())

    with pytest.raises(AirflowFailException, match="There is no"):
        life(lambda: model(**wrong)).run()


def test_model_or_report_is_needed():
    with pytest.raises(ConfigurationError, match="either"):
        model(semantic_model=None)
    with pytest.raises(ConfigurationError, match="either"):
        PowerBISemanticModelRefreshOperator(task_id="job", workspace="w", semantic_model="m", report="r")


def test_refresh_of_somebody_else_is_not_taken_for_a_start_that_was_lost(start_cloud, life):
    """The start was refused before it was carried out, and an enhanced refresh of another pipeline has begun since."""
    rule = {"service": "powerbi", "match": "POST */refreshes", "fault": "drop", "when": "before", "nth": 2}
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)), rules=[rule])
    task = life(model)
    started: list[dict[str, Any]] = []
    prepare = PowerBIHook.prepare

    def prepared(self: PowerBIHook, request: Any) -> dict[str, Any]:
        intent = prepare(self, request)
        if not started:
            foreign: Any = {**request, "body": {"type": "full"}, "enhanced": True}
            started.append(PowerBIHook().start(foreign, {**intent, "enhanced": True}))
        return intent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PowerBIHook, "prepare", prepared)
        result = task.run()

    assert cloud.rules.describe()[0]["hits"] == 1
    assert result["id"] != started[0]["id"]
    assert len(posted(cloud)) == 2


def test_history_that_lags_behind_does_not_lose_a_refresh(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(refresh_id_headers=[], history_lag_seconds=0.6)))

    result = life(model).run()

    assert [entry.resource for entry in posted(cloud)] == [result["id"]]


def test_accepted_refresh_that_is_not_listed_in_time_is_not_started_again(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(refresh_id_headers=[], history_lag_seconds=1.5)))
    seconds = [0.3, 10.0]
    task = life(lambda: model(budget=replace(SHORT_WAITS, accepted_lookup=seconds[0])))

    with pytest.raises(RemoteJobError, match="accepted without an id"):
        task.run()
    assert len(posted(cloud)) == 1

    seconds.pop(0)
    assert task.run()["id"] == posted(cloud)[0].resource
    assert len(posted(cloud)) == 1


def test_unanswered_start_that_is_listed_late_is_not_taken_for_somebody_elses(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=6.0, history_lag_seconds=3.0)))
    cloud.rules.add(Rule(service="powerbi", match="POST */refreshes", fault="drop", when="after"))

    result = life(model).run()

    assert [result["id"]] == [entry.resource for entry in posted(cloud)]


def test_retry_looks_for_an_unrecorded_start_only_as_long_as_one_can_appear(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace()))
    cloud.rules.add(Rule(service="powerbi", match="POST */refreshes", fault="status", http_status=503, times=3))
    seconds = [SHORT_WAITS.lookup, 3000.0]
    task = life(lambda: model(budget=replace(SHORT_WAITS, lookup=seconds[0])))
    with pytest.raises(RemoteJobError, match="503"):
        task.run()
    assert task.entry["intent"] is not None

    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    task.store.set("remote_job", {**task.entry, "intent_at": an_hour_ago.isoformat()})
    seconds.pop(0)
    task.run()
    assert len(posted(cloud)) == 1


@pytest.mark.parametrize("refresh", [None, {"type": "full"}])
def test_undocumented_words_of_the_service_do_not_matter(start_cloud, life, refresh):
    cloud = start_cloud(
        **powerbi(workspace(history_refresh_type="ReliableProcessing", extended_status_in_history=False, refresh_id_headers=[]))
    )

    life(lambda: model(refresh=refresh)).run()

    assert len(posted(cloud)) == 1


def test_all_waiting_refreshes_share_one_token_and_few_connections(start_cloud, life, monkeypatch):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(lambda: model(refresh={"type": "full"}))
    deferral = task.begin()
    monkeypatch.setattr(tokens, "token_sources", tokens.TokenSources())  # a triggerer is another process than the worker
    before = len(cloud.ledger.entries(service="entra"))
    built: list[Any] = []
    build = httpx.AsyncClient

    def counted(**options: Any) -> Any:
        built.append(build(**options))
        return built[-1]

    monkeypatch.setattr(httpx, "AsyncClient", counted)

    async def poll_all() -> None:
        triggers = [task.trigger(deferral) for _ in range(100)]
        statuses = await asyncio.gather(*(trigger.status() for trigger in triggers))
        assert {status.state for status in statuses} == {"running"}
        for client in built:
            await client.aclose()

    asyncio.run(poll_all())
    assert len(cloud.ledger.entries(service="entra")) - before == 1
    assert 1 <= len(built) <= MAX_CONNECTIONS


def test_no_call_of_the_trigger_blocks_the_event_loop(start_cloud, life, monkeypatch):
    start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(lambda: model(refresh={"type": "full"}))
    deferral = task.begin()
    monkeypatch.setattr(tokens, "token_sources", tokens.TokenSources())  # a triggerer is another process than the worker
    threads: list[int] = []
    issue = Issuer.issue

    def watched(self: Issuer, timeout: float) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return issue(self, timeout)

    monkeypatch.setattr(Issuer, "issue", watched)
    asyncio.run(task.trigger(deferral).status())

    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_dataflow_of_an_unknown_name(start_cloud, life):
    start_cloud(**powerbi())

    with pytest.raises(AirflowFailException, match="There is no dataflow 'Stage'"):
        life(lambda: dataflow(dataflow="Stage")).run()
