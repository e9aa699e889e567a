"""What Terraform would make and what the scripts ask for are the same: roles, names, settings, secrets, next commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import Judged
from tests.deploy.kit import EVERYTHING, Outcome, run_scripts

#: Kind of thing → the attribute of Terraform's resource that names it.
TARGETS = {
    "project": "project",
    "service_account": "service_account_id",
    "pubsub_topic": "topic",
    "pubsub_subscription": "subscription",
    "secret_manager_secret": "secret_id",
    "storage_bucket": "bucket",
    "bigquery_dataset": "dataset_id",
}
#: Kind of thing → the words of gcloud's command.
WORDS = {
    "project": ("projects", "add-iam-policy-binding"),
    "service_account": ("iam", "service-accounts", "add-iam-policy-binding"),
    "pubsub_topic": ("pubsub", "topics", "add-iam-policy-binding"),
    "pubsub_subscription": ("pubsub", "subscriptions", "add-iam-policy-binding"),
    "secret_manager_secret": ("secrets", "add-iam-policy-binding"),
    "storage_bucket": ("buckets", "add-iam-policy-binding"),
}
#: Cloud Storage's own account, which each side is told by Google.
STORAGE = re.compile(r"serviceAccount:service-123456789@gs.*")
Binding = tuple[str, str, str, str]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    outcome = run_scripts(tmp_path_factory.mktemp("cloud"), **EVERYTHING)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="module", autouse=True)
def sound(judged: Judged) -> None:
    assert judged.code == 0, judged.told


def binding(kind: str, target: str, role: str, member: str) -> Binding:
    return kind, target.rpartition("/")[2], role, STORAGE.sub("Cloud Storage", member)


def bindings_of_terraform(judged: Judged, run: str) -> set[Binding]:
    return {
        binding(kind, resource["values"][attribute], resource["values"]["role"], resource["values"]["member"])
        for kind, attribute in TARGETS.items()
        for resource in judged.resources(run, f"google_{kind}_iam_member")
    }


def bindings_of_scripts(scripts: Outcome) -> set[Binding]:
    found = set()
    for kind, words in WORDS.items():
        for call in scripts.commands(*words):
            target = call[call.index("add-iam-policy-binding") + 1]
            found.add(binding(kind, target, call[call.index("--role") + 1], call[call.index("--member") + 1]))
    for call in scripts.commands("query"):
        grant = re.fullmatch(r"GRANT `(.*?)` ON SCHEMA `my-project\.(\w+)` TO (.*)", call[-1])
        assert grant is not None
        found |= {binding("bigquery_dataset", grant[2], grant[1], member.strip("'")) for member in grant[3].split(",")}
    return found


#: Run of the module's tests → the same in the scripts' settings, and how many roles there are at least.
NOBODY = {"PUBLISHERS": "", "COMMAND_USERS": ""}
THERE = {"MANAGE_ENVIRONMENT": "false", "ENVIRONMENT_SERVICE_ACCOUNT": "composer@my-project.iam.gserviceaccount.com"}
RUNS: dict[str, tuple[dict[str, Any], int]] = {
    "everything": (EVERYTHING, 25),
    "defaults": (NOBODY, 10),
    "files_alone": ({**NOBODY, "LANDING_BUCKET": "landing", "DATAFORM": "false"}, 11),
    "an_environment_that_is_there": ({**NOBODY, **THERE}, 10),
}


@pytest.mark.parametrize("run", RUNS)
def test_the_same_members_have_the_same_roles_on_the_same_things(judged: Judged, tmp_path: Path, run: str) -> None:
    settings, least = RUNS[run]
    ours, theirs = bindings_of_terraform(judged, run), bindings_of_scripts(run_scripts(tmp_path, **settings))
    assert ours == theirs
    assert len(ours) >= least


def test_no_role_is_for_everybody_or_for_more_than_it_needs(judged: Judged) -> None:
    for kind, target, role, member in bindings_of_terraform(judged, "everything"):
        assert member not in ("allUsers", "allAuthenticatedUsers")
        assert not re.fullmatch(r"roles/(owner|editor|viewer|[a-z]+\.admin)", role), role
        assert kind != "project" or role in (
            "roles/composer.worker",
            "roles/composer.user",
            "roles/cloudsql.client",
            "roles/dataform.editor",
            "roles/bigquery.jobUser",
        ), (role, target)


def test_airflow_is_configured_the_same(judged: Judged, scripts: Outcome) -> None:
    (environment,) = judged.resources("everything", "google_composer_environment")
    software = environment["values"]["config"][0]["software_config"][0]
    calls = scripts.commands("--update-airflow-configs")
    (given,) = {call[call.index("--update-airflow-configs") + 1] for call in calls}
    theirs = dict(pair.split("=", 1) for pair in given.removeprefix("^~^").split("~"))
    assert software["airflow_config_overrides"] == theirs
    assert json.loads(theirs["secrets-backend_kwargs"]) == {"project_id": "my-project"}
    ((package, version),) = software["pypi_packages"].items()
    assert f"{package}{version}" in scripts.commands("--update-pypi-package")[0]


def test_the_same_things_have_the_same_names(judged: Judged, scripts: Outcome) -> None:
    names: dict[str, set[str]] = {
        "topics": {one["values"]["name"] for one in judged.resources("everything", "google_pubsub_topic")},
        "subscriptions": {one["values"]["name"] for one in judged.resources("everything", "google_pubsub_subscription")},
        "secrets": {one["values"]["secret_id"] for one in judged.resources("everything", "google_secret_manager_secret")},
        "service-accounts": {one["values"]["account_id"] for one in judged.resources("everything", "google_service_account")},
        "databases": {one["values"]["name"] for one in judged.resources("everything", "google_sql_database")},
        "users": {one["values"]["name"] for one in judged.resources("everything", "google_sql_user")},
        "instances": {one["values"]["name"] for one in judged.resources("everything", "google_sql_database_instance")},
        "addresses": {one["values"]["name"] for one in judged.resources("everything", "google_compute_global_address")},
    }
    for kind, expected in names.items():
        assert {call[call.index("create") + 1] for call in scripts.commands(kind, "create")} == expected, kind
    services = {one["values"]["service"] for one in judged.resources("everything", "google_project_service")}
    (enable,) = scripts.commands("services", "enable")
    assert {word for word in enable if word.endswith(".googleapis.com")} == services


def test_the_secrets_say_the_same(judged: Judged, scripts: Outcome) -> None:
    names = [call[call.index("add") + 1] for call in scripts.commands("secrets", "versions", "add")]
    values = [given for given in scripts.given if not given.startswith("--password")]
    theirs = dict(zip(names, values, strict=True))
    versions = judged.resources("everything", "google_secret_manager_secret_version")
    ours = {f"airflow-connections-{one['index']}": one["values"]["secret_data"] for one in versions if "index" in one}
    assert len(ours) == 3
    assert {name: json.loads(value) for name, value in ours.items()} == {name: json.loads(theirs[name]) for name in ours}
    assert theirs.keys() - ours.keys() == {"airflow-config-accelerator-url"}


def test_terraform_keeps_no_password(judged: Judged) -> None:
    assert judged.states.keys() >= {"defaults", "everything"}
    assert "0123456789abcdef" not in json.dumps(judged.states)


def test_the_next_commands_are_the_same(judged: Judged, scripts: Outcome) -> None:
    outputs: dict[str, Any] = judged.states["everything"]["outputs"]
    ours = [outputs[name]["value"] for name in sorted(outputs) if name.startswith("next_")][1:]
    theirs = scripts.out.splitlines()
    # The cloud of the scripts has one number for all accounts.
    plain = [line.replace("3000", "2000") for line in ours]
    federation = next(line for line in plain if line.startswith("az "))
    assert [line for line in plain if line != federation] == [line for line in theirs if not line.startswith("az ")]
    (other,) = [line for line in theirs if line.startswith("az ")]
    assert federation.partition(" --parameters ")[0] == other.partition(" --parameters ")[0]
    told, tells = (json.loads(line.partition(" --parameters ")[2].strip("'")) for line in (federation, other))
    assert told == tells


def requests(text: str) -> dict[str, list[Any]]:
    """Return what the curl commands of a text send, by the path they send it to."""
    found: dict[str, list[Any]] = {}
    for path, body in re.findall(r"https://airflow\.example(/\S+) -d '(\{.*?\})'(?= && |$)", text, re.MULTILINE):
        found.setdefault(path, []).append(json.loads(body.replace("'\"$(openssl rand -hex 24)\"'", "x" * 48)))
    return found


def test_airflow_takes_what_the_next_commands_send(scripts: Outcome) -> None:
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody

    sent = requests(scripts.out)
    bodies = [TriggerDAGRunPostBody.model_validate(body) for body in sent.pop("/api/v2/dags/accelerator_maintenance/dagRuns")]
    ((place,),) = [re.findall(r"gcloud storage cp workflows.yaml (\S+)", scripts.out)]
    assert [body.conf for body in bodies] == [{}, {"action": "import", "file": f"{place}workflows.yaml"}]
    ((role,), (user,)) = sent.pop("/auth/fab/v1/roles"), sent.pop("/auth/fab/v1/users")
    assert sent == {}
    # What Airflow's own roles lack, the reconciler reads: who ended a task is in the audit log.
    assert role["actions"] == [{"action": {"name": "can_read"}, "resource": {"name": "Audit Logs"}}]
    assert user["roles"] == [{"name": "Viewer"}, {"name": role["name"]}]
    assert (user["username"], len(user["password"])) == ("accounts.google.com:2000", 48)
