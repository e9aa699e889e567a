from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from google.cloud import dataform_v1
from google.pubsub_v1 import SubscriberClient

from provider.emulators.pubsub import GooglePubSub, find_google_emulator
from provider.emulators.scenario import Scenario, load_scenario
from provider.emulators.server import Emulators, Ports
from provider.exceptions import AcceleratorError, ConfigurationError

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "emulators.yaml"
SALES = "projects/demo-project/locations/europe-west3/repositories/sales"
NEEDS_GOOGLE = pytest.mark.skipif(
    find_google_emulator(os.environ) is None,
    reason="Google's Pub/Sub emulator (cloud-pubsub-emulator and java) is not on this machine",
)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ports_of(emulators: Emulators) -> list[int]:
    places = (emulators.dataform_endpoint, emulators.powerbi_url, emulators.pubsub_host, emulators.admin_url)
    return [int(place.rpartition(":")[2]) for place in places]


def test_refresh_after_both_invocations_can_be_read_from_the_ledger(start, dataform_client, powerbi_client):
    """The example of the project, run by hand: two invocations, then one refresh."""
    scenario = load_scenario(EXAMPLE).model_dump(by_alias=True)
    for repository in scenario["dataform"]["repositories"].values():
        for action in repository["actions"]:
            action["seconds"] = 0.05
    scenario["powerbi"]["workspaces"][0]["semantic_models"][0]["seconds"] = 0.05
    emulators = start(scenario)
    dataform, powerbi = dataform_client(dataform_v1, emulators), powerbi_client(emulators)

    result = dataform.create_compilation_result(parent=SALES, compilation_result={"git_commitish": "main"})
    for tag in ("orders", "customers"):
        invocation = dataform.create_workflow_invocation(
            parent=SALES,
            workflow_invocation={
                "compilation_result": result.name,
                "invocation_config": {"included_tags": [tag]},
            },
        )
        emulators.ledger.wait_for("workflow_invocation_succeeded", invocation.name)
    group = powerbi.get("groups", params={"$filter": "name eq 'Sales'"}).json()["value"][0]["id"]
    model = powerbi.get(f"groups/{group}/datasets").json()["value"][0]["id"]
    powerbi.post(f"groups/{group}/datasets/{model}/refreshes", json={"type": "full"})
    emulators.ledger.wait_for("refresh_completed")

    entries = httpx.get(f"{emulators.admin_url}/_emulator/ledger").json()
    assert [entry["operation"] for entry in entries if entry["service"] != "entra"] == [
        "create_compilation_result",
        "create_workflow_invocation",
        "workflow_invocation_succeeded",
        "create_workflow_invocation",
        "workflow_invocation_succeeded",
        "refresh_posted",
        "refresh_completed",
    ]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    powerbi_only = httpx.get(f"{emulators.admin_url}/_emulator/ledger", params={"service": "powerbi", "after": 3}).json()
    assert [entry["operation"] for entry in powerbi_only] == ["refresh_posted", "refresh_completed"]
    assert powerbi_only[0]["detail"]["name"] == "Daily Sales"


def test_example_pubsub_resources(start):
    emulators = start(load_scenario(EXAMPLE).model_dump(by_alias=True))
    with grpc.insecure_channel(emulators.pubsub_host) as channel:
        client = SubscriberClient(transport=SubscriberClient.get_transport_class("grpc")(channel=channel))
        found = client.get_subscription(subscription="projects/demo-project/subscriptions/task-batches-airflow")
    assert (found.topic, found.ack_deadline_seconds) == ("projects/demo-project/topics/task-batches", 60)


def test_environment_reaches_the_emulators(start):
    emulators = start({"pubsub": {"project": "my-project"}})
    environment = emulators.environment()
    assert environment["PUBSUB_EMULATOR_HOST"] == emulators.pubsub_host
    google = json.loads(environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert google["extra"] == {
        "project": "my-project",
        "is_anonymous": True,
        "dataform_endpoint": emulators.dataform_endpoint,
    }
    powerbi = json.loads(environment["AIRFLOW_CONN_POWERBI_DEFAULT"])
    assert powerbi["host"] == powerbi["extra"]["authority"] == emulators.powerbi_url
    assert (powerbi["login"], powerbi["conn_type"]) == (emulators.scenario.powerbi.clients[0].client_id, "powerbi")
    assert Path(powerbi["extra"]["ca_file"]).read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_the_private_key_is_private(start):
    emulators = start()
    assert (emulators.ca_file.parent / "server.pem").stat().st_mode & 0o077 == 0


def test_tokens_expire_through_the_admin_interface(start, powerbi_client):
    emulators = start()
    client = powerbi_client(emulators)
    assert httpx.post(f"{emulators.admin_url}/_emulator/tokens/expire").status_code == 204
    assert client.get("groups").json()["error"]["code"] == "TokenExpired"


def test_nothing_listens_after_the_end(tmp_path):
    with Emulators(Scenario(), folder=tmp_path, pubsub="builtin") as emulators:
        ports = ports_of(emulators)
        assert all(listens(port) for port in ports)
    assert not any(listens(port) for port in ports)
    again = Ports(*ports)
    with Emulators(Scenario(), folder=tmp_path, pubsub="builtin", ports=again) as emulators:
        assert ports_of(emulators) == ports


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("which", ["dataform", "powerbi", "pubsub", "admin"])
def test_taken_port_is_named_and_the_others_are_freed(tmp_path, which, taken_port, capfd):
    with pytest.raises(ConfigurationError, match=f"Port {taken_port} of 127.0.0.1 is taken"):
        Emulators(Scenario(), folder=tmp_path, pubsub="builtin", ports=Ports(**{which: taken_port})).__enter__()
    assert capfd.readouterr().err == "", "gRPC says nothing by itself"


def test_a_taken_port_is_named_before_googles_emulator_starts(tmp_path, taken_port):
    with pytest.raises(ConfigurationError, match=f"Port {taken_port} of 127.0.0.1 is taken"):
        GooglePubSub(tmp_path / "launcher", tmp_path, port=taken_port)


@NEEDS_GOOGLE
def test_googles_emulator_leaves_no_process(tmp_path):
    with Emulators(Scenario(), folder=tmp_path, pubsub="google") as emulators:
        port = int(emulators.pubsub_host.rpartition(":")[2])
        assert listens(port)
    assert not listens(port)


def test_launcher_that_ends_at_once_is_an_error(tmp_path):
    launcher = tmp_path / "launcher"
    launcher.write_text("#!/bin/sh\nexit 3\n")
    launcher.chmod(0o755)
    with pytest.raises(AcceleratorError, match=r"ended with status 3; see .*pubsub-emulator\.log"):
        GooglePubSub(launcher, tmp_path).start()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_until_a_signal(tmp_path, signal_number):
    env_file = tmp_path / "emulators.env"
    code = (
        "import sys; from pathlib import Path; from provider.emulators.main import run;"
        "sys.exit(run(Path(sys.argv[1]), env_file=Path(sys.argv[2]), pubsub='builtin'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(EXAMPLE), str(env_file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            printed = []
            for line in process.stdout:
                printed.append(line)
                if "Serving" in line:
                    break
            exports = [line for line in printed if line.startswith("export ")]
            assert env_file.read_text() == "".join(exports)
            assert env_file.stat().st_mode & 0o077 == 0
            shell = subprocess.run(
                ["sh", "-c", f". '{env_file}' && printf %s \"$AIRFLOW_CONN_POWERBI_DEFAULT\""],
                capture_output=True,
                text=True,
                check=True,
            )
            port = int(json.loads(shell.stdout)["host"].rpartition(":")[2])
            assert listens(port)
            process.send_signal(signal_number)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert not listens(port)


def test_emulators_import_nothing_of_airflow():
    code = "import sys, provider.emulators.main; print(any(name.split('.')[0] == 'airflow' for name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_what_is_exported_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Emulators(folder=Path("here"), pubsub="builtin") as emulators:
        connection = json.loads(emulators.environment()["AIRFLOW_CONN_POWERBI_DEFAULT"])
    assert connection["extra"]["ca_file"] == str(tmp_path / "here" / "ca.pem")
