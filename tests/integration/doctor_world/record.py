"""Faults of the record, of requests and of alerts: how each is produced and mended, and what the doctor has to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import yaml

from demo.world import TOPIC
from tests.integration.doctor_world.asking import BOTH, Fault, Line, Produced, dead
from tests.integration.doctor_world.place import LEASE_IS_OVER, Environment, Installation

_AGO = r"\d:\d\d:\d\d"


def old_record(minutes: int) -> Produced:
    """A reconciler that has just stopped, and a record that is older than it had the time to become."""

    @contextmanager
    def produced(place: Installation) -> Iterator[Environment]:
        with place.frozen(*reconcilers(place)):
            place.sql(f"UPDATE leader_leases SET current_at = current_at - interval '{minutes} min' WHERE name = 'reconciler'")
            yield {}

    return produced


def reconcilers(place: Installation) -> list[psutil.Process]:
    found = place.world.airflow.titled(r".* -m provider\.reconciler\.process")
    assert found
    return found


@contextmanager
def no_reconciler(place: Installation) -> Iterator[Environment]:
    """That of the scheduler stands still, and the triggerer which would take over."""
    with place.frozen(*reconcilers(place), *place.component("triggerer")):
        place.wait_until_dead("triggerer")
        place.wait("the lease to run out", lambda: place.sql(LEASE_IS_OVER))
        yield {}


@contextmanager
def waiting_request(place: Installation) -> Iterator[Environment]:
    """A message for a workflow whose definition is broken, a while ago; then the definition is mended."""
    place.sql(
        "INSERT INTO workflows (workflow_id) VALUES ('broken')",
        "INSERT INTO tasks (task_id, workflow_id, task_type, config) VALUES ('crooked', 'broken', 'power_bi_refreshh', '{}')",
    )
    place.world.publish({"task_id": "crooked", "batch_id": "B1"})
    place.wait("the request", lambda: place.sql("SELECT reason FROM batch_requests"))
    place.sql("UPDATE batch_requests SET received_at = received_at - interval '16 min'")
    try:
        yield {}
    finally:
        task = {"task_id": "crooked", "task_type": "external"}
        mended = place.folder / "mended.yaml"
        mended.write_text(yaml.safe_dump({"workflows": [{"workflow_id": "broken", "paused_at_first": True, "tasks": [task]}]}))
        place.world.accelerator("import", str(mended))
        place.world.airflow.read_again()
        place.world.wait_for_dags(["broken"])
        place.sql("UPDATE batch_requests SET next_attempt_at = now()")
        place.wait("its batch", lambda: place.sql("SELECT state FROM batch_requests") == "dispatched")


@contextmanager
def stored_rule(place: Installation) -> Iterator[Environment]:
    file = place.folder / "rules.yaml"
    rule = {"rule_id": "tells", "events": ["failure"], "notifier": "topic", "config": {"topic": TOPIC}, "group_seconds": 0}
    file.write_text(yaml.safe_dump({"alert_rules": [rule]}))
    place.world.accelerator("alerts", "load", str(file))
    try:
        yield {}
    finally:
        place.sql("DELETE FROM alert_rules")


@contextmanager
def not_allowed_rule(place: Installation) -> Iterator[Environment]:
    with stored_rule(place):
        yield {"AIRFLOW__ACCELERATOR__NOTIFIERS": "mail"}


@contextmanager
def unsent_alert(place: Installation) -> Iterator[Environment]:
    """A triggerer that has just stopped, and an alert that is older than it had the time to become."""
    with stored_rule(place):
        with place.frozen(*place.component("triggerer")):
            place.world.accelerator("alerts", "test", "tells")
            place.sql("UPDATE alerts SET created_at = created_at - interval '16 min', due_at = due_at - interval '16 min'")
            yield {}
        place.wait("the alert to be sent", lambda: place.sql("SELECT state FROM alerts") == "sent")


OF_THE_RECORD = (
    Fault(
        "the reconciler is two minutes behind",
        old_record(2),
        (
            Line(
                "reconciler",
                "warning",
                r"the one on \S+ leads; the record is complete as of 0:02:\d\d ago",
                "Look into the log of the reconciler",
            ),
        ),
        ways=BOTH,
    ),
    Fault(
        "the reconciler is eleven minutes behind",
        old_record(11),
        (
            Line(
                "reconciler",
                "error",
                r"the one on \S+ leads; the record is complete as of 0:11:\d\d ago",
                "Look into the log of the reconciler",
            ),
        ),
    ),
    Fault(
        "reconciler and triggerer stand still",
        no_reconciler,
        (
            dead("triggerer"),
            Line(
                "reconciler",
                "error",
                rf"the one on \S+ is silent for {_AGO}; the record is complete as of {_AGO} ago",
                "Unpause the DAG accelerator_reconciler, and see the check triggerer|Start the scheduler, which hosts it",
            ),
            Line(
                "plugin",
                "unknown",
                "installed here; no reconciler tells that the scheduler has loaded it",
                "Install the package where the scheduler runs",
                "database",
            ),
        ),
        ways=BOTH,
    ),
    Fault(
        "a request waits, as its workflow is broken",
        waiting_request,
        (Line("waiting requests", "warning", r"the oldest has waited 0:16:\d\d", "Run `accelerator requests`"),),
    ),
    Fault(
        "a rule with a notifier that is not allowed",
        not_allowed_rule,
        (Line("alerts", "warning", "1 rule cannot be used, such as tells", "Run `accelerator alerts rules`"),),
    ),
    Fault(
        "an alert that nobody sends",
        unsent_alert,
        (
            Line(
                "alerts",
                "warning",
                "given up: 0 alerts; waiting for 0:15:00 or longer: 1 alert",
                "Run `accelerator alerts list`",
            ),
        ),
    ),
)
