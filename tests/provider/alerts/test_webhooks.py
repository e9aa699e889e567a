"""Alerts to Slack and Teams, by Airflow's own notifiers and their clients, to a server that keeps what it is sent."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
from airflow.sdk.exceptions import AirflowException

from provider.airflow_internals.secrets import redact
from provider.alerts.delivery import send
from provider.exceptions import ConfigurationError
from provider.hooks.remote_job import RemoteCallError
from tests.provider.alerts.test_delivery import URL, alert, rule


class Webhook(BaseHTTPRequestHandler):
    """Keeps path and body of what comes, and answers as it is told."""

    server: WebhookServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, json.loads(body)))
        self._answer(self.server.status, b"ok")

    def do_GET(self) -> None:
        """Be the page that somebody was sent on to."""
        self._answer(200, b"Please log in")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Location", "/login")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class WebhookServer(ThreadingHTTPServer):
    """
    A server on this machine.

    :param context: of TLS; None for none.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("localhost", 0), Webhook)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.seen: list[tuple[str, Any]] = []
        self.status = 200

    def __enter__(self) -> WebhookServer:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def connection(monkeypatch: pytest.MonkeyPatch, conn_id: str, **values: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(values))


@pytest.fixture
def teams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    """Where Power Automate takes what goes to Teams, with a certificate that this process trusts."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with WebhookServer(context) as server:
        path = f"workflows://localhost:{server.server_port}/a_workflow/its_signature"
        connection(monkeypatch, "apprise_default", conn_type="apprise", extra={"config": {"path": path, "tag": "alerts"}})
        yield server


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        host = f"localhost:{server.server_port}/services"
        connection(monkeypatch, "slack_default", conn_type="slackwebhook", schema="http", host=host, password="T/B/x")
        yield server


@pytest.mark.parametrize(("channel", "most"), [("teams", 28_000), ("slack", 40_000)])
@pytest.mark.parametrize("letter", ["ä", "<", "*", "😀"])
def test_no_message_is_larger_than_what_is_taken(channel: str, most: int, letter: str, request: pytest.FixtureRequest) -> None:
    server: WebhookServer = request.getfixturevalue(channel)
    many = [alert(number, task_id=f"t{number}", details={"error": letter * 2000}) for number in range(1, 21)]
    send(rule(channel), many, URL, "unused")

    ((_path, body),) = server.seen
    said = json.dumps(body)
    assert len(said if channel == "teams" else body["text"]) < most
    assert [number for number in range(1, 21) if f"t{number} of B 1" not in json.dumps(body, ensure_ascii=False)] == []


class TestTeams:
    def test_it_says_what_failed_and_links_to_the_batch(self, teams: WebhookServer) -> None:
        send(rule("teams", tag="alerts"), [alert()], URL, "unused")
        ((path, body),) = teams.seen
        assert path.startswith("/workflows/a_workflow/triggers/manual/paths/invoke?")
        assert "sig=its_signature" in path
        (card,) = body["attachments"]
        assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
        (text,) = [block["text"] for block in card["content"]["body"] if block["type"] == "TextBlock"]
        title, said, error, link = text.split("\n\n")
        assert title == r"**\[sales\] batch B 1/ä failed**"
        assert said.startswith("batch B 1/ä failed: ")
        assert error == r"{{ 7 \* 7 }} {% raw %} \<script\>alert(1)\</script\> \<!channel\> & \\x1b\[31m Bcc: all@example.org"
        assert link == f"[Open the page]({URL}accelerator/?dag_id=sales&run_id=B%201%2F%C3%A4)"

    def test_what_was_not_taken_is_told(self, teams: WebhookServer) -> None:
        teams.status = 502
        with pytest.raises(RemoteCallError, match="a service of connection apprise_default did not take the alert"):
            send(rule("teams", tag="alerts"), [alert()], URL, "unused")

    def test_a_page_that_it_is_sent_on_to_has_not_taken_it(self, teams: WebhookServer) -> None:
        teams.status = 302
        with pytest.raises(RemoteCallError, match="did not take the alert"):
            send(rule("teams", tag="alerts"), [alert()], URL, "unused")

    def test_what_signs_the_address_is_a_secret(self, teams: WebhookServer) -> None:
        send(rule("teams", tag="alerts"), [alert()], URL, "unused")
        assert redact(f"POST {teams.seen[0][0]} at localhost").count("its_signature") == 0
        assert redact("at localhost") == "at localhost"

    def test_a_tag_of_no_service_is_a_mistake_of_the_rule(self, teams: WebhookServer) -> None:
        with pytest.raises(ConfigurationError, match="apprise_default has no service that Apprise knows with tag nobody"):
            send(rule("teams", tag="nobody"), [alert()], URL, "unused")
        assert teams.seen == []


class TestSlack:
    def test_it_says_what_failed_and_links_to_the_batch(self, slack: WebhookServer) -> None:
        send(rule("slack"), [alert()], URL, "unused")
        ((path, body),) = slack.seen
        assert path == "/services/T/B/x"
        title, said, error, link = body["text"].split("\n")
        assert title == "[sales] batch B 1/ä failed"
        assert said.startswith("batch B 1/ä failed: ")
        assert (
            error.strip()
            == r"{{ 7 * 7 }} {% raw %} &lt;script&gt;alert(1)&lt;/script&gt; &lt;!channel&gt; &amp; \x1b[31m Bcc: all@example.org"
        )
        assert link == f"{URL}accelerator/?dag_id=sales&amp;run_id=B%201%2F%C3%A4"

    def test_what_was_not_taken_is_told(self, slack: WebhookServer) -> None:
        slack.status = 500
        with pytest.raises(AirflowException, match="500"):
            send(rule("slack"), [alert()], URL, "unused")

    def test_a_page_that_it_is_sent_on_to_has_not_taken_it(self, slack: WebhookServer) -> None:
        slack.status = 302
        with pytest.raises(RemoteCallError, match="did not answer that it took the alert, but 'Please log in'"):
            send(rule("slack"), [alert()], URL, "unused")
