"""
A day in three minutes: failures, retries, a restart, a task that hangs, a batch that never came, while who sees it is killed.

Each alert that is expected comes once, by a real mail server, and no other.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import yaml
from google.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from sqlalchemy import insert

from demo.world import World
from provider.emulators.scenario import Scenario
from provider.metadata import engine
from provider.metadata.engine import write_session
from provider.metadata.tables import TaskBatch
from tests.provider.alerts.mail_server import Kept, mail_server
from tests.waiting import wait_for

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

NOTICED = 150.0
WORKSPACE = "11111111-1111-4111-8111-111111111111"
MODELS: dict[str, dict[str, Any]] = {
    "good": {"seconds": 1},
    "bad": {"seconds": 1, "fails": {"errorCode": "ModelRefreshFailed", "errorDescription": "no rows {{ 7 * 7 }} <b>"}},
    "endless": {"seconds": 900},
}
TOPIC, SUBSCRIPTION = (f"projects/demo-project/{kind}/done" for kind in ("topics", "subscriptions"))


def rules() -> list[dict[str, Any]]:
    """Return the rules; the time by which a batch of *absent* was to come is a minute or two from now."""
    soon = datetime.now(UTC) + timedelta(minutes=2)  # of which the seconds are cut off
    mail = {"notifier": "mail", "config": {"to": "team@example.org"}, "group_seconds": 2}
    return [
        {"rule_id": "batches", "events": ["failure", "success"], **mail},
        {"rule_id": "tasks", "events": ["failure", "retry", "blocked"], "task_id": "*", "workflow_id": "fails", **mail},
        {"rule_id": "missing", "events": ["not_started", "late"], "workflow_id": "absent", "at_time": f"{soon:%H:%M}", **mail},
        {"rule_id": "hung", "events": ["slow"], "workflow_id": "hangs", **mail},
        {
            "rule_id": "done",
            "events": ["success", "failure"],
            "task_id": "*",
            "notifier": "topic",
            "config": {"topic": TOPIC},
            "group_seconds": 0,
        },
    ]


def workflows() -> list[dict[str, Any]]:
    def task(task_id: str, model: str, *parents: str, **options: Any) -> dict[str, Any]:
        config = {
            "workspace": "Sales",
            "semantic_model": model,
            "initial_wait": 5,
            "poll_interval": 1,
            "refresh": {"type": "full"},
        }
        return {"task_id": task_id, "task_type": "power_bi_refresh", "config": config, "depends_on": list(parents), **options}

    return [
        {"workflow_id": "works", "tasks": [task("load", "good")]},
        {
            "workflow_id": "fails",
            "tasks": [task("broken", "bad", retries=1, retry_delay_seconds=1), task("after", "good", "broken")],
        },
        {"workflow_id": "hangs", "tasks": [task("endless", "endless")]},
        {"workflow_id": "absent", "tasks": [task("never", "good")]},
    ]


@pytest.fixture(scope="module")
def mails() -> Iterator[tuple[Kept, str]]:
    with mail_server() as served:
        yield served


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mails: tuple[Kept, str]) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("alerts")
    models = [
        {"id": f"22222222-2222-4222-8222-{number:012d}", "name": name, **model}
        for number, (name, model) in enumerate(MODELS.items())
    ]
    topics = [
        {"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]},
        {"name": "done", "subscriptions": [{"name": "done"}]},
    ]
    scenario = {
        "powerbi": {"workspaces": [{"id": WORKSPACE, "name": "Sales", "semantic_models": models}]},
        "pubsub": {"topics": topics},
    }
    (folder / "workflows.yaml").write_text(yaml.safe_dump({"workflows": workflows()}))
    environment = {"AIRFLOW__ACCELERATOR__NOTIFIERS": "mail, topic", "AIRFLOW_CONN_SMTP_DEFAULT": mails[1]}
    with World(
        folder, definitions=folder / "workflows.yaml", scenario=Scenario.model_validate(scenario), environment=environment
    ) as world:
        world.wait_for_dags(("works", "fails", "hangs", "absent", "accelerator_alerts"))
        yield world
    assert world.airflow.own_processes() == []
    engine.dispose_engines()


def add_history(world: World) -> None:
    """Let batches of *hangs* usually take a second."""
    began = datetime.now(UTC) - timedelta(days=1)
    row = {"workflow_id": "hangs", "status": "SUCCESS", "started_at": began, "ended_at": began + timedelta(seconds=1)}
    with write_session(world.database_url) as session:
        for number in range(5):
            session.execute(insert(TaskBatch).values(**row, batch_id=f"old{number}", created_at=began, updated_at=began))


def kill_reconciler(world: World) -> bool:
    """Kill the process that raises alerts; tell whether there was one."""
    found = [one for one in world.airflow.own_processes() if "provider.reconciler.process" in " ".join(_command(one))]
    for process in found:
        process.send_signal(signal.SIGKILL)
    return bool(found)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def raised(world: World) -> list[tuple[Any, ...]]:
    (rows,) = world.rows("alerts")
    return sorted(
        tuple(str(row[name]) for name in ("rule_id", "event", "workflow_id", "batch_id", "task_id", "try_number")) for row in rows
    )


EXPECTED = sorted(
    [
        ("batches", "success", "works", "W1", "None", "None"),
        ("batches", "failure", "fails", "F1", "None", "None"),
        ("batches", "failure", "fails", "F1", "None", "None"),  # once more, after it was restarted
        ("tasks", "retry", "fails", "F1", "broken", "1"),
        ("tasks", "failure", "fails", "F1", "broken", "2"),
        ("tasks", "retry", "fails", "F1", "broken", "3"),
        ("tasks", "failure", "fails", "F1", "broken", "4"),
        ("tasks", "blocked", "fails", "F1", "after", "1"),
        ("missing", "not_started", "absent", "None", "None", "None"),
        ("missing", "late", "absent", "None", "None", "None"),
        ("hung", "slow", "hangs", "H1", "None", "None"),
        ("done", "success", "works", "W1", "load", "1"),
        ("done", "failure", "fails", "F1", "broken", "2"),
        ("done", "failure", "fails", "F1", "broken", "4"),
    ]
)


def test_a_scripted_day(world: World, mails: tuple[Kept, str], tmp_path: Path) -> None:
    add_history(world)
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"alert_rules": rules()}))
    assert world.accelerator("alerts", "load", str(file)) == "Stored 5 rules.\n"
    for workflow_id, batch_id in (("hangs", "H1"), ("works", "W1"), ("fails", "F1")):
        world.airflow.trigger(workflow_id, batch_id)

    assert wait_for(lambda: ("tasks", "retry", "fails", "F1", "broken", "1") in raised(world), NOTICED)
    assert kill_reconciler(world)
    assert world.airflow.wait_for_run("fails", "F1") == "failed"
    assert wait_for(lambda: ("batches", "failure", "fails", "F1", "None", "None") in raised(world), NOTICED)
    world.airflow.rest("POST", "/dags/fails/clearTaskInstances", json=_restart())
    assert wait_for(lambda: raised(world).count(("batches", "failure", "fails", "F1", "None", "None")) == 2, NOTICED)
    assert wait_for(lambda: ("hung", "slow", "hangs", "H1", "None", "None") in raised(world), NOTICED)
    assert wait_for(lambda: ("missing", "late", "absent", "None", "None", "None") in raised(world), NOTICED)
    assert wait_for(lambda: all(row["state"] == "sent" for row in world.rows("alerts")[0]), NOTICED)
    assert kill_reconciler(world)
    killed = datetime.now(UTC)
    # The next one knows nothing, and looks at everything again.
    assert wait_for(lambda: complete_as_of(world) > killed, NOTICED)

    assert raised(world) == EXPECTED
    _check_mails(world, mails[0])
    _check_topic(world)


def _restart() -> dict[str, Any]:
    return {"dag_run_id": "F1", "only_failed": True, "dry_run": False, "reset_dag_runs": True}


def complete_as_of(world: World) -> datetime:
    """Return as of when the record is complete."""
    (leases,) = world.rows("leader_leases")
    return max(
        (lease["current_at"] for lease in leases if lease["current_at"] is not None), default=datetime.min.replace(tzinfo=UTC)
    )


def _check_mails(world: World, kept: Kept) -> None:
    """Each alert by mail is in one mail; a mail tells of one batch."""
    texts = kept.texts()
    (rows,) = world.rows("alerts")
    by_mail = [row for row in rows if row["rule_id"] != "done"]
    told = Counter(
        line.split(":")[0] for text in texts for line in text.splitlines() if " UTC" in line and not line.startswith(" ")
    )
    assert sum(told.values()) == len(by_mail), texts
    assert any("no rows {{ 7 * 7 }} &lt;b&gt;" in text for text in texts)
    assert any("no batch had started by" in text for text in texts)
    assert any("and takes 1 s usually" in text for text in texts)
    assert all(f"{world.airflow.url}/accelerator/" in text for text in texts)


def _check_topic(world: World) -> None:
    """Each end of a task is a message, at least once, and tells by its id where it came twice."""
    with grpc.insecure_channel(world.emulators.pubsub_host) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        received = [one.message for one in client.pull(subscription=SUBSCRIPTION, max_messages=100).received_messages]
    ends = {dict(one.attributes)["event_id"]: json.loads(one.data) for one in received}
    told = Counter((end["batch_id"], end["previous_task_id"], end["status"]) for end in ends.values())
    assert told == Counter(
        (row[3], row[4], {"success": "SUCCESS", "failure": "ERROR"}[row[1]]) for row in EXPECTED if row[0] == "done"
    )
