"""Pub/Sub, Dataform and Power BI: each fault in turn, against the emulators."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import PermissionDenied
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import Subscription
from sqlalchemy.exc import ProgrammingError

from provider.doctor.examination import Finding, State, examine
from provider.doctor.services import Named, judged_subscription, named_connections, service_checks
from provider.hooks.powerbi import tokens
from provider.hooks.pubsub import SubscriberAsyncHook
from provider.metadata import definition_rows, definitions
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from tests.provider.operators.dataform_world import dataform
from tests.provider.operators.powerbi_world import powerbi, workspace

NAME = "projects/demo-project/subscriptions/batches"
DATAFORM_TASK = {"project_id": "demo-project", "region": "europe-west3", "repository_id": "sales", "git_commitish": "main"}
POWER_BI_TASK = {"workspace": "Finance", "semantic_model": "Sales"}


def store(*tasks: tuple[str, dict[str, Any]]) -> None:
    """Store a workflow of tasks, given by their types and configurations."""
    rows = [
        {"task_id": f"t{number}", "workflow_id": "sales", "task_type": kind, "config": config}
        for number, (kind, config) in enumerate(tasks)
    ]
    with write_session() as session:
        definitions.replace_workflows(session, DefinitionRows([{"workflow_id": "sales"}], rows, []))


def examined() -> dict[str, Finding]:
    return {found.check: found for found in examine(service_checks())}


@pytest.fixture(autouse=True)
def _no_tokens_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "token_sources", tokens.TokenSources())


@pytest.mark.usefixtures("embedded_database")
class TestSubscriptions:
    @pytest.fixture
    def subscriber(self, start_cloud: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[SubscriberClient]:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS", NAME)
        start_cloud()
        with grpc.insecure_channel(os.environ["PUBSUB_EMULATOR_HOST"]) as channel:
            publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
            for topic in ("batches", "dead"):
                publisher.create_topic(name=f"projects/demo-project/topics/{topic}")
            yield SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))

    def create(self, subscriber: SubscriberClient, **values: Any) -> None:
        dead = {"dead_letter_topic": "projects/demo-project/topics/dead", "max_delivery_attempts": 50}
        well = {"ack_deadline_seconds": 60, "dead_letter_policy": dead}
        request = {"name": NAME, "topic": "projects/demo-project/topics/batches", **well, **values}
        subscriber.create_subscription(request=request)

    def test_all_well(self, subscriber: SubscriberClient) -> None:
        self.create(subscriber)
        (found,) = examined().values()
        assert (found.check, found.state) == (f"Pub/Sub {NAME}", State.OK)
        assert found.seen.endswith("acknowledgement deadline 60 s, dead letters go to projects/demo-project/topics/dead")

    def test_it_is_not_there(self, subscriber: SubscriberClient) -> None:
        (found,) = examined().values()
        assert (found.state, found.seen.partition(":")[0]) == (State.ERROR, "NotFound")
        assert "pubsub_subscriptions" in found.remedy

    def test_an_emulators_has_a_short_deadline_and_no_dead_letter_topic(self, subscriber: SubscriberClient) -> None:
        self.create(subscriber, ack_deadline_seconds=10, dead_letter_policy=None)
        (found,) = examined().values()
        assert (found.state, found.remedy) == (
            State.WARNING,
            f"Give it an acknowledgement deadline of 60 s: `gcloud pubsub subscriptions update {NAME} --ack-deadline=60`.",
        )

    def test_an_emulators_needs_no_dead_letter_topic(self, subscriber: SubscriberClient) -> None:
        self.create(subscriber, dead_letter_policy=None)
        (found,) = examined().values()
        assert (found.state, found.remedy) == (State.OK, "")
        assert found.seen.endswith("no dead letter topic, which an emulator does not need")

    @pytest.mark.parametrize(
        ("deadline", "lacks", "options"),
        [
            (10, "an acknowledgement deadline of 60 s and a dead letter topic", "--ack-deadline=60 --dead-letter-topic=TOPIC"),
            (60, "a dead letter topic", "--dead-letter-topic=TOPIC"),
        ],
    )
    def test_googles_has_no_dead_letter_topic(self, deadline: int, lacks: str, options: str) -> None:
        found = judged_subscription(Subscription(name=NAME, topic="t", ack_deadline_seconds=deadline), emulated=False)
        assert found.state is State.WARNING
        assert found.remedy == f"Give it {lacks}: `gcloud pubsub subscriptions update {NAME} {options}`."

    def test_a_name_that_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS", "batches")
        (found,) = examined().values()
        assert (found.state, "is not the full name" in found.seen) == (State.ERROR, True)

    def test_the_topic_is_gone(self) -> None:
        for gone in (Subscription(topic="_deleted-topic_", ack_deadline_seconds=60), Subscription(topic="t", detached=True)):
            assert judged_subscription(gone, emulated=False).state is State.ERROR

    @pytest.mark.parametrize(("may", "state"), [(False, State.ERROR), (True, State.UNKNOWN)])
    def test_without_the_role(
        self, subscriber: SubscriberClient, may: bool, state: State, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Emulators know no permissions, so these two answers are Google's by its documentation."""

        async def told(*_: Any) -> bool:
            return may

        async def denied(*_: Any) -> None:
            raise PermissionDenied("User not authorized to perform this action.")

        monkeypatch.delenv("PUBSUB_EMULATOR_HOST")
        monkeypatch.setattr(SubscriberAsyncHook, "may_consume", told)
        monkeypatch.setattr(SubscriberAsyncHook, "look_at", denied)
        (found,) = examined().values()
        assert (found.state, "roles/pubsub." in found.remedy) == (state, True)


@pytest.mark.usefixtures("application_database")
class TestConnections:
    def test_all_well(self, start_cloud: Callable[..., Any]) -> None:
        start_cloud(**dataform(), **powerbi(workspace()))
        store(("dataform", DATAFORM_TASK), ("power_bi_refresh", POWER_BI_TASK), ("gcs_archive", {}), ("dataform", DATAFORM_TASK))
        found = examined()
        assert {name: one.state for name, one in found.items()} == {
            "Dataform google_cloud_default": State.OK,
            "Power BI powerbi_default": State.OK,
        }
        assert found["Dataform google_cloud_default"].seen == "sees demo-project/europe-west3/sales"

    def test_no_task_names_one(self, application_database: str) -> None:
        store(("gcs_archive", {}))
        assert examined() == {}

    def test_a_repository_that_is_not_there(self, start_cloud: Callable[..., Any]) -> None:
        start_cloud(**dataform())
        store(("dataform", {**DATAFORM_TASK, "repository_id": "sails"}))
        (found,) = examined().values()
        assert (found.state, "GetRepository" in found.seen, "sails" in found.seen) == (State.ERROR, True, True)
        assert found.remedy.startswith("Correct the connection google_cloud_default")

    def test_a_secret_that_is_wrong_is_told_and_not_shown(
        self, start_cloud: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloud = start_cloud(**powerbi(workspace()))
        connection = json.loads(cloud.environment()["AIRFLOW_CONN_POWERBI_DEFAULT"]) | {"password": "hunter2-is-wrong"}
        monkeypatch.setenv("AIRFLOW_CONN_POWERBI_DEFAULT", json.dumps(connection))
        store(("power_bi_refresh", POWER_BI_TASK))
        (found,) = examined().values()
        assert (found.check, found.state) == ("Power BI powerbi_default", State.ERROR)
        assert "hunter2-is-wrong" not in str(found)

    @pytest.mark.parametrize(
        ("kind", "config", "check"),
        [
            ("power_bi_refresh", {**POWER_BI_TASK, "powerbi_conn_id": "no_bi"}, "Power BI no_bi"),
            ("dataform", {**DATAFORM_TASK, "gcp_conn_id": "no_google"}, "Dataform no_google"),
        ],
    )
    def test_a_connection_that_is_not_there(self, kind: str, config: dict[str, Any], check: str, start_cloud: Any) -> None:
        start_cloud()
        store((kind, config))
        (found,) = examined().values()
        assert (found.check, found.state) == (check, State.ERROR)
        assert check.rpartition(" ")[2] in found.seen

    @pytest.mark.parametrize(
        ("kind", "config"),
        [
            ("power_bi_refresh", {**POWER_BI_TASK, "powerbi_conn_id": "{{ params.bi }}"}),
            ("dataform", {**DATAFORM_TASK, "gcp_conn_id": "{{ params.google }}"}),
            ("dataform", {**DATAFORM_TASK, "repository_id": "{{ params.repository }}"}),
        ],
    )
    def test_a_template_says_nothing(self, kind: str, config: dict[str, Any], start_cloud: Callable[..., Any]) -> None:
        start_cloud(**dataform())
        store((kind, config))
        assert [found.state for found in examined().values()] == [State.UNKNOWN]

    def test_tasks_that_cannot_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://bob:s3cr-et@127.0.0.1:1/shop")
        (found,) = examined().values()
        assert (found.check, found.state, found.remedy) == (
            "connections of tasks",
            State.UNKNOWN,
            "See the checks database and schema.",
        )


def test_tasks_that_may_not_be_read_are_a_finding(embedded_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise ProgrammingError("SELECT", {}, Exception("permission denied for table tasks"))

    monkeypatch.setattr(definition_rows, "read_definitions", refuse)
    (found,) = examined().values()
    assert (found.check, found.state) == ("connections of tasks", State.ERROR)
    assert found.seen == "ProgrammingError: permission denied for table tasks"


def test_each_identity_is_looked_at_by_itself() -> None:
    tasks: list[dict[str, Any]] = [
        {"task_type": "dataform", "config": {"impersonation_chain": "a@p"}},
        {"task_type": "dataform", "config": {"impersonation_chain": ["a@p", "b@p"], "gcp_conn_id": "g"}},
        {"task_type": "dataform", "config": None},
        {"task_type": "power_bi_refresh", "config": "no JSON {"},
    ]
    assert set(named_connections(tasks)) == {
        Named("gcp_conn_id", "google_cloud_default", ("a@p",)),
        Named("gcp_conn_id", "g", ("a@p", "b@p")),
        Named("gcp_conn_id", "google_cloud_default"),
        Named("powerbi_conn_id", "powerbi_default"),
    }
