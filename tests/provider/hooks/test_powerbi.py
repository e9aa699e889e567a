from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from provider.emulators.rules import Rule
from provider.exceptions import ConfigurationError
from provider.hooks import powerbi_api as api
from provider.hooks import powerbi_auth
from provider.hooks.powerbi import PowerBIHook
from provider.hooks.powerbi_errors import already_running, response_error
from provider.hooks.powerbi_models import EnhancedRefresh, enhanced_refresh
from provider.hooks.powerbi_refresh import Dataflow, SemanticModel
from provider.hooks.powerbi_settings import PowerBISettings
from provider.hooks.remote_job import JobNotFoundError, RemoteCallError
from tests.identities import certificate_file

URL = "https://app.powerbi.com"


def connection(extra: dict[str, Any] | None = None, **fields: Any) -> Any:
    values = {"conn_id": "bi", "login": "app", "password": "s3cret", "host": None, "port": None, "schema": None}
    return SimpleNamespace(**{**values, **fields}, extra_dejson={"tenant_id": "contoso.com", **(extra or {})})


class TestSettings:
    @pytest.mark.parametrize(
        ("cloud", "api_url", "scope", "authority"),
        [
            (None, "https://api.powerbi.com", "https://analysis.windows.net/powerbi/api/.default", "microsoftonline.com"),
            (
                "gcc",
                "https://api.powerbigov.us",
                "https://analysis.usgovcloudapi.net/powerbi/api/.default",
                "microsoftonline.com",
            ),
            (
                "dod",
                "https://api.mil.powerbigov.us",
                "https://mil.analysis.usgovcloudapi.net/powerbi/api/.default",
                "microsoftonline.us",
            ),
            (
                "china",
                "https://api.powerbi.cn",
                "https://analysis.chinacloudapi.cn/powerbi/api/.default",
                "partner.microsoftonline.cn",
            ),
        ],
    )
    def test_cloud_is_a_preset_of_all_addresses(self, cloud, api_url, scope, authority):
        settings = PowerBISettings.from_connection(connection({"cloud": cloud}))

        assert (settings.api_url, settings.scope) == (api_url, scope)
        assert settings.authority == f"https://login.{authority}"
        assert settings.custom_authority is False

    @pytest.mark.parametrize(
        ("fields", "api_url"),
        [
            ({"host": "localhost", "port": 8443}, "https://localhost:8443"),
            ({"host": "https://localhost:8443/"}, "https://localhost:8443"),
        ],
    )
    def test_host_is_another_address(self, fields, api_url):
        assert PowerBISettings.from_connection(connection(**fields)).api_url == api_url

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"extra": {"tenant_id": ""}}, "extra `tenant_id`"),
            ({"login": None, "password": None}, r"login \(client id\), password \(client secret\)"),
            ({"extra": {"cloud": "mars"}}, "extra `cloud` is 'mars'; use one of public, gcc"),
            ({"extra": {"auth": "password"}}, "extra `auth` is 'password'"),
            ({"extra": {"auth": "certificate"}}, "certificate_path"),
        ],
    )
    def test_what_is_missing_is_named(self, changed, reason):
        with pytest.raises(ConfigurationError, match=reason):
            PowerBISettings.from_connection(connection(**changed))

    def test_managed_identity_needs_nothing(self):
        settings = PowerBISettings.from_connection(
            connection({"auth": "managed_identity", "tenant_id": None}, login=None, password=None)
        )
        assert settings.client_id == ""

    def test_secret_is_not_shown(self):
        assert "s3cret" not in repr(PowerBISettings.from_connection(connection()))


class TestConnection:
    def test_connection_gets_a_token_and_sees_a_workspace(self, powerbi_cloud):
        assert PowerBIHook().test_connection() == (
            True,
            "Application 55555555-5555-4555-8555-555555555555 got a token, and it sees workspace 'Finance'.",
        )

    def test_wrong_secret_is_told_without_the_secret(self, powerbi_cloud, change_connection):
        change_connection(password="not-the-secret")

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "invalid_client" in text
        assert "Check the credentials" in text
        assert "not-the-secret" not in text
        assert "\n" not in text

    def test_corrected_secret_works_at_once(self, powerbi_cloud, change_connection):
        """msal answers for a minute from what it remembers of a refusal."""
        change_connection(password="not-the-secret")
        assert PowerBIHook().test_connection()[0] is False
        change_connection()
        assert PowerBIHook().test_connection()[0] is True

    def test_unreachable_address_is_told(self, powerbi_cloud, change_connection):
        change_connection(host="https://localhost:1")

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "was not answered: ConnectError" in text

    def test_certificate_of_an_unknown_authority_is_refused(self, powerbi_cloud, change_connection):
        change_connection({"ca_file": None})

        assert PowerBIHook().test_connection()[0] is False

    def test_missing_ca_file_is_told(self, powerbi_cloud, change_connection):
        change_connection({"ca_file": "/nowhere/ca.pem"})

        ok, text = PowerBIHook().test_connection()

        assert ok is False
        assert "/nowhere/ca.pem" in text


class TestTokens:
    def settings(self) -> PowerBISettings:
        return PowerBIHook().settings

    def test_many_cold_callers_ask_once(self, powerbi_cloud):
        source = powerbi_auth.token_source(self.settings(), 5.0)
        together = threading.Barrier(10)

        def ask(_: int) -> str:
            together.wait()
            return source.token()

        with ThreadPoolExecutor(10) as pool:
            tokens = set(pool.map(ask, range(10)))

        assert len(tokens) == 1
        assert len(powerbi_cloud.ledger.entries(service="entra")) == 1

    def test_equal_settings_share_a_source(self, powerbi_cloud):
        assert powerbi_auth.token_source(self.settings(), 5.0) is powerbi_auth.token_source(self.settings(), 5.0)

    def test_many_callers_with_an_expired_token_renew_it_once(self, powerbi_cloud):
        source = powerbi_auth.token_source(self.settings(), 5.0)
        old = source.token()

        renewed = {source.renew(old) for _ in range(3)}

        assert len(renewed) == 1
        assert old not in renewed
        assert len(powerbi_cloud.ledger.entries(service="entra")) == 2

    def test_passing_trouble_of_entra_is_retryable(self, powerbi_cloud):
        powerbi_cloud.rules.add(Rule(service="entra", match="POST *", fault="status", http_status=503))

        with pytest.raises(RemoteCallError) as failure:
            powerbi_auth.token_source(self.settings(), 5.0).token()
        assert failure.value.retryable is True

    def test_unreadable_certificate_is_told(self, powerbi_cloud, change_connection):
        change_connection({"auth": "certificate", "certificate_path": "/nowhere/app.pem"})

        with pytest.raises(ConfigurationError, match="/nowhere/app.pem"):
            powerbi_auth.token_source(self.settings(), 5.0).token()

    @pytest.mark.parametrize("kind", ["pem", "pfx"])
    def test_certificate_signs_an_assertion(self, powerbi_cloud, change_connection, tmp_path, kind):
        path = certificate_file(tmp_path, kind, "pass phrase")
        change_connection({"auth": "certificate", "certificate_path": str(path)}, password="pass phrase")

        assert powerbi_auth.token_source(self.settings(), 5.0).token()

    def test_google_account_stands_for_the_application(self, powerbi_cloud, change_connection, monkeypatch):
        import jwt
        from google.oauth2 import id_token

        audiences: list[str] = []

        def fetch(request: Any, audience: str) -> str:
            audiences.append(audience)
            return jwt.encode({"sub": "1", "aud": audience, "exp": time.time() + 600}, "k" * 32)

        monkeypatch.setattr(id_token, "fetch_id_token", fetch)
        change_connection({"auth": "google_federation"}, password=None)

        assert powerbi_auth.token_source(self.settings(), 5.0).token()
        assert audiences == ["api://AzureADTokenExchange"]


class TestErrors:
    def error(self, status: int, body: Any, method: str = "POST", **headers: str) -> RemoteCallError:
        answer = httpx.Response(status, json=body, headers=headers)
        return response_error(f"Power BI {method} refreshes", method, answer)

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"error": {"code": "ItemNotFound", "message": "Dataset x\nis gone"}}, "ItemNotFound: Dataset x is gone"),
            ({"message": "API is not accessible"}, "API is not accessible"),
            (
                {
                    "error": {
                        "code": "DM_Gateway",
                        "pbi.error": {"details": [{"code": "Reason", "detail": {"value": "no driver"}}]},
                    }
                },
                "DM_Gateway; Reason: no driver",
            ),
        ],
    )
    def test_every_shape_of_body_becomes_one_line(self, body, text):
        assert text in str(self.error(400, body))

    def test_permission_and_request_id(self):
        error = self.error(403, {"error": {"code": "PowerBINotAuthorizedException"}}, RequestId="4711")

        assert "Contributor in the workspace" in str(error)
        assert "Request id 4711." in str(error)
        assert error.retryable is False

    @pytest.mark.parametrize(
        ("status", "method", "retryable", "maybe_done"),
        [
            (500, "POST", True, True),
            (503, "DELETE", True, True),
            (503, "GET", True, False),
            (429, "POST", True, False),
            (400, "POST", False, False),
            (404, "GET", False, False),
        ],
    )
    def test_what_an_answer_means_for_the_next_call(self, status, method, retryable, maybe_done):
        error = self.error(status, {"error": {"code": "X"}}, method)

        assert (error.retryable, error.maybe_done) == (retryable, maybe_done)

    def test_daily_limit_is_not_retryable_though_it_is_a_429(self):
        error = self.error(429, {"error": {"code": "DailyDataflowRefreshLimitExceeded"}}, **{"Retry-After": "3392"})

        assert error.retryable is False
        assert error.retry_after == 3392.0
        assert "tomorrow" in str(error)

    def test_retry_after_may_be_a_date(self):
        moment = (datetime.now(tz=UTC) + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")

        error = self.error(429, {}, **{"Retry-After": moment})

        assert error.retry_after == pytest.approx(3600, abs=30)

    def test_already_running_is_told_by_its_text_and_not_by_its_code_alone(self):
        text = "Invalid dataset refresh request. Another refresh request is already executing"
        assert already_running(self.error(400, {"error": {"code": "InvalidRequest", "message": text}}))
        assert not already_running(self.error(400, {"error": {"code": "InvalidRequest", "message": "timeout"}}))


def drive(call: Any, *answers: Any) -> Any:
    """Drive a conversation with prepared answers: JSON bodies or errors."""
    try:
        next(call)
        for answer in answers:
            if isinstance(answer, RemoteCallError):
                call.throw(answer)
            else:
                call.send(httpx.Response(200, json=answer))
    except StopIteration as end:
        return end.value
    raise AssertionError("the conversation goes on")


def handle(model: SemanticModel | Dataflow, **changes: Any) -> dict[str, Any]:
    return {**model.job("r1", enhanced=True), **changes}


class TestConversation:
    model = SemanticModel("w", "m", URL)

    @pytest.mark.parametrize(
        ("entry", "state"),
        [
            ({"status": "Unknown"}, "running"),
            ({"status": "Unknown", "extendedStatus": "NotStarted"}, "running"),
            ({"status": "Unknown", "extendedStatus": "Completed"}, "done"),
            ({"status": "Completed", "extendedStatus": "Unknown"}, "done"),
            ({"status": "Completed"}, "done"),
            ({"status": "Failed"}, "failed"),
            ({"status": "Cancelled"}, "failed"),
            ({"status": "Disabled"}, "failed"),
            ({"status": "Failed", "extendedStatus": "TimedOut"}, "failed"),
            ({"status": "Sleeping"}, "running"),
            ({}, "running"),
        ],
    )
    def test_states_unknown_ones_run(self, entry, state):
        assert api.state(entry) == state

    @pytest.mark.parametrize(
        ("entry", "ours"),
        [
            ({"refreshType": "ViaEnhancedApi"}, True),
            ({"refreshType": "ReliableProcessing"}, True),
            ({"refreshType": "ViaApi"}, False),
            ({"refreshType": "Scheduled"}, False),
            ({"refreshType": "OnDemand"}, False),
            ({"refreshType": "ViaEnhancedApi", "startTime": "2026-01-01T09:59:59Z"}, False),
            ({"refreshType": "ViaEnhancedApi", "requestId": "known"}, False),
        ],
    )
    def test_which_refresh_can_be_a_lost_start(self, entry, ours):
        intent = {"known": ["known"], "since": "2026-01-01T10:00:00+00:00", "enhanced": True}
        entry = {"requestId": "r1", "startTime": "2026-01-01T10:00:00.5Z", "status": "Unknown", **entry}

        found = drive(self.model.find(intent), {"value": [entry]})

        assert (found is not None) is ours

    def test_earliest_candidate_is_taken(self):
        intent = {"known": [], "since": None, "enhanced": True}
        late, early = ({"requestId": str(n), "startTime": f"2026-01-01T10:0{n}:00Z"} for n in (5, 2))

        assert drive(self.model.find(intent), {"value": [late, early]})["id"] == "2"

    def test_refresh_without_details_is_looked_up_in_the_history(self):
        gone = RemoteCallError("404", status_code=404, retryable=False)

        status = drive(self.model.status(handle(self.model)), gone, {"value": [{"requestId": "r1", "status": "Completed"}]})

        assert status.state == "done"

    def test_refresh_that_is_listed_nowhere_is_waited_for_and_then_given_up(self):
        gone = RemoteCallError("404", status_code=404, retryable=False)
        young = drive(self.model.status(handle(self.model)), gone, {"value": []})
        assert (young.state, young.detail) == ("running", "not listed yet")

        old = handle(self.model, started_at="2026-01-01T10:00:00+00:00")
        with pytest.raises(JobNotFoundError, match="dropped"):
            drive(self.model.status(old), gone, {"value": []})

    def test_error_of_a_look_is_not_an_end(self):
        with pytest.raises(RemoteCallError):
            drive(self.model.status(handle(self.model)), RemoteCallError("503", status_code=503))

    def test_reason_in_the_nested_form_of_the_service(self):
        exception = (
            '{"error":{"code":"DM_GWPipeline","pbi.error":{"details":[{"code":"Reason","detail":{"value":"no driver"}}]}}}'
        )

        status = api.job_status("Refresh", handle(self.model), {"status": "Failed", "serviceExceptionJson": exception})

        assert "DM_GWPipeline; Reason: no driver." in status.error

    def test_dataflow_transaction_id_is_one_part_of_the_path(self):
        dataflow = Dataflow("w", "d", URL)
        request = next(dataflow.cancel(handle(dataflow, id="2020-01-01T00:00:00Z@guid$3/../x")))

        assert request.path == "groups/w/dataflows/transactions/2020-01-01T00%3A00%3A00Z%40guid%243%2F..%2Fx/cancel"

    def test_id_is_a_guid_in_its_usual_form_only(self):
        assert api.is_id("22222222-2222-4222-8222-222222222222")
        assert not api.is_id("22222222222242228222222222222222")
        assert not api.is_id("Sales")


class TestBody:
    def test_both_spellings_are_accepted(self):
        body = enhanced_refresh({"commitMode": "PartialBatch", "apply_refresh_policy": False, "maxParallelism": 2}).body()

        assert body == {
            "type": "automatic",
            "commitMode": "partialBatch",
            "applyRefreshPolicy": False,
            "maxParallelism": 2,
        }

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            ({"timeout": "25:00:00"}, "timeout"),
            ({"objects": []}, "objects"),
            ({"objects": [{"tabel": "Orders"}]}, "objects.0.tabel"),
            ({"notifyOption": "MailOnFailure"}, "notifyOption"),
            ({"retryCount": -1}, "retryCount"),
        ],
    )
    def test_wrong_values_are_named(self, wrong, reason):
        with pytest.raises(ConfigurationError, match=reason):
            enhanced_refresh(wrong)

    def test_empty_body_would_be_a_classic_refresh(self):
        assert EnhancedRefresh().body() == {"type": "automatic"}
