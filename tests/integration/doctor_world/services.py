"""Faults of Pub/Sub, Dataform, Power BI and this machine: how each is produced and mended, and what the doctor has to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from demo.world import SUBSCRIPTION
from tests.integration.doctor_world.asking import SECRET, Fault, Line, Produced, setting, settings
from tests.integration.doctor_world.place import Environment, Installation

_PUBSUB, _DATAFORM, _POWER_BI = f"Pub/Sub {SUBSCRIPTION}", "Dataform google_cloud_default", "Power BI powerbi_default"
_GOOGLE, _BI = (
    rf"Correct the connection {conn_id}, and see that the service is reached from this machine"
    for conn_id in ("google_cloud_default", "powerbi_default")
)
_SUBSCRIBED = r"Correct \[accelerator\] pubsub_subscriptions and gcp_conn_id, and see that the subscription exists"


def rule(**values: Any) -> Produced:
    """An emulator that does something else."""

    @contextmanager
    def produced(place: Installation) -> Iterator[Environment]:
        with place.rule(**values):
            yield {}

    return produced


@contextmanager
def deleted_subscription(place: Installation) -> Iterator[Environment]:
    place.unsubscribe()
    try:
        yield {}
    finally:
        place.subscribe()


@contextmanager
def careless_subscription(place: Installation) -> Iterator[Environment]:
    place.unsubscribe()
    place.subscribe(ack_deadline_seconds=10, dead_letter_policy=None)
    try:
        yield {}
    finally:
        place.unsubscribe()
        place.subscribe()


@contextmanager
def deleted_topic(place: Installation) -> Iterator[Environment]:
    place.unsubscribe()
    with place.topic("projects/demo-project/topics/short-lived"):
        place.subscribe(topic="projects/demo-project/topics/short-lived")
    try:
        yield {}
    finally:
        place.unsubscribe()
        place.subscribe()


def services_at(address: Callable[[Installation], str]) -> Produced:
    """Pub/Sub, Dataform and Power BI at another address."""

    def environment(place: Installation) -> Environment:
        where = address(place)
        return {
            "PUBSUB_EMULATOR_HOST": where,
            **place.connection("google_cloud_default", extra={"dataform_endpoint": f"http://{where}"}),
            **place.connection("powerbi_default", host=f"https://{where}"),
        }

    return settings(environment)


OF_SERVICES = (
    Fault(
        "the subscription is deleted",
        deleted_subscription,
        (Line(_PUBSUB, "error", "NotFound: 404 .*task-batches-airflow.*", _SUBSCRIBED),),
    ),
    Fault(
        "the subscription's topic is deleted",
        deleted_topic,
        (Line(_PUBSUB, "error", "its topic is gone, so no message arrives", "Create the subscription anew"),),
    ),
    Fault(
        "a subscription with a short deadline, and no dead letters, which an emulator does not need",
        careless_subscription,
        (
            Line(
                _PUBSUB,
                "warning",
                "there, acknowledgement deadline 10 s, no dead letter topic, which an emulator does not need",
                "Give it an acknowledgement deadline of 60 s: `gcloud pubsub subscriptions update .*--ack-deadline=60",
            ),
        ),
    ),
    # That it may not consume cannot be produced: emulators know no permissions, and are not asked for them.
    Fault(
        "the account may consume from the subscription, and not look at it",
        rule(service="pubsub", match="GetSubscription", fault="status", grpc_status="PERMISSION_DENIED"),
        (
            Line(
                _PUBSUB,
                "unknown",
                "the account may consume from it; how it is made cannot be seen",
                "Give the account roles/pubsub.viewer",
            ),
        ),
    ),
    Fault(
        "the account may not see the repository",
        rule(service="dataform", match="GetRepository", fault="status", grpc_status="PERMISSION_DENIED"),
        (Line(_DATAFORM, "error", "Dataform GetRepository .* answered PERMISSION_DENIED: .* Dataform Editor .*", _GOOGLE),),
    ),
    Fault(
        "the repository is not there",
        rule(service="dataform", match="GetRepository", fault="status", grpc_status="NOT_FOUND"),
        (Line(_DATAFORM, "error", "Dataform GetRepository .* answered NOT_FOUND: .* Check project, region, .*", _GOOGLE),),
    ),
    Fault(
        "the application has another secret",
        settings(lambda place: place.connection("powerbi_default", password=SECRET)),
        (Line(_POWER_BI, "error", "Entra ID gave no token .* AADSTS7000215: .* Check the credentials .*", _BI),),
    ),
    Fault(
        "Entra ID is out of order",
        rule(service="entra", match="POST */token", fault="status", http_status=503),
        (Line(_POWER_BI, "error", r"Entra ID at \S+ gave no token: HTTP Error: 503\.", _BI),),
    ),
    Fault(
        "Power BI refuses the application",
        rule(service="powerbi", match="GET */groups*", fault="status", http_status=403),
        (Line(_POWER_BI, "error", "Power BI GET groups answered 403: .* Give the application access: .*", _BI),),
    ),
    Fault(
        "nobody listens where the services should be",
        services_at(lambda place: place.closed),
        (
            Line(_PUBSUB, "error", "ServiceUnavailable: 503 .* Connection refused.*", _SUBSCRIBED),
            Line(_DATAFORM, "error", "Dataform GetRepository .* answered UNAVAILABLE: .*", _GOOGLE),
            Line(_POWER_BI, "error", "Power BI GET groups was not answered: ConnectError: .*", _BI),
        ),
    ),
    Fault(
        "something on the way to the services swallows all",
        services_at(lambda place: place.silent),
        (
            Line(_PUBSUB, "error", "DeadlineExceeded: 504 .*", _SUBSCRIBED),
            Line(_DATAFORM, "error", "Dataform GetRepository .* answered (DEADLINE_EXCEEDED|UNAVAILABLE): .*", _GOOGLE),
            Line(_POWER_BI, "error", r"Power BI GET groups was not answered: no whole answer within 8 s\.", _BI),
        ),
    ),
    Fault(
        "the connections are not there",
        setting(AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT=None, AIRFLOW_CONN_POWERBI_DEFAULT=None),
        (
            Line(_DATAFORM, "error", ".*google_cloud_default.* isn't defined", _GOOGLE),
            Line(_POWER_BI, "error", ".*powerbi_default.* isn't defined", _BI),
        ),
    ),
)

OF_THE_MACHINE = (
    Fault(
        "the snapshot's folder cannot be written",
        setting(AIRFLOW__ACCELERATOR__SNAPSHOT_DIR="/proc/accelerator"),  # nobody may, root neither
        (Line("snapshot folder", "error", "/proc cannot be written: .*", "Give Airflow's user the right to write"),),
    ),
    Fault(
        "triggerers that are well count as dead",
        setting(AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC="20"),
        (
            Line(
                "heartbeat of triggerers",
                "warning",
                "every 20 s, and dead after 30 s: .*",
                r"Set \[triggerer\] triggerer_health_check_threshold to 60 at least",
            ),
        ),
    ),
    Fault(
        "a heartbeat that is no number",
        setting(AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC="often"),
        (
            Line(
                "heartbeat of triggerers",
                "error",
                r"\[triggerer\] job_heartbeat_sec must be a number, not 'often'; correct the setting\.",
                r"Correct the section \[triggerer\]",
            ),
        ),
    ),
    Fault(
        "settings that Composer does not allow",
        setting(COMPOSER_ENVIRONMENT="prod"),
        (
            Line(
                "limits of Composer",
                "warning",
                r"\[scheduler\] scheduler_heartbeat_sec = 1, allowed is 15 at least; .*job_heartbeat_sec = 1, .*",
                "Correct the Airflow configuration overrides",
            ),
        ),
    ),
)
