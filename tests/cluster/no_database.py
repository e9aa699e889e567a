"""A cluster for which nobody has configured an application database: nothing is lost, and each process says what to set."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from demo.world import SUBSCRIPTION, publish_messages
from tests.cluster.cluster import Cluster
from tests.cluster.person import Person

_SAYS = "runs tasks on several machines"
_SECONDS = 180.0


def without_database() -> Iterator[str]:
    """Start one, publish a message, and yield what is not as it must be."""
    with Cluster({"pubsub_subscriptions": SUBSCRIPTION}, composer=False, database=False) as cluster:
        with tempfile.TemporaryDirectory() as home:
            Person(Path(home)).install_dag_files(cluster)
        (sent,) = publish_messages(cluster.emulators.pubsub_host, {"task_id": "stg_orders", "batch_id": "Batch_20240316_001"})
        for dag_id in ("accelerator_maintenance", "accelerator_dispatcher"):
            cluster.wait_for_dag(dag_id)
        if cluster.post_run("accelerator_maintenance", {"logical_date": None}) != "failed":
            yield "the schema of no database was upgraded"
        cluster.wait_for(lambda: _SAYS in json.dumps(cluster.rest("GET", "/importErrors")), _SECONDS, "the import error")
        for kind in ("scheduler", "triggerer", "worker"):
            cluster.wait_for(partial(_somebody_says, cluster, kind), _SECONDS, f"what a {kind} says")
        if _waiting(cluster) != [sent]:
            yield f"message {sent} was acknowledged"


def _somebody_says(cluster: Cluster, kind: str) -> bool:
    return any(machine.says(_SAYS) for name, machine in cluster.machines.items() if name.startswith(kind))


def _waiting(cluster: Cluster) -> list[str]:
    """Return the messages that wait in the subscription."""
    import grpc
    from google.pubsub_v1 import SubscriberClient
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

    for name, machine in cluster.machines.items():
        if name.startswith("triggerer"):
            machine.kill()
    with grpc.insecure_channel(cluster.emulators.pubsub_host) as channel:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        answer = client.pull(request={"subscription": SUBSCRIPTION, "max_messages": 10}, timeout=90)
        return [received.message.message_id for received in answer.received_messages]
