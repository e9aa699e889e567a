"""
Airflow with the auth manager of Flask AppBuilder, as Cloud Composer has it.

Its roles know nothing of this provider: who may see what, and with which rights the record is kept, is tried with the role and
the user that the kit for Cloud Composer makes, and with Airflow's own roles.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.world import World
from tests.integration.why_world import write_workflows
from tests.no_plugin import without_reconciler_process

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(600)]

_REPOSITORY = Path(__file__).parents[2]
_KIT = (_REPOSITORY / "deploy/composer/gcloud/steps.sh").read_text()
_NOTICED = 60.0

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
WORKFLOWS = {
    workflow_id: {"tasks": [{"task_id": f"{workflow_id}_waits", "task_type": "external"}]} for workflow_id in ("sales", "wages")
}
#: Who is tried, and their roles. `lou` may read one DAG.
PEOPLE = {"reader": ["Viewer"], "vera": ["Viewer"], "uma": ["User"], "olaf": ["Op"], "lou": ["Reads sales"]}
SALES_ALONE = [("can_read", "DAG:sales"), ("menu_access", "DAGs"), ("can_read", "Website")]


def actions(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"action": {"name": action}, "resource": {"name": resource}} for action, resource in pairs]


def role_of_kit() -> dict[str, Any]:
    """Return the role for the audit log, as the kit's last step sends it."""
    (body,) = re.findall(r"/auth/fab/v1/roles -d '(\{.*?\})' &&", _KIT)
    role: dict[str, Any] = json.loads(body)
    return role


def roles_of_kit() -> list[str]:
    """Return the roles that the kit gives to the reader."""
    (roles,) = re.findall(r'"roles":(\[\{.*?\}\])', _KIT)
    return [role["name"] for role in json.loads(roles)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fab")
    environment = {
        "AIRFLOW__CORE__AUTH_MANAGER": FAB,
        "PYTHONPATH": f"{without_reconciler_process(folder / 'site')}:{_REPOSITORY}",
    }
    file = write_workflows(folder / "workflows.yaml", WORKFLOWS)
    people = {"ann": "ADMIN", **dict.fromkeys(PEOPLE, "")}
    with World(folder, definitions=file, environment=environment, people=people, api=True, services=False) as world:
        airflow = world.airflow
        ann = {"username": "ann", "role": "Admin", "firstname": "Ann", "lastname": "Admin", "email": "ann@example.com"}
        options = [f"--{name}={value}" for name, value in {**ann, "password": password(world, "ann")}.items()]
        airflow.cli("users", "create", *options, check=True)
        airflow.set_environment(AIRFLOW_CONN_AIRFLOW_API=airflow.api_connection("reader"))
        with airflow:
            world.wait_for_dags([*WORKFLOWS, "accelerator_reconciler", "accelerator_dispatcher"])
            make_people(world)
            yield world


def password(world: World, person: str) -> str:
    return str(json.loads(world.airflow.api_connection(person))["password"])


def make_people(world: World) -> None:
    """Make roles and users by FAB's own REST API, as an administrator."""
    admin = world.airflow.client("ann")
    for role in (role_of_kit(), {"name": "Reads sales", "actions": actions(SALES_ALONE)}):
        admin.post("/auth/fab/v1/roles", json=role).raise_for_status()
    for name, roles in {**PEOPLE, "reader": roles_of_kit()}.items():
        user = {"username": name, "email": f"{name}@example.com", "first_name": name, "last_name": "of the test"}
        user |= {"password": password(world, name)}
        admin.post("/auth/fab/v1/users", json={**user, "roles": [{"name": role} for role in roles]}).raise_for_status()


def log(world: World, task_id: str, batch_id: str, status: str) -> dict[str, Any]:
    """Wait until a task of a batch has this status, and return its row."""

    def found() -> list[dict[str, Any]]:
        (rows,) = world.rows("task_logs")
        return [row for row in rows if (row["task_id"], row["batch_id"], row["status"]) == (task_id, batch_id, status)]

    what = f"{status} of {task_id} in {batch_id}"
    return world.airflow.wait_for(found, _NOTICED, what, explain=lambda: str(world.rows("task_logs")))[0]


def page(world: World, person: str, route: str, **parameters: str) -> httpx.Response:
    return world.airflow.client(person).get(f"/accelerator/api/{route}", params=parameters)


@pytest.fixture(scope="module")
def batches(world: World) -> None:
    """A batch of each workflow, whose task waits, and the row of a message."""
    for workflow_id in WORKFLOWS:
        world.airflow.trigger(workflow_id, "b1")
    world.publish({"task_id": "wages_waits", "batch_id": "m1"})
    for workflow_id, batch_id in (("sales", "b1"), ("wages", "b1"), ("wages", "m1")):
        log(world, f"{workflow_id}_waits", batch_id, "PROCESSING")


def test_the_reader_of_the_kit_reads_what_a_viewer_may_not(world: World) -> None:
    assert roles_of_kit() == ["Viewer", role_of_kit()["name"]]
    asked = {person: world.airflow.client(person).get("/api/v2/eventLogs").status_code for person in ("vera", "reader")}
    assert asked == {"vera": 403, "reader": 200}


@pytest.mark.usefixtures("batches")
def test_a_message_starts_its_run_though_the_reader_may_start_none(world: World) -> None:
    refused = world.airflow.client("reader").post("/api/v2/dags/wages/dagRuns", json={"logical_date": None})
    assert refused.status_code == 403
    (requests,) = world.rows("batch_requests")
    assert [(row["batch_id"], row["state"]) for row in requests] == [("m1", "dispatched")]
    assert world.airflow.run_state("wages", "m1") == "running"


@pytest.mark.usefixtures("batches")
def test_each_role_sees_its_part_of_the_pages(world: World) -> None:
    routes = ("batches", "requests", "definitions", "health")
    seen = {person: tuple(page(world, person, route).status_code for route in routes) for person in ("ann", *PEOPLE)}
    # Findings of Health name machines and settings.
    most = (200, 200, 200)
    assert seen == {"ann": (*most, 200), "olaf": (*most, 200)} | dict.fromkeys(("reader", "vera", "uma", "lou"), (*most, 403))
    nobody = httpx.get(f"{world.airflow.url}/accelerator/api/batches", timeout=30, trust_env=False)
    assert nobody.status_code == 401


@pytest.mark.usefixtures("batches")
def test_who_may_read_one_dag_sees_nothing_of_another(world: World) -> None:
    def workflows(person: str) -> set[str]:
        return {row["workflow_id"] for row in page(world, person, "batches").json()["batches"]}

    assert (workflows("vera"), workflows("lou")) == ({"sales", "wages"}, {"sales"})
    asked = {dag_id: page(world, "lou", "batch", dag_id=dag_id, run_id="b1").status_code for dag_id in WORKFLOWS}
    assert asked == {"sales": 200, "wages": 404}
    assert [len(page(world, person, "requests", state="all").json()["requests"]) for person in ("vera", "lou")] == [1, 0]
    assert "wages" in page(world, "vera", "definitions").text
    assert "wages" not in page(world, "lou", "definitions").text


@pytest.mark.usefixtures("batches")
def test_the_record_names_who_ended_a_task(world: World) -> None:
    path = "/dags/sales/dagRuns/b1/taskInstances/sales_waits"
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        world.airflow.rest("PATCH", path, json={"new_state": "failed"}, person="vera")
    world.airflow.rest("PATCH", path, json={"new_state": "failed"}, person="uma")
    row = log(world, "sales_waits", "b1", "ERROR")
    assert (row["end_cause"], row["ended_by"], row["error_message"]) == ("marked_failed", "uma", "marked failed by uma")


@pytest.mark.usefixtures("batches")
def test_a_batch_is_restarted_by_who_may_and_the_others_are_told_what_is_missing(world: World) -> None:
    world.airflow.wait_for_run("sales", "b1")
    log(world, "sales_waits", "b1", "ERROR")
    restart = ("restart", "b1", "--workflow", "sales")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        world.accelerator(*restart)
    assert 'answered 403: {"detail":"Forbidden"}. Give the connection\'s user a role' in refused.value.__notes__[0]
    world.airflow.set_environment(AIRFLOW_CONN_AIRFLOW_API=world.airflow.api_connection("uma"))
    world.accelerator(*restart)
    assert log(world, "sales_waits", "b1", "PROCESSING")["try_number"] == 2
