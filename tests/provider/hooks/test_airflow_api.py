"""The client of Airflow's REST API, against a server that answers as it is told."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from airflow.sdk import Connection
from google.auth.exceptions import RefreshError

from provider.exceptions import ConfigurationError
from provider.hooks.airflow_api import AirflowApi, AirflowApiHook, AirflowApiSettings, api_path
from provider.hooks.remote_job import RemoteCallError
from provider.hooks.wait_budget import WaitBudget
from tests.provider.hooks.airflow_api_server import Answer, Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def connection(host: str = "https://airflow.example.com", **values: Any) -> Connection:
    extra = values.pop("extra", {})
    return Connection(conn_id="airflow_api", conn_type="airflow_api", host=host, extra=json.dumps(extra), **values)


def api(server: Server, **values: Any) -> AirflowApi:
    login = {"login": "reader", "secret": "hunter2"}
    return AirflowApi(AirflowApiSettings(server.address, **{**login, **values}), budget=WaitBudget(call=10.0, listed=250))


class SilentGoogle:
    """Credentials whose refresh waits until ``speaks`` is set, and fails without a ``token``."""

    def __init__(self) -> None:
        self.token = ""
        self.count = 0
        self.speaks = threading.Event()

    def refresh(self, _request: Any) -> None:
        self.count += 1
        assert self.speaks.wait(60.0)
        if not self.token:
            raise RefreshError("no")


class CountedLock:
    """A lock that tells when somebody comes for it."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.arrived.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class TestSettings:
    def test_a_user(self) -> None:
        found = AirflowApiSettings.from_connection(connection(login="reader", password="hunter2"))
        assert (found.address, found.login, found.secret) == ("https://airflow.example.com", "reader", "hunter2")
        assert "hunter2" not in repr(found)

    def test_a_google_identity(self) -> None:
        extra = {"gcp_conn_id": "google_cloud_default", "impersonation_chain": "reader@p.iam.gserviceaccount.com"}
        found = AirflowApiSettings.from_connection(connection(extra=extra))
        assert (found.gcp_conn_id, found.impersonation_chain) == tuple(extra.values())

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"host": "", "password": "t"}, "has no host"),
            ({"host": "http://airflow.example.com", "password": "t"}, "travel in clear"),
            ({}, "says not who asks"),
            ({"password": "two words"}, "its password is no bearer token, and it has no login"),
            ({"password": "t", "extra": {"ca_file": "/no/such.pem"}}, "there is no file /no/such.pem"),
            (
                {"password": "t", "extra": {"ca_file": __file__}},
                f"^Connection airflow_api: the file {re.escape(__file__)} has no certificate that can be read .*; .* `ca_file`",
            ),
            ({"host": "http://airflow.example.com", "password": "t", "extra": {"allow_http": "yes"}}, "travel in clear"),
        ],
    )
    def test_what_is_missing_is_named(self, values: dict[str, Any], says: str) -> None:
        with pytest.raises(ConfigurationError, match=says):
            AirflowApiSettings.from_connection(connection(**values))

    def test_certificate_authorities_of_ones_own(self, tmp_path: Path) -> None:
        trustme.CA(organization_name="Ours").cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        found = AirflowApiSettings.from_connection(connection(password="t", extra={"ca_file": str(tmp_path / "ca.pem")}))
        assert found.tls is not None
        (authority,) = found.tls.get_ca_certs()
        assert "Ours" in str(authority["subject"])

    def test_http_inside_a_network_of_ones_own(self) -> None:
        found = AirflowApiSettings.from_connection(
            connection("http://api-server", port=8080, password="t", extra={"allow_http": True})
        )
        assert found.address == "http://api-server:8080"


class TestTokens:
    def test_one_token_for_all_calls(self, server: Server) -> None:
        reader = api(server)
        reader.get("dags")
        reader.get("dags")
        assert (server.tokens, [asked[3] for asked in server.asked]) == (1, ["Bearer t1", "Bearer t1"])
        # By one client, which trusts the same authorities for the password as for the rest.
        assert len(server.ports) == 1

    def test_a_refused_token_is_renewed_once(self, server: Server) -> None:
        reader = api(server)
        reader.get("dags")
        server.answer = lambda _path, _query: (200, {"dags": []}) if server.tokens == 2 else (401, {"detail": "expired"})
        assert reader.get("dags") == {"dags": []}
        server.answer = lambda _path, _query: (401, {"detail": "no"})
        with pytest.raises(RemoteCallError, match="answered 401.*Correct login and password") as raised:
            reader.get("dags")
        assert (server.tokens, raised.value.retryable) == (3, False)

    def test_wrong_password(self, server: Server) -> None:
        with pytest.raises(RemoteCallError, match="^Airflow POST /auth/token answered 401") as raised:
            api(server, secret="wrong").get("dags")
        assert "wrong" not in str(raised.value)

    @pytest.mark.parametrize("answer", [{}, *({"access_token": odd} for odd in ("", 7, "a\ud800", "a\nb")), ["token"], "<html>"])
    def test_an_answer_without_a_token_is_asked_for_no_more(self, server: Server, answer: object) -> None:
        server.login = lambda _body: (201, answer)
        with pytest.raises(RemoteCallError, match="^Airflow POST /auth/token answered without a token") as raised:
            api(server).get("dags")
        assert (raised.value.retryable, server.asked) == (False, [])

    def test_a_bearer_token(self, server: Server) -> None:
        api(server, login="", secret="given").get("dags")
        assert (server.tokens, server.asked[0][3]) == (0, "Bearer given")

    def test_a_google_token_is_renewed_when_it_is_refused(self, server: Server) -> None:
        class Credentials:
            token = ""
            count = 0

            def refresh(self, _request: Any) -> None:
                self.count += 1
                self.token = f"g{self.count}"

        credentials: Any = Credentials()
        reader = AirflowApi(AirflowApiSettings(server.address, gcp_conn_id="g"), credentials)
        server.answer = lambda _path, _query: (200, {}) if server.asked[-1][3] == "Bearer g2" else (401, {})
        reader.get("dags")
        assert [asked[3] for asked in server.asked] == ["Bearer g1", "Bearer g2"]

    def test_a_silent_google_gives_an_error_of_ours(self, server: Server) -> None:
        google = SilentGoogle()
        reader = AirflowApi(AirflowApiSettings(server.address, gcp_conn_id="g"), google, WaitBudget(call=0.05))  # type: ignore[arg-type]
        with pytest.raises(RemoteCallError, match=r"Google gave no token for Airflow's API: no answer within 0\.05 seconds\."):
            reader.get("dags")
        google.speaks.set()
        assert server.asked == []

    def test_those_who_wait_for_a_token_share_its_failure_each_time(self, server: Server) -> None:
        google, lock = SilentGoogle(), CountedLock()
        reader = AirflowApi(AirflowApiSettings(server.address, gcp_conn_id="g"), google, WaitBudget(call=60.0))  # type: ignore[arg-type]
        reader._lock = lock  # type: ignore[assignment]
        for count in (1, 2):
            google.speaks.clear()
            with ThreadPoolExecutor(5) as pool:
                calls = [pool.submit(reader.get, "dags") for _ in range(5)]
                assert all(lock.arrived.acquire(timeout=30.0) for _ in calls)
                google.speaks.set()
                errors = [call.exception() for call in calls]
            assert {str(error) for error in errors} == {"Google gave no token for Airflow's API: no"}
            assert {type(error) for error in errors} == {RemoteCallError}
            assert (google.count, server.asked) == (count, [])

        google.token = "g1"
        google.speaks.clear()
        with ThreadPoolExecutor(5) as pool:
            calls = [pool.submit(reader.get, "dags") for _ in range(5)]
            assert all(lock.arrived.acquire(timeout=30.0) for _ in calls)
            google.speaks.set()
            assert [call.result() for call in calls] == [{}] * 5
        assert (google.count, {asked[3] for asked in server.asked}) == (3, {"Bearer g1"})

    def test_a_redirect_gets_no_token(self, server: Server) -> None:
        server.answer = lambda _path, _query: (307, "")
        with pytest.raises(RemoteCallError, match="answered 307"):
            api(server).get("dags")


class TestAnswers:
    def test_ids_are_quoted(self, server: Server) -> None:
        path = api_path("dags", "a/b ?#ü", "dagRuns", "manual__2026-03-16T04:00:00+00:00")
        api(server).get(path, dag_id=["x", "y"], nothing=None)
        method, asked, query, _token, _body = server.asked[0]
        assert (method, asked) == (
            "GET",
            "/api/v2/dags/a%2Fb%20%3F%23%C3%BC/dagRuns/manual__2026-03-16T04%3A00%3A00%2B00%3A00",
        )
        assert query == {"dag_id": ["x", "y"]}

    def test_what_is_no_object_is_no_answer(self, server: Server) -> None:
        bodies = ["[]", "<html>", ""]
        server.answer = lambda _path, _query: (200, bodies.pop())
        while bodies:
            with pytest.raises(RemoteCallError, match="no JSON object"):
                api(server).get("dags")

    def test_what_is_not_there(self, server: Server) -> None:
        server.answer = lambda _path, _query: (404, {"detail": "Unable to obtain dag with id x from session"})
        assert api(server).find("dags/x") is None
        server.answer = lambda _path, _query: (404, {"detail": ["The Task Instance with dag_id: `x` was not found"]})
        assert api(server).find("dags/x") is None
        server.answer = lambda _path, _query: (500, "Internal Server Error")
        assert api(server).find("dags/x", also=(500,)) == {}

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("default backend - 404", "default backend - 404"),
            ("<html>\n<h1>404</h1>", "<html> <h1>404</h1>"),
            ("", "Not Found"),
            ([], "[]"),
            ({}, "{}"),
            ({"error": "API route not found"}, '{"error": "API route not found"}'),
            ({"detail": "Not Found"}, '{"detail": "Not Found"}'),
        ],
    )
    def test_a_404_that_names_nothing_is_not_airflows(self, server: Server, body: Any, said: str) -> None:
        server.answer = lambda _path, _query: (404, body)
        with pytest.raises(RemoteCallError) as failed:
            api(server).find("dags/x", also=(500,))
        assert str(failed.value) == (
            f"Airflow GET dags/x answered 404 otherwise than Airflow does: {said}. Is that the API server?"
        )
        # With its status it counts against the run that was asked for, and not for an API that is away.
        assert (failed.value.retryable, failed.value.status_code, type(failed.value)) == (True, 404, RemoteCallError)

    def test_a_role_that_may_not_read(self, server: Server) -> None:
        server.answer = lambda _path, _query: (403, {"detail": "Forbidden"})
        with pytest.raises(RemoteCallError, match="role that may read"):
            api(server).get("eventLogs")

    def test_pages_by_offset(self, server: Server) -> None:
        def answer(_path: str, query: dict[str, list[str]]) -> Answer:
            first = int(query["offset"][0])
            return 200, {"dags": list(range(first, min(first + 100, 230))), "total_entries": 230}

        server.answer = answer
        assert list(api(server).listed("dags", "dags")) == list(range(230))
        assert len(server.asked) == 3

    def test_pages_by_cursor(self, server: Server) -> None:
        def answer(_path: str, query: dict[str, list[str]]) -> Answer:
            first = int(query["cursor"][0] or 0)
            return 200, {"dags": list(range(first, first + 100)), "next_cursor": str(first + 100) if first < 100 else None}

        server.answer = answer
        assert list(api(server).listed("dags", "dags", by_cursor=True)) == list(range(200))

    def test_a_list_without_an_end(self, server: Server) -> None:
        server.answer = lambda _path, _query: (200, {"dags": [1] * 100, "next_cursor": "again"})
        with pytest.raises(RemoteCallError, match="lists more than 250 entries"):
            list(api(server).listed("dags", "dags", by_cursor=True))

    def test_something_else_than_the_list(self, server: Server) -> None:
        server.answer = lambda _path, _query: (200, {"dags": {"a": 1}})
        with pytest.raises(RemoteCallError, match="without a list of dags"):
            list(api(server).listed("dags", "dags"))


def test_the_button_test_of_the_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"conn_type": "airflow_api", "host": server.address, "login": "reader", "password": "hunter2"}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(settings))
    assert AirflowApiHook().test_connection() == (True, "Airflow's REST API answers.")
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps({**settings, "password": "wrong"}))
    found, said = AirflowApiHook().test_connection()
    assert (found, "401" in said) == (False, True)


async def test_a_trigger_asks_as_the_user_of_the_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"conn_type": "airflow_api", "host": server.address, "login": "reader", "password": "hunter2"}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(settings))
    (await AirflowApiHook().aget_conn()).get("dags")
    assert (server.tokens, server.asked[0][3]) == (1, "Bearer t1")


class TestClock:
    def test_the_servers_time_is_that_of_its_answers(self, server: Server) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        told = api(server).clock()
        assert told is not None
        assert before <= told <= datetime.now(UTC)

    def test_an_answer_without_a_date_tells_nothing(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda _: "yesterday")
        assert api(server).clock() is None


def test_a_token_that_airflow_has_not_issued_is_no_question_of_roles(server: Server) -> None:
    server.answer = lambda _path, _query: (403, {"detail": "Invalid JWT token"})
    with pytest.raises(RemoteCallError, match=r"403.* Correct the connection's token, or give all of .* jwt_secret\.$"):
        api(server).get("dags")


class TestChanges:
    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    def test_a_body_goes_to_its_path(self, server: Server, method: str) -> None:
        caller = api(server)
        (caller.post if method == "POST" else caller.patch)("dags/sales", {"is_paused": True})
        assert [(asked[0], asked[1], asked[4]) for asked in server.asked] == [(method, "/api/v2/dags/sales", {"is_paused": True})]

    @pytest.mark.parametrize(("change", "role"), [(True, "such as User"), (False, "such as Viewer")])
    def test_who_may_not_is_told_which_role(self, server: Server, change: bool, role: str) -> None:
        server.answer = lambda _path, _query: (403, {"detail": "no"})
        with pytest.raises(RemoteCallError, match=f"{role}\\.$") as raised:
            api(server).post("dags", {}) if change else api(server).get("dags")
        assert (raised.value.retryable, raised.value.status_code) == (False, 403)
