"""What is Power BI's own: names, reports, bodies, a busy model, refreshes without an id, the end of a token."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from provider.exceptions import ConfigurationError, RemoteJobError
from provider.hooks.powerbi import PowerBIHook
from provider.hooks.powerbi_models import EnhancedRefresh
from provider.hooks.remote_job import CannotCancelError
from provider.operators.powerbi import PowerBIDataflowRefreshOperator, PowerBISemanticModelRefreshOperator

FAST: dict[str, Any] = {"task_id": "job", "poll_interval": 0.1, "initial_wait": 0.0, "http_timeout": 5.0}
#: Seconds for refreshes that must still run when they are looked at for the first time, on a slow machine too.
LONG = 1.5
MODEL_ID = "22222222-2222-4222-8222-222222222222"


def workspace(**changes: Any) -> dict[str, Any]:
    model = {"id": MODEL_ID, "name": "Sales", "seconds": 0.3, **changes}
    return {
        "id": "11111111-1111-4111-8111-111111111111",
        "name": "Finance's",
        "semantic_models": [model],
        "dataflows": [{"name": "Staging", "seconds": 0.3}],
    }


def powerbi(*workspaces: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"powerbi": {"workspaces": list(workspaces) or [workspace()], **settings}}


def model(**kwargs: Any) -> PowerBISemanticModelRefreshOperator:
    if "report" not in kwargs:
        kwargs = {"semantic_model": "Sales", **kwargs}
    return PowerBISemanticModelRefreshOperator(**{**FAST, "workspace": "Finance's", **kwargs})


def start_foreign_refresh(**body: Any) -> dict[str, Any]:
    """Somebody else refreshes the model."""
    hook = PowerBIHook()
    workspace_id = hook.resolve_workspace("Finance's")
    intent = hook.prepare_semantic_model(
        workspace_id, MODEL_ID, body=body or {"notifyOption": "NoNotification"}, enhanced=bool(body)
    )
    return hook.start_job(intent)


def posted(cloud: Any) -> list[Any]:
    return cloud.ledger.entries(operation="refresh_posted")


def test_names_are_resolved_and_a_quote_in_one_does_no_harm(start_cloud, life):
    cloud = start_cloud(**powerbi())

    result = life(model).run()

    (entry,) = posted(cloud)
    assert entry.detail["datasetId"] == MODEL_ID
    assert entry.detail["body"] == {"notifyOption": "NoNotification"}
    assert result["id"] == entry.resource
    assert result["status"] == "Completed"
    assert result["type"] == "ViaApi"
    assert result["duration"] == pytest.approx(0.3, abs=0.001)


def test_ids_need_no_look_up(start_cloud, life):
    cloud = start_cloud(**powerbi())

    life(lambda: model(workspace="11111111-1111-4111-8111-111111111111", semantic_model=MODEL_ID)).run()

    assert posted(cloud)[0].detail["datasetId"] == MODEL_ID


def test_ambiguous_name_lists_the_candidates(start_cloud, life):
    two = workspace()
    two["semantic_models"].append({"id": "44444444-4444-4444-8444-444444444444", "name": "Sales"})
    cloud = start_cloud(**powerbi(two))

    with pytest.raises(AirflowFailException) as failure:
        life(model).run()
    assert MODEL_ID in str(failure.value)
    assert "44444444-4444-4444-8444-444444444444" in str(failure.value)
    assert posted(cloud) == []


@pytest.mark.parametrize("wrong", [{"semantic_model": "Seles"}, {"workspace": "Finanz"}])
def test_unknown_name_is_not_retried(start_cloud, life, wrong):
    start_cloud(**powerbi())

    with pytest.raises(AirflowFailException, match="There is no"):
        life(lambda: model(**wrong)).run()


def test_report_refreshes_its_model_in_the_models_workspace(start_cloud, life):
    reports = {
        "id": "66666666-6666-4666-8666-666666666666",
        "name": "Reports",
        "reports": [
            {"name": "Board", "datasetId": MODEL_ID, "datasetWorkspaceId": "11111111-1111-4111-8111-111111111111"},
            {"name": "Invoice"},
        ],
    }
    cloud = start_cloud(**powerbi(workspace(), reports))

    life(lambda: model(workspace="Reports", report="Board")).run()
    assert posted(cloud)[0].detail["groupId"] == "11111111-1111-4111-8111-111111111111"

    with pytest.raises(AirflowFailException, match="paginated"):
        life(lambda: model(workspace="Reports", report="Invoice")).run()


def test_enhanced_refresh_sends_its_body_and_returns_its_objects(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(tables={"Orders": ["2024", "2025"]})))
    body = EnhancedRefresh(type="Full", objects=[{"table": "Orders", "partition": "2025"}], timeout="01:00:00")

    result = life(lambda: model(refresh=body)).run()

    assert posted(cloud)[0].detail["body"] == {
        "type": "full",
        "objects": [{"table": "Orders", "partition": "2025"}],
        "timeout": "01:00:00",
    }
    assert result["objects"] == [{"table": "Orders", "partition": "2025", "status": "Completed"}]


def test_failed_enhanced_refresh_names_code_message_and_partition(start_cloud, life):
    fails = {"errorCode": "ModelRefreshFailed_CredentialsNotSpecified", "errorDescription": "No credentials for 'dwh'"}
    start_cloud(**powerbi(workspace(tables={"Orders": ["2025"]}, fails=fails)))

    with pytest.raises(AirflowFailException) as failure:
        life(lambda: model(refresh={"type": "full", "retryCount": 1})).run()
    message = str(failure.value)
    for part in (
        "ended as Failed",
        "ModelRefreshFailed_CredentialsNotSpecified",
        "No credentials for 'dwh'",
        "table 'Orders' partition '2025'",
        "2 attempts",
        "Set the data source credentials",
    ):
        assert part in message
    assert message.count("No credentials") == 1


def test_wrong_body_fails_before_any_call(start_cloud, life):
    cloud = start_cloud(**powerbi())

    with pytest.raises(AirflowFailException, match="partialBatch needs applyRefreshPolicy false"):
        life(lambda: model(refresh={"commitMode": "partialBatch"})).run()
    assert cloud.ledger.entries(service="powerbi") == []


def test_model_or_report_is_needed():
    with pytest.raises(ConfigurationError, match="either"):
        model(semantic_model=None)
    with pytest.raises(ConfigurationError, match="either"):
        PowerBISemanticModelRefreshOperator(task_id="job", workspace="w", semantic_model="m", report="r")


def test_classic_refresh_cannot_be_cancelled(start_cloud, life, monkeypatch):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(model)
    trigger = task.trigger(task.begin())
    monkeypatch.setattr("provider.triggers.external_job.task_instance_state", lambda **_: "failed")

    with pytest.raises(CannotCancelError, match="Give `refresh`"):
        asyncio.run(trigger.cancel_job())
    asyncio.run(trigger.cancel_if_task_ended())  # says so, and is no error

    assert cloud.ledger.entries(operation="refresh_cancel_requested") == []


@pytest.mark.parametrize("status", [400, 409])
def test_wait_refreshes_after_the_refresh_of_somebody_else(start_cloud, life, status):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG, already_running_status=status)))
    other = start_foreign_refresh()
    task = life(model)

    outcome = task.begin()
    assert isinstance(outcome, TaskDeferred)
    assert outcome.trigger.cancel_on_kill is False
    assert task.operator.external_job is None
    while isinstance(outcome, TaskDeferred):
        outcome = task.resume(outcome, task.event(outcome))

    first, second = posted(cloud)
    assert first.resource == other["id"]
    assert outcome["id"] == second.resource
    (end, _) = cloud.ledger.entries(operation="refresh_completed")
    assert end.seq < second.seq


def test_refresh_that_slips_in_between_look_and_start_is_waited_for(start_cloud, life, monkeypatch):
    """The service refuses the start itself."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(model)
    prepare = PowerBIHook.prepare_semantic_model
    slipped: list[dict[str, Any]] = []

    def slow(self: PowerBIHook, *args: Any, **kwargs: Any) -> dict[str, Any]:
        intent = prepare(self, *args, **kwargs)
        if not slipped:
            slipped.append(PowerBIHook().start_job(intent))
        return intent

    monkeypatch.setattr(PowerBIHook, "prepare_semantic_model", slow)
    result = task.run()

    assert result["id"] != slipped[0]["id"]
    assert len(posted(cloud)) == 2


def test_adopt_takes_the_end_of_the_other_refresh_and_never_cancels_it(start_cloud, life, monkeypatch):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    other = start_foreign_refresh(type="full")
    task = life(lambda: model(if_running="adopt"))

    deferral = task.begin()
    assert deferral.trigger.cancel_on_kill is False
    monkeypatch.setattr("provider.operators.external_job.task_instance_state", lambda **_: "failed")
    task.operator.on_kill()
    assert cloud.ledger.entries(operation="refresh_cancel_requested") == []

    assert task.resume(deferral, task.event(deferral))["id"] == other["id"]
    assert len(posted(cloud)) == 1


def test_skip_and_fail(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    start_foreign_refresh()

    with pytest.raises(AirflowSkipException, match="already runs"):
        life(lambda: model(if_running="skip")).run()
    with pytest.raises(RemoteJobError, match="already runs"):
        life(lambda: model(if_running="fail")).run()
    with pytest.raises(AirflowFailException, match="if_running is 'sometimes'"):
        life(lambda: model(if_running="sometimes")).run()
    assert len(posted(cloud)) == 1


def test_cancel_ends_an_enhanced_refresh_and_refuses_a_classic_one(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    start_foreign_refresh(type="full")

    result = life(lambda: model(if_running="cancel")).run()

    assert result["status"] == "Completed"
    assert len(cloud.ledger.entries(operation="refresh_cancelled")) == 1
    start_foreign_refresh()
    with pytest.raises(AirflowFailException, match="classic refresh"):
        life(lambda: model(if_running="cancel")).run()


def test_refresh_of_somebody_else_is_not_taken_for_a_start_that_was_lost(start_cloud, life):
    """The start was refused before it was carried out, and an enhanced refresh of another pipeline has begun since."""
    rule = {"service": "powerbi", "match": "POST */refreshes", "fault": "drop", "when": "before", "nth": 2}
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)), rules=[rule])
    task = life(model)
    started: list[dict[str, Any]] = []
    operator_prepare = PowerBISemanticModelRefreshOperator.prepare_job

    def prepared(self: Any) -> dict[str, Any]:
        intent = operator_prepare(self)
        if not started:
            started.append(PowerBIHook().start_job({**intent, "body": {"type": "full"}, "enhanced": True}))
        return intent

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PowerBISemanticModelRefreshOperator, "prepare_job", prepared)
        result = task.run()

    assert cloud.rules.describe()[0]["hits"] == 1
    assert result["id"] != started[0]["id"]
    assert len(posted(cloud)) == 2


@pytest.mark.parametrize("headers", [["location"], ["x-ms-request-id"], ["RequestId"], []])
def test_refresh_id_is_found_wherever_the_service_puts_it(start_cloud, life, headers):
    cloud = start_cloud(**powerbi(workspace(refresh_id_headers=headers)))

    result = life(model).run()

    assert [entry.resource for entry in posted(cloud)] == [result["id"]]


def test_history_that_lags_behind_does_not_lose_a_refresh(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(refresh_id_headers=[], history_lag_seconds=0.6)))

    result = life(model).run()

    assert [entry.resource for entry in posted(cloud)] == [result["id"]]


def test_accepted_refresh_that_is_not_listed_in_time_is_not_started_again(start_cloud, life, monkeypatch):
    cloud = start_cloud(**powerbi(workspace(refresh_id_headers=[], history_lag_seconds=1.5)))
    monkeypatch.setattr("provider.operators.external_job.ACCEPTED_SECONDS", 0.3)
    task = life(model)

    with pytest.raises(RemoteJobError, match="accepted without an id"):
        task.run()
    assert len(posted(cloud)) == 1

    monkeypatch.setattr("provider.operators.external_job.LOOKUP_SECONDS", 10.0)
    assert task.run()["id"] == posted(cloud)[0].resource
    assert len(posted(cloud)) == 1


@pytest.mark.parametrize("refresh", [None, {"type": "full"}])
def test_undocumented_words_of_the_service_do_not_matter(start_cloud, life, refresh):
    cloud = start_cloud(
        **powerbi(workspace(history_refresh_type="ReliableProcessing", extended_status_in_history=False, refresh_id_headers=[]))
    )

    life(lambda: model(refresh=refresh)).run()

    assert len(posted(cloud)) == 1


def test_expired_token_is_renewed_and_nothing_is_lost(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(model)
    deferral = task.begin()
    cloud.tokens.expire_all()

    assert task.resume(deferral, task.event(deferral))["status"] == "Completed"
    assert len(posted(cloud)) == 1
    assert len(cloud.ledger.entries(service="entra")) == 2


def test_all_waiting_refreshes_share_one_token_and_one_client(start_cloud, life, monkeypatch):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(lambda: model(refresh={"type": "full"}))
    deferral = task.begin()
    from provider.hooks import powerbi as hooks
    from provider.hooks import powerbi_auth

    powerbi_auth._sources.clear()  # a triggerer begins without a token
    before = len(cloud.ledger.entries(service="entra"))
    built: list[Any] = []
    build = hooks.httpx.AsyncClient

    def counted(**options: Any) -> Any:
        built.append(build(**options))
        return built[-1]

    monkeypatch.setattr(hooks.httpx, "AsyncClient", counted)

    async def poll_all() -> None:
        triggers = [task.trigger(deferral) for _ in range(100)]
        statuses = await asyncio.gather(*(trigger.poll_job() for trigger in triggers))
        assert {status.state for status in statuses} == {"running"}
        await built[0].aclose()

    asyncio.run(poll_all())
    assert len(cloud.ledger.entries(service="entra")) - before == 1
    assert len(built) == 1


def test_no_call_of_the_trigger_blocks_the_event_loop(start_cloud, life, monkeypatch):
    start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(lambda: model(refresh={"type": "full"}))
    deferral = task.begin()
    from provider.hooks import powerbi_auth

    powerbi_auth._sources.clear()
    threads: list[int] = []
    acquire = powerbi_auth.TokenSource._acquire

    def watched(self: Any) -> str:
        threads.append(threading.get_ident())
        return acquire(self)

    monkeypatch.setattr(powerbi_auth.TokenSource, "_acquire", watched)
    asyncio.run(task.trigger(deferral).poll_job())

    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_dataflow_of_an_unknown_name(start_cloud, life):
    start_cloud(**powerbi())

    with pytest.raises(AirflowFailException, match="There is no dataflow 'Stage'"):
        life(lambda: PowerBIDataflowRefreshOperator(**FAST, workspace="Finance's", dataflow="Stage")).run()


def test_body_is_a_template(start_cloud):
    operator = model(refresh=EnhancedRefresh(type="full", effective_date=None, objects=[{"table": "{{ params.table }}"}]))

    operator.render_template_fields({"params": {"table": "Orders"}})

    assert operator.refresh == {"type": "full", "objects": [{"table": "Orders"}]}
