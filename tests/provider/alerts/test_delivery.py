"""What leaves: mails to a real SMTP server, messages to Pub/Sub, and nothing that foreign text could make of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import grpc
import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.log import mask_secret
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from jinja2.exceptions import SecurityError

from provider import messages
from provider.alerts import outbox
from provider.alerts.delivery import build_notifier, send
from provider.alerts.rules import AlertRule
from provider.alerts.wording import message_of
from provider.emulators.server import Emulators
from provider.exceptions import ConfigurationError
from tests.provider.alerts.alert_world import NOW
from tests.provider.alerts.mail_server import Kept, mail_server

URL = "https://airflow.example.org/base/"
TOPIC = "projects/demo-project/topics/task-batches"
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"

#: What an error of a service may hold.
HOSTILE = "{{ 7 * 7 }} {% raw %} <script>alert(1)</script> <!channel> & \x1b[31m \r\nBcc: all@example.org"


def alert(number: int = 1, **values: Any) -> outbox.ClaimedAlert:
    columns: dict[str, Any] = {
        **{"id": number, "rule_id": "r", "event_id": f"{number:032}", "event": "failure", "workflow_id": "sales"},
        **{"batch_id": "B 1/ä", "task_id": None, "map_index": -1, "try_number": None, "happened_at": NOW, "attempts": 1},
        **{"deaths": 0, "claimed_until": NOW},
        "details": {"error": HOSTILE, "cause": "task", "started_at": (NOW - timedelta(minutes=5)).isoformat()},
    }
    return outbox.ClaimedAlert(**columns | values)


def rule(notifier: str = "mail", **config: Any) -> AlertRule:
    return AlertRule.model_validate({"rule_id": "r", "events": "failure", "notifier": notifier, "config": config})


@pytest.fixture(scope="module")
def pubsub_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Emulators(pubsub="builtin", folder=tmp_path_factory.mktemp("emulators")) as emulators:
        yield emulators.pubsub_host


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    with mail_server() as (kept, connection):
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection)
        yield kept


class TestWording:
    def test_it_says_what_failed_why_since_when_and_where_to_look(self) -> None:
        told = message_of([alert(details={**alert().details, "error": "no rows", "ended_by": "ann"})], URL)

        assert told["title"] == "[sales] batch B 1/ä failed"
        assert told["text"].splitlines() == [
            f"batch B 1/ä failed: {NOW:%Y-%m-%d %H:%M:%S} UTC, begun {NOW - timedelta(minutes=5):%Y-%m-%d %H:%M:%S} UTC",
            "    no rows",
            "    by ann (task)",
            "https://airflow.example.org/base/accelerator/?dag_id=sales&run_id=B%201%2F%C3%A4",
        ]

    def test_a_secret_that_stands_in_a_time_keeps_nothing_from_being_told(self, mails: Kept) -> None:
        mask_secret("00:00")
        send(
            rule(to="a@example.org"),
            [alert(details={"started_at": "2026-03-16T10:00:00+00:00", "error": "no rows"})],
            URL,
            "unused",
        )

        assert len(mails.messages) == 1

    def test_what_goes_together_is_one_message_of_bounded_length(self) -> None:
        many = [alert(number, task_id=f"t{number}", details={"error": "x" * 2000}) for number in range(50)]
        told = message_of(many, URL)

        assert told["title"] == "[sales] t0 of B 1/ä failed, and 49 more"
        assert len(told["text"]) < 20_500
        assert len(told["event_ids"]) == 50

    def test_a_workflow_without_a_batch_has_the_page_of_all(self) -> None:
        told = message_of(
            [alert(event="not_started", batch_id=None, details={"note": "no batch had started by 06:30 (UTC)"})], URL
        )

        assert told["title"] == "[sales] the workflow has not started"
        assert told["url"] == "https://airflow.example.org/base/accelerator/"

    def test_foreign_text_is_text_everywhere(self) -> None:
        told = message_of([alert()], URL)

        assert "<script" not in told["html"]
        assert "<!channel" not in told["slack"]
        assert "\x1b" not in told["text"]
        assert "\n" not in told["title"]


class TestMail:
    def test_a_mail_arrives_and_templates_in_foreign_text_are_not_carried_out(self, mails: Kept) -> None:
        send(rule(to=["a@example.org", "b@example.org"]), [alert(task_id="load", try_number=2)], URL, "unused")

        (mail,) = mails.messages
        assert mails.recipients == [["a@example.org", "b@example.org"]]
        assert mail["Subject"] == "[sales] load of B 1/ä failed"
        assert mail["Bcc"] is None
        (text,) = mails.texts()
        assert "{{ 7 * 7 }} {% raw %} &lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert '<a href="https://airflow.example.org/base/accelerator/?dag_id=sales&amp;run_id=B%201%2F%C3%A4">' in text

    def test_a_rule_may_word_it_otherwise(self, mails: Kept) -> None:
        own = {"subject": "{{ alert.workflow_id }} / {{ alert.alerts[0].event }}", "html_content": "{{ alert.alerts[0].error }}"}
        send(rule(to="a@example.org", **own), [alert(details={"error": "{{ 7 * 7 }}"})], URL, "unused")

        assert mails.messages[0]["Subject"] == "sales / failure"
        assert mails.texts()[0].strip() == "{{ 7 * 7 }}"

    def test_a_secret_that_airflow_knows_is_not_sent(self, mails: Kept) -> None:
        # One that no other test of the process has masked a part of: Airflow takes the first of two that begin alike.
        mask_secret("9d61-canary-of-a-mail")
        send(rule(to="a@example.org"), [alert(details={"error": "login with 9d61-canary-of-a-mail failed"})], URL, "unused")

        assert "canary" not in mails.texts()[0]
        assert "login with *** failed" in mails.texts()[0]

    def test_a_secret_is_masked_before_it_is_escaped(self, mails: Kept) -> None:
        mask_secret('s3<cret&"canary')
        send(rule(to="a@example.org"), [alert(details={"error": 'login with s3<cret&"canary failed'})], URL, "unused")

        assert "canary" not in mails.texts()[0]

    def test_a_secret_is_masked_before_it_is_cut(self, mails: Kept) -> None:
        """In a title as in an error: what is left of one that a cut has gone through, no mask knows."""
        mask_secret("5e7-canary-across-a-cut")
        for length in (170, 1985):
            told = f"{'x' * length}-5e7-canary-across-a-cut"
            send(rule(to="a@example.org"), [alert(batch_id=told, details={"error": told, "note": told})], URL, "unused")

        for mail, text in zip(mails.messages, mails.texts(), strict=True):
            assert "5e7" not in mail["Subject"]
            assert "5e7" not in text
        assert "xxx-***" in mails.messages[0]["Subject"]

    def test_foreign_text_makes_no_mail_header_and_keeps_no_mail_back(self, mails: Kept) -> None:
        own = {"subject": "{{ alert.alerts[0].error }}"}
        send(rule(to="a@example.org", **own), [alert(details={"error": "no rows\r\nBcc: all@example.org"})], URL, "unused")

        (mail,) = mails.messages
        assert (mail["Subject"], mail["Bcc"]) == ("no rows Bcc: all@example.org", None)
        assert mails.recipients == [["a@example.org"]]

    @pytest.mark.parametrize("key", ["files", "template", "custom_headers", "unknown"])
    def test_a_rule_cannot_send_files_of_the_worker(self, key: str) -> None:
        with pytest.raises(ConfigurationError, match=f"mail does not take '{key}' in config; it takes bcc, cc, from_email"):
            build_notifier("mail", {"to": "a@example.org", key: ["/etc/passwd"]})

    def test_an_own_template_knows_nothing_but_the_alert(self, mails: Kept) -> None:
        send(rule(to="a@example.org", subject="{{ conn is defined }} {{ var is defined }}"), [alert()], URL, "unused")
        assert mails.messages[0]["Subject"] == "False False"

    def test_an_own_template_reaches_no_python(self, mails: Kept) -> None:
        with pytest.raises(SecurityError):
            send(rule(to="a@example.org", subject="{{ alert.__class__.__mro__ }}"), [alert()], URL, "unused")
        assert mails.messages == []


class TestNotifiers:
    def test_any_notifier_by_its_class_path(self) -> None:
        path = f"{Remembering.__module__}.{Remembering.__qualname__}"
        Remembering.seen.clear()
        send(rule(path, text="{{ alert.title }}"), [alert()], URL, "unused")

        assert Remembering.seen == ["[sales] batch B 1/ä failed"]

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("os.path.join", "os.path.join is not an Airflow notifier"),
            ("no.such.module.Notifier", "cannot be imported .*; correct the class path"),
            ("provider.alerts.delivery.Channel", "is not an Airflow notifier"),
        ],
    )
    def test_what_is_none_is_refused(self, name: str, said: str) -> None:
        with pytest.raises(ConfigurationError, match=said):
            build_notifier(name, {})

    def test_a_package_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "airflow.providers.slack.notifications.slack_webhook", None)
        with pytest.raises(ConfigurationError, match="install apache-airflow-providers-slack on the workers"):
            build_notifier("slack", {})

    def test_parameters_that_it_does_not_take_are_told(self) -> None:
        with pytest.raises(ConfigurationError, match="mail does not take what config says: .*'to'"):
            build_notifier("mail", {})


class Remembering(BaseNotifier):
    """A notifier of somebody's own."""

    template_fields = ("text",)
    seen: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        self.seen.append(self.text)


class TestTopic:
    def test_each_alert_is_one_message_in_the_form_of_a_completion(
        self, pubsub_host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
        to_topic = rule("topic", topic=TOPIC)
        some = [alert(1, task_id="load", batch_id="B1"), alert(2, event="success", details={}, task_id="load", batch_id="B1")]
        for one in some:
            send(to_topic, [one], URL, "google_cloud_default")

        with grpc.insecure_channel(pubsub_host) as channel:
            client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            received = client.pull(subscription=SUBSCRIPTION, max_messages=10).received_messages
        assert [dict(one.message.attributes)["event_id"] for one in received] == [f"{1:032}", f"{2:032}"]
        data = [json.loads(one.message.data) for one in received]
        assert data[1] == {
            **{"workflow_id": "sales", "batch_id": "B1", "previous_task_id": "load"},
            **{"status": "SUCCESS", "event": "success"},
        }
        read = messages.read(received[0].message.data, dict(received[0].message.attributes), "m", datetime.now(UTC))
        assert (read.kind, read.task_id, read.status, read.problem) == ("completion", "load", "ERROR", None)

    @pytest.mark.parametrize("config", [{}, {"topic": 1}, {"topic": TOPIC, "x": 1}])
    def test_a_config_that_names_no_topic_is_refused(self, config: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="topic takes in config topic, a full name"):
            send(rule("topic", **config), [alert()], URL, "google_cloud_default")


def _refuse(*_arguments: Any) -> None:
    raise ConnectionError("refused")
