"""What none of the peers does, point by point."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from provider.emulators.powerbi_state import Refresh
from provider.exceptions import RemoteJobError
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.remote_job import CannotCancelError
from provider.links import PowerBILink
from provider.operators.job_ledger import JobLedger
from tests.provider.operators.powerbi_world import (
    AUTH_METHODS,
    LONG,
    MODEL_ID,
    OTHER_MODEL_ID,
    TOKEN_EXPIRED,
    WORKSPACE_ID,
    cancelled,
    change_connection,
    dataflow,
    disturb,
    enhanced,
    logged_in_by,
    model,
    posted,
    powerbi,
    workspace,
)

pytestmark = pytest.mark.slow  # real lives of tasks, with their waits


# What none of the peers does.


class WorkerLost(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("trouble", ["answer dropped", "answer 500", "worker lost after the start", "worker lost while waiting"])
def test_point_1_no_double_refresh(start_cloud, life, monkeypatch, trouble):
    """The start is posted by the worker and recorded before the wait; without a clear answer it is looked up."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG)))
    task = life(enhanced)
    if trouble.startswith("answer"):
        fault = {"fault": "drop"} if trouble == "answer dropped" else {"http_status": 500}
        disturb(cloud, "POST */refreshes", when="after", **fault)
    elif trouble == "worker lost while waiting":
        assert isinstance(task.begin(), TaskDeferred)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(JobLedger, "record_job", lambda self, job: (_ for _ in ()).throw(WorkerLost))
            with pytest.raises(WorkerLost):
                task.begin()

    result = task.run()

    assert [entry.resource for entry in posted(cloud)] == [result["id"]]
    assert cancelled(cloud) == []


def test_point_2_never_cancel_because_polling_failed(start_cloud, life):
    """Also where polling cannot succeed any more: the task fails and says that the refresh runs on."""
    cloud = start_cloud(**powerbi(workspace(seconds=2 * LONG)))
    task = life(enhanced)
    deferral = task.begin()
    disturb(cloud, "GET */refreshes/*", http_status=403, times=None)

    with pytest.raises(RemoteJobError, match="The job was left running; a retry re-attaches"):
        task.resume(deferral, task.event(deferral))
    assert cancelled(cloud) == []

    cloud.rules.clear()
    assert task.run()["status"] == "Completed"
    assert len(posted(cloud)) == 1


def test_point_3_on_kill_says_where_a_refresh_cannot_be_cancelled(start_cloud, life, monkeypatch, capsys):
    """Cancelling an enhanced refresh is the table's row; a classic one ends by itself, and the log says so."""
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(model)
    trigger = task.trigger(task.begin())
    monkeypatch.setattr("provider.airflow_internals.supervisor.task_instance_state", lambda **_: "failed")

    with pytest.raises(CannotCancelError, match="Give `refresh`"):
        PowerBIHook().cancel(trigger.job)
    capsys.readouterr()
    asyncio.run(trigger.cancel_if_task_ended())
    task.operator.on_kill()

    assert capsys.readouterr().out.count("is a classic refresh, and Power BI cancels enhanced ones only") == 2
    assert cancelled(cloud) == []


def test_point_4_reattach_across_task_retries(start_cloud, life):
    """Three tries of one chain wait for one refresh; after a person's clear there is another one."""
    cloud = start_cloud(**powerbi(workspace(seconds=2 * LONG)))
    task = life(enhanced)
    for _ in range(2):
        assert isinstance(task.begin(), TaskDeferred)

    first = task.run()
    task.clear()
    second = task.run()

    assert [entry.resource for entry in posted(cloud)] == [first["id"], second["id"]]
    assert [task.entry["tries"][number]["id"] for number in ("1", "2", "3", "4")] == [*[first["id"]] * 3, second["id"]]


@pytest.mark.parametrize("status", [400, 409])
def test_point_5_if_running_holds_for_a_refresh_that_slips_in_between_look_and_start(start_cloud, life, monkeypatch, status):
    """The service refuses the start itself."""
    cloud = start_cloud(**powerbi(workspace(seconds=LONG, already_running_status=status)))
    task = life(model)
    prepare = PowerBIHook.prepare
    slipped: list[dict[str, Any]] = []

    def slow(self: PowerBIHook, request: Any) -> dict[str, Any]:
        intent = prepare(self, request)
        if not slipped:
            slipped.append(PowerBIHook().start(request, intent))
        return intent

    monkeypatch.setattr(PowerBIHook, "prepare", slow)
    result = task.run()

    assert result["id"] != slipped[0]["id"]
    assert len(posted(cloud)) == 2


@pytest.mark.parametrize(
    ("fails", "hint", "retried"),
    [
        ("0xC11C0020", "evicted from memory", True),
        ("CapacityNotActive", "Resume the capacity", True),
        ("DM_GWPipeline_Client_GatewayNotReachable", "Start the data gateway", True),
        ("ModelRefreshFailed_CredentialsNotSpecified", "Set the data source credentials", False),
        ("RefreshLimitExceeded", "used up", False),
    ],
)
def test_point_6_one_error_line_with_a_hint(start_cloud, life, fails, hint, retried):
    failure = {"errorCode": fails, "errorDescription": "first\nsecond"}
    cloud = start_cloud(**powerbi(workspace(tables={"Orders": ["2025"]}, fails=failure)))
    task = life(enhanced)

    with pytest.raises(RemoteJobError if retried else AirflowFailException) as raised:
        task.run()

    message = str(raised.value)
    assert "\n" not in message
    for part in (
        f"{posted(cloud)[0].resource} ended as Failed: {fails}: first second.",
        "Not refreshed: table 'Orders' partition '2025'.",
        hint,
        f"See https://app.powerbi.com/groups/{WORKSPACE_ID}/datasets/{MODEL_ID}/details",
    ):
        assert part in message


def test_point_6_the_daily_limit_of_dataflows_is_not_retried_though_it_is_a_429(start_cloud, life):
    cloud = start_cloud(**powerbi())
    body = {"error": {"code": "DailyDataflowRefreshLimitExceeded", "message": "Refresh limit reached"}}
    disturb(cloud, "POST */refreshes", http_status=429, body=body, headers={"RequestId": "4711"}, retry_after=3392)

    with pytest.raises(AirflowFailException) as raised:
        life(dataflow).run()

    for part in ("answered 429: DailyDataflowRefreshLimitExceeded: Refresh limit reached.", "tomorrow", "Request id 4711."):
        assert part in str(raised.value)
    assert cloud.ledger.entries(operation="dataflow_refresh_posted") == []


@pytest.mark.parametrize("last", ["Cancelled", "TimedOut", "Disabled", "Failed"])
def test_point_7_unknown_words_mean_running_and_all_ends_are_known(start_cloud, life, monkeypatch, last):
    """The extended status is the telling one."""
    start_cloud(**powerbi(workspace(seconds=30.0, fails={"errorDescription": "x"})))
    words = ["NotStarted", "Queued", "Pausing", "InProgress"]

    def word(self: Refresh, now: Any) -> str:
        return words.pop(0) if words else last

    monkeypatch.setattr(Refresh, "extended_status", word)
    monkeypatch.setattr(Refresh, "status", lambda self, now: "Unknown")
    task = life(lambda: enhanced(deferrable=False, poll_interval=0.01))

    with pytest.raises((RemoteJobError, AirflowFailException), match=f"ended as {last}"):
        task.run()
    assert words == []


def test_point_8_another_403_is_a_missing_permission_and_not_retried(start_cloud, life):
    """TokenExpired drops the token once; where a new one is refused as well, the task fails."""
    cloud = start_cloud(**powerbi())
    disturb(cloud, "POST */refreshes", http_status=403, body={"error": {"code": "PowerBINotAuthorizedException"}})
    with pytest.raises(AirflowFailException, match="Contributor in the workspace"):
        life(model).run()
    assert len(cloud.ledger.entries(service="entra")) == 1

    disturb(cloud, "POST */refreshes", http_status=403, body=TOKEN_EXPIRED, times=None)
    with pytest.raises(AirflowFailException, match="TokenExpired"):
        life(model).run()
    assert len(cloud.ledger.entries(service="entra")) == 2
    assert posted(cloud) == []


def test_point_9_retry_after_is_honoured_up_to_the_deadline(start_cloud, life):
    """An hour's wait that the service asks for does not outlast the task's own limit, nor end the refresh."""
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    task = life(lambda: enhanced(wait_timeout=600.0))
    deferral = task.begin()
    # The end comes a second after the start, however long that took.
    deferral.kwargs["deadline"] = end = time.time() + 1.0
    deferral.trigger.budget = deferral.trigger.budget.until(end)
    throttled = disturb(cloud, "GET */refreshes/*", http_status=429, retry_after=3392)

    assert task.event(deferral)["status"] == "timeout"
    assert time.time() >= end
    assert next(rule["hits"] for rule in cloud.rules.describe() if rule["id"] == throttled) == 1
    with pytest.raises(RemoteJobError, match="left running"):
        task.resume(deferral, {"status": "timeout"})
    assert cancelled(cloud) == []


@pytest.mark.parametrize("kind", ["semantic model", "dataflow", "report", "workspace"])
def test_point_10_ambiguous_names_list_their_candidates(start_cloud, life, kind):
    first = workspace()
    first["reports"] = [{"name": "Board", "datasetId": MODEL_ID}]
    second = {**workspace(), "id": "77777777-7777-4777-8777-777777777777"} if kind == "workspace" else None
    make = {"semantic model": model, "dataflow": dataflow, "report": lambda: model(report="Board"), "workspace": model}[kind]
    if kind != "workspace":
        items = first[{"semantic model": "semantic_models", "dataflow": "dataflows", "report": "reports"}[kind]]
        items.append({**items[0], "id": OTHER_MODEL_ID})
    cloud = start_cloud(**powerbi(*filter(None, (first, second))))

    with pytest.raises(AirflowFailException, match=f"{kind} .* is ambiguous: .* Give one of these ids") as failure:
        life(make).run()

    assert (second["id"] if second else OTHER_MODEL_ID) in str(failure.value)
    assert posted(cloud) == []
    assert cloud.ledger.entries(operation="dataflow_refresh_posted") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"commitMode": "partialBatch"}, "partialBatch needs applyRefreshPolicy false"),
        ({"timeout": "{{ params.hours }}:00:00"}, "timeout"),
        ({"objects": [{"tabel": "Orders"}]}, "objects.0.tabel"),
    ],
)
def test_point_11_the_body_is_rendered_and_validated_before_the_call(start_cloud, life, body, reason):
    cloud = start_cloud(**powerbi())

    def rendered() -> Any:
        operator = model(refresh=body)
        operator.render_template_fields({"params": {"hours": 25}})
        return operator

    with pytest.raises(AirflowFailException, match=reason):
        life(rendered).run()
    assert cloud.ledger.entries() == []


@pytest.mark.parametrize("auth", AUTH_METHODS)
def test_point_12_test_of_a_connection_with_each_identity(start_cloud, tmp_path, monkeypatch, auth):
    """One form for all of them; Test asks for a new token and one workspace, and tells what is wrong."""
    cloud = start_cloud(**powerbi())
    looked = disturb(cloud, "GET /v1.0/myorg/groups", fault="delay", seconds=0.001, times=None)

    with logged_in_by(auth, cloud, tmp_path, monkeypatch):
        ok, text = PowerBIHook().test_connection()
        assert (ok, "it sees workspace" in text) == (True, True), text
        assert next(rule["hits"] for rule in cloud.rules.describe() if rule["id"] == looked) == 1


@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        ("pem", "Cannot open the certificate .*app.pem.* is the password of the connection"),
        ("pfx", "Cannot open the certificate .*app.pfx.* is the password of the connection"),
        ("managed_identity", "managed identity endpoint of this machine gave no token: its answer is unreadable"),
        ("google_federation", "Google gave no identity token"),
    ],
)
def test_point_12_each_identity_says_what_is_wrong_with_it(start_cloud, tmp_path, monkeypatch, auth, reason):
    cloud = start_cloud(**powerbi())
    with logged_in_by(auth, cloud, tmp_path, monkeypatch) as server:
        server.refusal = (400, "<html>no</html>" if auth == "managed_identity" else '{"error": "invalid_grant"}')
        if auth in ("pem", "pfx"):
            change_connection(monkeypatch, password="not the passphrase")

        ok, text = PowerBIHook().test_connection()

    assert ok is False
    assert re.search(reason, text)
    assert "not the passphrase" not in text


def test_point_13_http_client_wait_and_service_timeouts_are_apart(start_cloud, life, capsys):
    """One call is slow and repeated, the wait goes on; the service ends its own attempt by its own limit."""
    cloud = start_cloud(**powerbi(workspace(seconds=30.0)))
    slow = disturb(cloud, "GET */refreshes/*", fault="delay", seconds=2.0, nth=2)
    refresh = {"type": "full", "timeout": "00:00:02"}
    task = life(lambda: enhanced(refresh=refresh, http_timeout=0.5, wait_timeout=60.0))

    with pytest.raises(RemoteJobError, match=r"ended as TimedOut.*exceeded its timeout of 00:00:02"):
        task.run()

    assert next(rule["hits"] for rule in cloud.rules.describe() if rule["id"] == slow) == 1
    assert "was not answered: no whole answer within 0.5 s" in capsys.readouterr().out
    assert len(cloud.ledger.entries(operation="refresh_timed_out")) == len(posted(cloud)) == 1


@pytest.mark.parametrize("make", [model, dataflow])
def test_point_14_link_of_the_right_cloud_and_a_full_xcom(start_cloud, life, monkeypatch, make):
    start_cloud(**powerbi())
    change_connection(monkeypatch, {"cloud": "gcc_high"})
    task = life(make)

    result = task.run()

    assert task.ti.xcoms[PowerBILink().xcom_key].startswith(f"https://app.high.powerbigov.us/groups/{WORKSPACE_ID}/")
    wanted = {"id", "status", "type", "started_at", "ended_at", "duration"} | ({"attempts"} if make is model else set())
    assert wanted <= set(result)
    assert task.ti.xcoms["remote_job_id"] == result["id"]
