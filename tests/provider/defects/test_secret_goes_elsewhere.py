"""The client secret followed a redirect to plain http, tokens travelled in clear, and an old token was shown."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from provider.exceptions import ConfigurationError
from provider.hooks import addresses
from provider.hooks.bigquery import BigQueryJobHook
from provider.hooks.bounded_session import BoundedAdapter
from provider.hooks.dataform.hook import DataformInvocationHook
from provider.hooks.powerbi.credentials import Issuer
from provider.hooks.powerbi.hook import PowerBIHook
from provider.hooks.powerbi.settings import PowerBISettings
from provider.hooks.powerbi.tokens import KeptToken, TokenSource
from provider.hooks.remote_job import RemoteCallError
from tests.provider.defects.raw_server import RawServer, http

pytestmark = pytest.mark.timeout(120)

SECRET = "TOP-SECRET"
FOREIGN = "http://bi.example.com"


def settings(authority: str, **extra: Any) -> PowerBISettings:
    """Return the settings of an application at this Entra ID."""
    fields = {"conn_id": "bi", "login": "app", "password": SECRET, "host": None, "port": None, "schema": None}
    extra = {"tenant_id": "contoso.com", "authority": authority, **extra}
    return PowerBISettings.from_connection(SimpleNamespace(**fields, extra_dejson=extra))


def entra(monkeypatch: pytest.MonkeyPatch, token_endpoint: str, answer: bytes) -> list[str]:
    """Let msal, which insists on https, be answered without TLS; return what it asks for."""
    asked: list[str] = []
    described = dict.fromkeys(("authorization_endpoint", "device_authorization_endpoint"), f"{AUTHORITY}/x")
    described |= {"issuer": f"{AUTHORITY}/contoso.com", "token_endpoint": token_endpoint}
    there = RawServer(lambda method, path, headers: http(200, described) if method == "GET" else answer)
    there.__enter__()
    send = HTTPAdapter.send

    def redirected(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(request.url)
        request.url = request.url.replace(AUTHORITY, there.url)
        return send(adapter, request, *args, **kwargs)

    monkeypatch.setattr(HTTPAdapter, "send", redirected)
    return asked


AUTHORITY = "https://login.example.com"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_secret_does_not_follow_a_redirect(monkeypatch, status):
    with RawServer(lambda method, path, headers: http(200, {"access_token": "x", "expires_in": 3600})) as elsewhere:
        asked = entra(monkeypatch, f"{AUTHORITY}/token", http(status, Location=f"{elsewhere.url}/steal"))
        with pytest.raises(RemoteCallError, match="gave no token"):
            Issuer(settings(AUTHORITY)).issue(5.0)

    assert f"{AUTHORITY}/token" in asked  # it was sent where it belongs, and nowhere else
    assert elsewhere.requests == []


def test_secret_goes_to_no_plain_address_that_entra_names(monkeypatch):
    asked = entra(monkeypatch, f"{FOREIGN}/token", b"")

    with pytest.raises(RemoteCallError, match="https"):
        Issuer(settings(AUTHORITY)).issue(5.0)

    assert not [url for url in asked if url.startswith(FOREIGN)]


@pytest.mark.parametrize("endpoint", ["https://login.example.com.evil.test/token", "https://login.example.com@evil.test/token"])
def test_secret_goes_to_no_other_host_that_entra_names(monkeypatch, endpoint):
    asked = entra(monkeypatch, endpoint, http(200, {"access_token": "x", "expires_in": 3600}))

    with pytest.raises(RemoteCallError, match="is on another host; nothing was sent there") as raised:
        Issuer(settings(AUTHORITY)).issue(5.0)

    assert not raised.value.retryable
    assert not [url for url in asked if "evil.test" in url]


def test_the_authority_s_name_may_be_one_of_several_of_microsoft():
    """The description of login.windows.net names login.microsoftonline.com."""
    assert settings("https://login.windows.net").token_hosts == {
        "login.windows.net",
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
    }


def test_session_for_secrets_sends_nothing_to_a_plain_address():
    """Whatever msal thinks of addresses."""
    session = requests.Session()
    session.mount("http://", BoundedAdapter(2**20))

    with pytest.raises(RemoteCallError, match="is no https address; nothing was sent there") as raised:
        session.post(f"{FOREIGN}/token?x={SECRET}", data={"client_secret": SECRET})

    assert SECRET not in str(raised.value)


def test_answer_of_entra_is_bounded(monkeypatch):
    body = b'{"access_token": "' + b"x" * 2**21 + b'"}'
    entra(monkeypatch, f"{AUTHORITY}/token", http(200, body))

    with pytest.raises(RemoteCallError, match="AnswerTooLongError"):
        Issuer(settings(AUTHORITY)).issue(5.0)


@pytest.mark.parametrize(
    "fields", [{"host": FOREIGN}, {"host": "bi.example.com", "schema": "http"}, {"extra": {"authority": FOREIGN}}]
)
def test_connection_of_power_bi_names_no_plain_host(monkeypatch, fields):
    connection = {"conn_type": "powerbi", "login": "app", "password": SECRET, **fields}
    connection["extra"] = {"tenant_id": "contoso.com", **fields.get("extra", {})}
    monkeypatch.setenv("AIRFLOW_CONN_POWERBI_DEFAULT", json.dumps(connection))

    with pytest.raises(ConfigurationError, match="where tokens would travel in clear; give an https:// address"):
        PowerBIHook().connect()


def google(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    fields = {"conn_type": "google_cloud_platform", "extra": {"project": "demo", "is_anonymous": True, **extra}}
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(fields))


def test_endpoint_of_dataform_is_no_plain_host(monkeypatch):
    google(monkeypatch, dataform_endpoint=FOREIGN)

    with pytest.raises(ConfigurationError, match="`dataform_endpoint` is .* where tokens would travel in clear"):
        DataformInvocationHook()


def test_endpoint_of_bigquery_is_no_plain_host(monkeypatch):
    google(monkeypatch)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", FOREIGN)

    with pytest.raises(ConfigurationError, match="BIGQUERY_EMULATOR_HOST is .* where tokens would travel in clear"):
        BigQueryJobHook().status({"project_id": "demo", "location": "EU", "job_id": "one"})


def test_answer_of_bigquery_is_bounded_and_no_redirect_is_followed(monkeypatch):
    google(monkeypatch)
    with RawServer(lambda method, path, headers: http(200, {})) as elsewhere:
        answers = {"/big": http(200, b" " * 2**20), "/away": http(307, Location=elsewhere.url)}
        with RawServer(lambda method, path, headers: answers["/" + path.rpartition("/")[2].partition("?")[0]]) as server:
            monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
            hook = BigQueryJobHook()
            hook.budget = type(hook.budget)(call=5.0, body=2**16)
            for job_id, reason in (("big", "AnswerTooLongError"), ("away", "TooManyRedirects")):
                with pytest.raises(RemoteCallError, match=reason):
                    hook.status({"project_id": "demo", "location": "EU", "job_id": job_id})
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://x.example", True),
        ("http://localhost:1/x", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:80", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
        ("http://localhost@example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("ftp://localhost", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_addresses_where_nobody_reads_along(url, private):
    assert addresses.is_private(url) is private


async def test_every_token_is_masked_not_the_last_two_alone(monkeypatch):
    tokens = iter(f"token-number-{number}-of-this-process" for number in range(5))
    monkeypatch.setattr(Issuer, "issue", lambda issuer, seconds: {"access_token": next(tokens), "expires_in": 3600})
    source, kept = TokenSource(settings(AUTHORITY)), []
    token = await source.token(5.0)
    for _ in range(4):
        kept.append(token)
        token = await source.renewed(token, 5.0)

    assert source.mask(" ".join([*kept, token])) == "*** *** *** *** ***"
    assert not any(shown in repr(KeptToken(token)) for shown in (*kept, token))
