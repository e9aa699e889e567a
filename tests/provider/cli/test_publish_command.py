"""Publishing from the command line: Google's own client asks an emulator what it has got."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlalchemy import select

from provider import messages
from provider.cli import publish_commands
from provider.emulators.server import Emulators
from provider.message_json import MAX_BYTES
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import read_session, write_session
from provider.metadata.inbox import receive
from provider.metadata.rows import DefinitionRows
from provider.metadata.tables import BatchRequest

TOPIC = "projects/demo-project/topics/task-batches"
SUBSCRIPTION = "projects/demo-project/subscriptions/task-batches-airflow"
START = {"task_id": "stg_orders", "batch_id": "B1", "scope": "workflow"}


@pytest.fixture(scope="module")
def pubsub_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Emulators(pubsub="builtin", folder=tmp_path_factory.mktemp("emulators")) as emulators:
        yield emulators.pubsub_host


@pytest.fixture
def subscriber(pubsub_host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SubscriberClient]:
    """A subscriber, and a dispatcher's subscription in the settings."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS", SUBSCRIPTION)
    with grpc.insecure_channel(pubsub_host) as channel:
        yield SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


@pytest.fixture(autouse=True)
def _tasks(application_database: str) -> None:
    tasks = [{"task_id": "stg_orders", "workflow_id": "daily_sales", "task_type": "t"}]
    with write_session() as session:
        replace_workflows(session, DefinitionRows([{"workflow_id": "daily_sales"}], tasks, []))


@pytest.fixture
def message(tmp_path: Path):
    def message(content: object) -> Path:
        path = tmp_path / "message.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return message


def test_a_start_arrives_as_it_is_and_the_inbox_takes_it(accelerator, subscriber: SubscriberClient, message) -> None:
    path = message(START)
    ran = accelerator("publish", path, "--topic", TOPIC, "--attribute", "sender=crm", "--attribute", "eq=a=b")
    assert (ran.code, ran.err) == (0, "")
    (received,) = subscriber.pull(subscription=SUBSCRIPTION, max_messages=10).received_messages
    subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[received.ack_id])
    got = received.message
    assert (got.data, dict(got.attributes)) == (path.read_bytes(), {"sender": "crm", "eq": "a=b"})
    assert ran.out == f"Published as message {got.message_id} to {TOPIC}: a start at stg_orders of daily_sales, batch B1.\n"
    with write_session() as session:
        receive(session, SUBSCRIPTION, [messages.read(got.data, dict(got.attributes), got.message_id, None)])
    with read_session() as session:
        assert [tuple(row) for row in session.execute(select(BatchRequest.state, BatchRequest.batch_id))] == [("received", "B1")]


def test_without_a_topic_it_is_that_of_the_dispatcher(
    accelerator, subscriber: SubscriberClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = {"previous_task_id": "stg_orders", "batch_id": "B1", "status": "SUCCESS"}
    for content, said in ((end, "the end of stg_orders of daily_sales, batch B1"), ({"task_id": "stg_orders"}, "batch msg_")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(content).encode())))
        ran = accelerator("publish", "-")
        assert (ran.code, ran.err) == (0, "")
        assert TOPIC in ran.out
        (received,) = subscriber.pull(subscription=SUBSCRIPTION, max_messages=10).received_messages
        subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[received.ack_id])
        assert json.loads(received.message.data) == content
        assert said in ran.out
    assert ran.out.endswith(f", batch msg_{received.message.message_id}.\n")


@pytest.fixture
def _nothing_published(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("publish_message", "topic_of"):
        monkeypatch.setattr(publish_commands, name, lambda *_: pytest.fail("Pub/Sub was called"))


@pytest.mark.usefixtures("_nothing_published")
def test_a_dry_run_calls_nobody(accelerator, message) -> None:
    ran = accelerator("publish", message(START), "--dry-run")
    assert ran.code == 0
    assert ran.out == (
        "The message is a start at stg_orders of daily_sales, and would be taken. Nothing was published (dry run).\n"
    )


@pytest.mark.usefixtures("_nothing_published")
@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1]",
        {},
        {"task_id": "stg_orders", "batch_id": "a/b"},
        {"task_id": "stg_orders", "params": {"scope": "task"}},
        {"previous_task_id": "stg_orders", "batch_id": "B1", "status": "DONE"},
        {"task_id": "stg_orderz"},
        b'{"task_id": "' + b"a" * 300_000 + b'"}',
    ],
)
@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_what_the_inbox_rejects_is_refused_in_its_words(accelerator, message, content: object, option: list[str]) -> None:
    path = message(content)
    ran = accelerator("publish", path, "--topic", TOPIC, *option)
    data = path.read_bytes()[: MAX_BYTES + 1]
    with write_session() as session:
        receive(session, SUBSCRIPTION, [messages.read(data, {}, "1", None)])
    with read_session() as session:
        ((state, reason),) = session.execute(select(BatchRequest.state, BatchRequest.reason)).all()
    assert (ran.code, state) == (1, "rejected")
    assert ran.err.startswith(f"error: {reason}")
    assert ran.err.endswith(" Nothing was published.\n")
    assert ("Did you mean stg_orders?" in ran.err) is (b"orderz" in data)


@pytest.mark.usefixtures("_nothing_published")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "task-batches"], "'task-batches' is not the full name of a Pub/Sub topic; "),
        (["--attribute", "x"], "--attribute 'x' is no attribute that Pub/Sub takes; "),
        (["--attribute", "x=1", "--attribute", "x=2"], "--attribute 'x=2' is no attribute that Pub/Sub takes; "),
        (["--attribute", "eventType=OBJECT_FINALIZE", "--attribute", "bucketId=b"], "the message has no objectId; "),
    ],
)
def test_wrong_options(accelerator, message, arguments: list[str], said: str) -> None:
    ran = accelerator("publish", message(START), *arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"error: {said}")


@pytest.mark.usefixtures("_nothing_published")
def test_without_any_topic_it_says_what_to_name(accelerator, message) -> None:
    ran = accelerator("publish", message(START))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: name the topic with --topic; ")


@pytest.mark.usefixtures("_nothing_published")
def test_a_file_that_is_not_there(accelerator, tmp_path: Path) -> None:
    ran = accelerator("publish", tmp_path / "none.json")
    assert ran.err == f"error: {tmp_path}/none.json cannot be read: No such file or directory.\n"


def test_a_topic_that_is_not_there_is_an_error_on_one_line(accelerator, subscriber: SubscriberClient, message) -> None:
    ran = accelerator("publish", message(START), "--topic", "projects/demo-project/topics/nobody")
    assert ran.code == 1
    assert ran.err.startswith("error: Pub/Sub did not publish to projects/demo-project/topics/nobody: NotFound: 404 ")
    assert ran.err.count("\n") == 1


def test_a_connection_that_is_not_there_is_said(accelerator, message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__GCP_CONN_ID", "nobody")
    ran = accelerator("publish", message(START), "--topic", TOPIC)
    assert ran.code == 1
    assert ran.err.startswith(f"error: Pub/Sub did not publish to {TOPIC}: AirflowNotFoundException: ")
    assert "nobody" in ran.err
