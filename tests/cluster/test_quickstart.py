"""The quickstart of docs/composer.md, in Composer's ways: files, messages and Airflow's REST API alone, no shell on a machine."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from errno import ECONNREFUSED
from pathlib import Path
from typing import Any

import pytest

from demo.pinned_environment import REPOSITORY
from demo.world import SUBSCRIPTION, publish_messages
from tests.cluster.cluster import BUCKET, Cluster
from tests.cluster.person import Person

pytestmark = [pytest.mark.airflow_services, pytest.mark.slow, pytest.mark.timeout(1200)]

QUICKSTART = textwrap.dedent(
    re.sub(r"^\d\. ", "   ", (REPOSITORY / "docs/composer.md").read_text().split("\n## ")[1], flags=re.M)
)
DAG_FILES = {"accelerator_maintenance", "accelerator_dispatcher", "accelerator_burst", "accelerator_reconciler"}
#: What the kit's overrides set in section ``accelerator``, besides the database.
OVERRIDES = {"pubsub_subscriptions": SUBSCRIPTION, "airflow_conn_id": "airflow_api"}


def block(language: str) -> str:
    """Return the chapter's only block of a language."""
    (found,) = re.findall(rf"^ *```{language}\n(.*?)^ *```", QUICKSTART, re.M | re.S)
    return textwrap.dedent(found)


def triggers() -> list[tuple[str, dict[str, Any]]]:
    """Return the DAG and the body of each request that the chapter sends to Airflow."""
    return [(dag, json.loads(body)) for dag, body in re.findall(r"^ *\$ trigger (\w+) '(.*)'$", QUICKSTART, re.M)]


@pytest.fixture(scope="module")
def composer() -> Iterator[Cluster]:
    with Cluster(OVERRIDES, composer=True) as cluster:
        yield cluster


def test_the_machines_are_as_composers(composer: Cluster) -> None:
    import_it = "import importlib.util; print(importlib.util.find_spec('provider') is not None)"
    for machine in composer.machines.values():
        assert machine.run("-c", import_it).strip() == str(not machine.name.startswith("scheduler"))
        if machine.name.startswith(("scheduler", "triggerer")):
            assert "cloud_accelerator" not in machine.run("-m", "airflow", "plugins")
        if composer.network is not None:  # what nobody has let through is not there
            reach = "import socket, sys; print(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))))"
            assert machine.run("-c", reach, composer.emulators.admin_url.rpartition(":")[2]).strip() == str(ECONNREFUSED)


def test_from_an_empty_database_to_the_first_batches(composer: Cluster, tmp_path: Path) -> None:
    person = Person(tmp_path)
    upgrade, importing, second_batch = triggers()

    person.install_dag_files(composer)
    for dag_id in DAG_FILES:
        composer.wait_for_dag(dag_id)
    composer.wait_for(
        lambda: "has schema none" in json.dumps(composer.rest("GET", "/importErrors")), 120, "the import error of the docs"
    )

    assert composer.post_run(*upgrade) == "success"

    workflows = person.home / "workflows.yaml"
    workflows.write_text(block("yaml"))
    person.accelerator("validate", "workflows.yaml")
    composer.bucket.copy([workflows], "data/accelerator/import/")
    dag_id, body = importing
    body["conf"]["file"] = body["conf"]["file"].replace("gs://BUCKET/", f"gs://{BUCKET}/")
    assert composer.post_run(dag_id, body) == "success"
    composer.wait_for_dag("first_steps")

    (message,) = re.findall(r"topics publish task-batches --message '(.*?)'", QUICKSTART)
    publish_messages(composer.emulators.pubsub_host, json.loads(message))
    batch_id = json.loads(message)["batch_id"]
    composer.wait_for(lambda: composer.has_run("first_steps", batch_id), 120, "the run of the message")
    assert composer.wait_for_run("first_steps", batch_id) == "success"
    assert composer.post_run(*second_batch) == "success"

    question = block("sql")
    (batch,) = composer.wait_for(
        lambda: [row for row in composer.select(question) if row["status"] == "SUCCESS"],
        60,
        "SUCCESS in the tables",
        explain=lambda: str(composer.select(question)),
    )
    assert (batch["workflow_id"], batch["tasks"], batch["succeeded"], batch["failed"], batch["error"]) == (
        "first_steps",
        1,
        1,
        0,
        None,
    )
