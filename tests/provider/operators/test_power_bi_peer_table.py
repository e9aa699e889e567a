"""
What the other Power BI providers offer, row by row, and what ours does there: one test for each row.

The rows are features by which refresh operators are told apart; most peers lack most of them. The emulator's ledger is
the judge: what was started, cancelled and ended.
"""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider import get_provider_info
from provider.exceptions import RemoteJobError
from provider.hooks.powerbi.enhanced_refresh import EnhancedRefresh
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.powerbi.settings import CLOUDS
from provider.links import PowerBILink
from provider.operators.job_ledger import JobLedger
from tests.provider.operators.powerbi_world import (
    AUTH_METHODS,
    LONG,
    MODEL_ID,
    OTHER_MODEL_ID,
    WORKSPACE_ID,
    cancelled,
    change_connection,
    dataflow,
    disturb,
    enhanced,
    hits,
    logged_in_by,
    model,
    posted,
    powerbi,
    workspace,
)

pytestmark = pytest.mark.slow  # real lives of tasks, with their waits


def test_dataset_refresh(start_cloud, life):
    cloud = start_cloud(**powerbi())

    result = life(lambda: model(workspace=WORKSPACE_ID, semantic_model=MODEL_ID)).run()

    (entry,) = posted(cloud)
    assert entry.detail["datasetId"] == MODEL_ID
    assert entry.detail["body"] == {"notifyOption": "NoNotification"}
    assert (result["id"], result["status"], result["type"]) == (entry.resource, "Completed", "ViaApi")


def test_enhanced_body_table_and_partition(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(tables={"Orders": ["2024", "2025"]})))
    body = EnhancedRefresh(type="Full", objects=[{"table": "Orders", "partition": "2025"}], timeout="01:00:00")

    result = life(lambda: model(refresh=body)).run()

    assert posted(cloud)[0].detail["body"] == {
        "type": "full",
        "objects": [{"table": "Orders", "partition": "2025"}],
        "timeout": "01:00:00",
    }
    assert result["objects"] == [{"table": "Orders", "partition": "2025", "status": "Completed"}]


def test_dataflow_and_report_by_name(start_cloud, life):
    """A report's model is refreshed where it is, and a paginated report has none."""
    reports = {
        "id": "66666666-6666-4666-8666-666666666666",
        "name": "Reports",
        "reports": [
            {"name": "Board", "datasetId": MODEL_ID, "datasetWorkspaceId": WORKSPACE_ID},
            {"name": "Invoice"},
        ],
    }
    cloud = start_cloud(**powerbi(workspace(), reports))

    transaction = life(dataflow).run()
    assert [entry.resource for entry in cloud.ledger.entries(operation="dataflow_refresh_posted")] == [transaction["id"]]

    life(lambda: model(workspace="Reports", report="Board")).run()
    assert posted(cloud)[0].detail["groupId"] == WORKSPACE_ID

    with pytest.raises(AirflowFailException, match="paginated"):
        life(lambda: model(workspace="Reports", report="Invoice")).run()


def test_workspace_and_dataset_by_name(start_cloud, life):
    """A quote in a name does no harm."""
    others = {"name": "Finance", "semantic_models": [{"id": OTHER_MODEL_ID, "name": "Sales"}]}
    cloud = start_cloud(**powerbi(workspace(), others))

    life(model).run()

    assert [entry.detail["datasetId"] for entry in posted(cloud)] == [MODEL_ID]


def test_synchronous_wait(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(lambda: model(deferrable=False))

    result = task.begin()

    assert task.deferrals == []
    assert [entry.resource for entry in cloud.ledger.entries(operation="refresh_completed")] == [result["id"]]


def test_deferrable(start_cloud, life):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(model)

    deferral = task.begin()

    assert isinstance(deferral, TaskDeferred)
    assert cloud.ledger.entries(operation="refresh_completed") == []
    result = task.resume(deferral, task.event(deferral))
    assert [entry.resource for entry in cloud.ledger.entries(operation="refresh_completed")] == [result["id"]]


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_cancel_on_kill(start_cloud, life, where):
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(enhanced)
    trigger = task.trigger(task.begin())

    task.end_by_a_person(trigger, where)

    (end,) = cloud.ledger.wait_for("refresh_cancelled")
    assert cancelled(cloud) == [end.resource] == [posted(cloud)[0].resource]


def test_reattach(start_cloud, life, monkeypatch):
    """A worker is lost right after the start, the next one while it waits: there is one refresh."""
    cloud = start_cloud(**powerbi(workspace(seconds=2 * LONG)))
    task = life(model)

    class WorkerLost(BaseException):
        pass

    def lose(self: JobLedger, job: Any) -> None:
        raise WorkerLost

    with monkeypatch.context() as patch:
        patch.setattr(JobLedger, "record_job", lose)
        with pytest.raises(WorkerLost):
            task.begin()
    assert isinstance(task.begin(), TaskDeferred)

    assert task.run()["id"] == posted(cloud)[0].resource
    assert len(posted(cloud)) == 1


@pytest.mark.parametrize("cancel", [True, False])
def test_timeout(start_cloud, life, cancel):
    """The wait ends in time; whether the refresh ends with it is a choice."""
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(lambda: enhanced(wait_timeout=0.3, cancel_on_timeout=cancel))

    with pytest.raises(RemoteJobError, match="was cancelled" if cancel else "was left running"):
        task.run()

    assert cancelled(cloud) == ([task.entry["job"]["id"]] if cancel else [])
    assert len(cloud.ledger.entries(operation="refresh_cancelled")) == len(cancelled(cloud))


def test_error_detail(start_cloud, life):
    fails = {"errorCode": "ModelRefreshFailed_CredentialsNotSpecified", "errorDescription": "No credentials for 'dwh'"}
    start_cloud(**powerbi(workspace(tables={"Orders": ["2025"]}, fails=fails)))

    with pytest.raises(AirflowFailException) as failure:
        life(lambda: enhanced(refresh={"type": "full", "retryCount": 1})).run()
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


def test_429(start_cloud, life):
    """More of them than any number of retries, at the start, in the worker and in the triggerer."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    disturb(cloud, "POST */refreshes", http_status=429, retry_after=1)
    disturb(cloud, "GET */refreshes*", http_status=429, retry_after=0, times=12, nth=2)
    task = life(lambda: enhanced(poll_interval=0.05))

    assert task.run()["status"] == "Completed"

    assert hits(cloud) == 13
    assert len(posted(cloud)) == 1
    assert cancelled(cloud) == []


def test_token_renewal(start_cloud, life):
    """The service calls an old token 403 TokenExpired."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(model)
    deferral = task.begin()
    cloud.tokens.expire_all()

    assert task.resume(deferral, task.event(deferral))["status"] == "Completed"
    assert len(posted(cloud)) == 1
    assert len(cloud.ledger.entries(service="entra")) == 2


@pytest.mark.parametrize("auth", AUTH_METHODS)
def test_certificate_managed_and_federated_identity(start_cloud, life, tmp_path, monkeypatch, auth):
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))

    with logged_in_by(auth, cloud, tmp_path, monkeypatch) as server:
        assert life(model).run()["status"] == "Completed"

    credentials = [entry.detail["credential"] for entry in cloud.ledger.entries(service="entra")]
    assert credentials == {"client_secret": ["client_secret"], "managed_identity": []}.get(auth, ["client_assertion"])
    if auth == "managed_identity":
        ((_, query),) = server.asked
        assert query["resource"] == "https://analysis.windows.net/powerbi/api"
    if auth == "google_federation":
        assert len(server.identity_tokens) == 1


@pytest.mark.parametrize("cloud_name", sorted(CLOUDS))
def test_sovereign_clouds(start_cloud, life, monkeypatch, cloud_name):
    """The preset decides for whom the token is, which API is called, and where links lead."""
    cloud = start_cloud(**powerbi())
    change_connection(monkeypatch, {"cloud": cloud_name})
    task = life(model)

    task.run()

    (token,) = cloud.ledger.entries(service="entra")
    assert token.detail["scope"] == f"{CLOUDS[cloud_name].resource}/.default"
    assert task.ti.xcoms["remote_job_url"].startswith(f"{CLOUDS[cloud_name].portal}/groups/")
    change_connection(monkeypatch, host="")
    settings = PowerBIHook().settings
    assert settings.api_url == CLOUDS[cloud_name].api
    assert "https://" in CLOUDS[cloud_name].authority


def test_ui_link(start_cloud, life):
    """It is there while the refresh runs."""
    start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(model)

    assert isinstance(task.begin(), TaskDeferred)

    url = PowerBILink().get_link(task.operator, ti_key=SimpleNamespace())  # type: ignore[arg-type]
    assert url == f"https://app.powerbi.com/groups/{WORKSPACE_ID}/datasets/{MODEL_ID}/details"
    assert task.ti.xcoms[PowerBILink().xcom_key] == url
    assert [type(link) for link in task.operator.operator_extra_links] == [PowerBILink]


def test_xcom(start_cloud, life):
    fails = {"errorCode": "QuerySystemError", "errorDescription": "out of memory"}
    cloud = start_cloud(**powerbi(workspace(tables={"Orders": ["2025"]}, seconds=0.4, fails=fails, failing_refreshes=1)))
    task = life(lambda: enhanced(poll_interval=0.05))
    with pytest.raises(RemoteJobError):
        task.run()
    assert task.ti.xcoms["remote_job_id"] == posted(cloud)[0].resource  # of a failed one too

    result = task.run()

    assert set(result) == {"id", "status", "type", "started_at", "ended_at", "duration", "attempts", "objects"}
    assert result["id"] == posted(cloud)[1].resource == task.ti.xcoms["remote_job_id"]
    assert (result["status"], result["attempts"]) == ("Completed", 1)
    begun, ended = (datetime.fromisoformat(result[key]) for key in ("started_at", "ended_at"))
    assert begun.utcoffset() is not None
    assert result["duration"] == (ended - begun).total_seconds() == pytest.approx(0.4, abs=0.002)
    assert result["objects"] == [{"table": "Orders", "partition": "2025", "status": "Completed"}]


def test_templating(start_cloud, life):
    """Everything that names something, and every value of the body."""
    cloud = start_cloud(**powerbi(workspace(tables=["Orders"])))
    params = {"workspace": "Finance's", "model": "Sales", "table": "Orders", "connection": "powerbi_default"}

    def templated() -> Any:
        operator = model(
            workspace="{{ params.workspace }}",
            semantic_model="{{ params.model }}",
            powerbi_conn_id="{{ params.connection }}",
            refresh=EnhancedRefresh(type="full", objects=[{"table": "{{ params.table }}"}]),
        )
        operator.render_template_fields({"params": params})
        return operator

    life(templated).run()

    assert posted(cloud)[0].detail["body"] == {"type": "full", "objects": [{"table": "Orders"}]}
    assert {"workspace", "dataflow", "powerbi_conn_id"} <= set(dataflow().template_fields)
    assert {"report", "semantic_model"} <= set(model().template_fields)


def test_connection_form_and_test(start_cloud, monkeypatch):
    """Each field of the form counts; Test logs in and looks for one workspace."""
    (form,) = [one for one in get_provider_info()["connection-types"] if one["connection-type"] == "powerbi"]
    cloud = start_cloud(**powerbi())
    given = {
        "tenant_id": "contoso.com",
        "auth": "managed_identity",
        "cloud": "gcc",
        "certificate_path": "/etc/app.pem",
        "profile_id": "66666666-6666-4666-8666-666666666666",
        "authority": "https://login.example.com",
        "portal_url": "https://bi.example.com",
        "ca_file": __file__,
    }
    assert form["conn-fields"].keys() == given.keys()
    unchanged = PowerBIHook().settings
    for name, value in given.items():
        with monkeypatch.context() as patch:
            change_connection(patch, {name: value})
            assert PowerBIHook().settings != unchanged, name

    assert PowerBIHook().test_connection() == (
        True,
        'Application 55555555-5555-4555-8555-555555555555 got a token, and it sees workspace "Finance\'s".',
    )
    change_connection(monkeypatch, password="wrong")
    ok, text = PowerBIHook().test_connection()
    assert (ok, "AADSTS7000215" in text, "Check the credentials" in text) == (False, True, True)
    assert [entry.outcome for entry in cloud.ledger.entries(service="entra")] == ["ok", "AADSTS7000215"]


def test_transient_5xx(start_cloud, life):
    """Ten failed polls in a row say nothing about the refresh."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(lambda: enhanced(poll_interval=0.02))
    deferral = task.begin()
    disturb(cloud, "GET */refreshes/*", http_status=503, times=5)
    disturb(cloud, "GET */refreshes/*", http_status=500, times=5)

    assert task.resume(deferral, task.event(deferral))["status"] == "Completed"

    assert hits(cloud) == 10
    assert cancelled(cloud) == []
