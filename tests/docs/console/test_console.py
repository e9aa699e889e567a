"""Every command of the documentation is carried out, on an installation of its own, and prints what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_services import free_port
from tests.checkout import ROOT, copy_tracked_files
from tests.docs.console.blocks import Block, Step, console_blocks, files_of
from tests.docs.console.reader import Reader
from tests.google_servers import SERVERS
from tests.waiting import wait_for

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

DOCS = ROOT / "docs"
CLONE = "airflow-provider-cloud-accelerator"

#: Why a command is not carried out here; patterns.
NOT_HERE = {
    r"make |uvx pre-commit": "a check of the repository itself, of which this test is a part",
    r"terraform |\./setup\.sh|cp \S+example|export (TF_VAR|DATABASE)_": "sets up a cloud; tests/deploy has its parts",
    r"gcloud |AIRFLOW_URI=|trigger": "needs an environment of Cloud Composer; tests/cluster follows that page without one",
    r"source emulators\.env && airflow dags test": "stands in docs/local.md, whose commands are carried out",
}

#: The terminals of pages that have several, block by block.
OF_TUTORIAL = ["first"] * 4 + ["second"] + ["third"] * 4 + ["first"] + ["third"] * 4
OF_LOCAL = ["first", "second", "second", "third", "third", "third", "fourth", "fifth", "third", "third"]


def why_not(step: Step) -> str | None:
    """Return why a command is not carried out here; None where it is."""
    return next((reason for pattern, reason in NOT_HERE.items() if re.match(pattern, step.command)), None)


def of_page(name: str) -> list[Block]:
    """Return the blocks of a page without what is not carried out here."""
    page = ROOT / name if name == "README.md" else DOCS / name
    blocks = [
        replace(block, steps=tuple(step for step in block.steps if why_not(step) is None)) for block in console_blocks(page)
    ]
    return [block for block in blocks if block.steps]


INSTALLED = [block for block in of_page("README.md") if any("pip" in step.command for step in block.steps)]
*TUTORIAL, END, AWAY = of_page("tutorial.md")
OTHERS = [
    block
    for name in ("workflows.md", "messages.md", "tasklog.md", "alerts.md", "operations.md", "configuration.md", "migration.md")
    for block in of_page(name)
]
LOCAL = of_page("local.md")

#: Of the emulators, and a rule by which no run of Dataform is seen to end.
RULES = "http://127.0.0.1:9063/_emulator/rules"
NEVER_ENDS = {
    "service": "dataform",
    "match": "GetWorkflowInvocation",
    "fault": "status",
    "grpc_status": "UNAVAILABLE",
    "times": None,
}

#: Messages that come before their workflow, and so are rejected; prints their ids.
EARLY = """python - <<'EOF'
import json
from google.cloud import pubsub_v1
publisher = pubsub_v1.PublisherClient()
for number in range(3):
    message = {"task_id": "shop_orders", "batch_id": f"Batch_early_{number}"}
    print(publisher.publish("projects/demo-project/topics/task-batches", json.dumps(message).encode()).result())
EOF"""

#: Power BI refuses refreshes until the rule is deleted.
REFUSED = """curl --silent -X POST http://127.0.0.1:9063/_emulator/rules -H 'Content-Type: application/json' \\
    -d '{"service": "powerbi", "match": "POST */refreshes", "times": null, "fault": "status", "http_status": 403}'"""
NOT_REFUSED = "curl --silent -X DELETE http://127.0.0.1:9063/_emulator/rules"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    home = tmp_path_factory.mktemp("home")
    copy_tracked_files(home / CLONE)
    airflow, dataform, powerbi, pubsub, admin = (str(free_port()) for _ in range(5))
    ports = f"--dataform-port {dataform} --powerbi-port {powerbi} --pubsub-port {pubsub} --admin-port {admin}"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))}
    uv = Path(sys.executable).parent / "uv"
    person = Reader(
        home=home,
        environment={
            **inherited,
            "HOME": str(home),
            "AIRFLOW__API__PORT": airflow,
            "AIRFLOW__API__BASE_URL": f"http://localhost:{airflow}",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        means={
            r"\b8080\b": airflow,
            r"\b8085\b": pubsub,
            r"\b9063\b": admin,
            r"\b9023\b": str(free_port()),
            r"\b9050\b": str(free_port()),
        },
        asks={
            r"accelerator emulators(?= --scenario)": f"accelerator emulators {ports}",
            r"python3 -m venv": f"{sys.executable} -m venv",
            r"(?<!/)\bpip install": f"{uv} pip install",  # the same in a tenth of the time
            r"servers/bin/pip install": f"{uv} pip install --python servers --constraint {ROOT}/tests/google_servers.txt",
            r"bqemulator start": "bqemulator start --grpc-port 0",
        },
        codes={
            "accelerator run daily_sales --batch-id Batch_20240320_001": {1},  # it is to fail
            r"accelerator restart \S+ --task": {0, 1},  # the restart before it may have repaired the task
        },
    )
    yield person
    person.close()


@pytest.mark.parametrize("block", INSTALLED, ids=str)
def test_the_readme_installs(block: Block, reader: Reader) -> None:
    reader.carry_out(block, "before")


@pytest.mark.parametrize(("block", "terminal"), zip(TUTORIAL, OF_TUTORIAL, strict=True), ids=str)
def test_the_tutorial(block: Block, terminal: str, reader: Reader) -> None:
    reader.carry_out(block, terminal)


@pytest.fixture(scope="module")
def used(reader: Reader) -> Reader:
    """After the tutorial; with what the other pages take to be there."""
    (reader.home / "try" / "first.yaml").write_text(files_of(DOCS / "workflows.md")["first.yaml"], encoding="utf-8")
    connection = sqlite3.connect(reader.home / "old.db")
    connection.executescript((ROOT / "tests/provider/cli/original/tables.sql").read_text(encoding="utf-8"))
    connection.close()
    message_ids = asked(reader, EARLY).split()
    rejected = "accelerator requests --state rejected --output json"
    found: list[Any] = wait_for(lambda: rows if len(rows := json.loads(asked(reader, rejected))) == 3 else [], 60, look_every=1.0)
    asked(reader, REFUSED)
    asked(reader, "accelerator run daily_sales --batch-id Batch_20240320_001 --wait")
    asked(reader, NOT_REFUSED)
    reader.means |= {
        "postgresql://reader@old-host/engine": f"sqlite:///{reader.home}/old.db",
        r"\b8217312345678\b": message_ids[0],
        r"\bretry 19\b": f"retry {found[0]['id']}",
        r"\bretry 17 18\b": f"retry {found[1]['id']} {found[2]['id']}",
        "Batch_20240316_001": "Batch_20240320_001",
        "my-project": "demo-project",
        "alerts test any-failure": "alerts test completions",  # there is no mail server
    }
    return reader


def asked(reader: Reader, command: str) -> str:
    """Carry out in the third terminal what stands on no page."""
    return reader.step(Step(command, ""), "third")


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_other_pages(block: Block, used: Reader) -> None:
    if not any(step.command.startswith("accelerator cancel") for step in block.steps):
        used.carry_out(block, "third")
        return
    asked(used, f"curl -sS -X POST {RULES} -d '{json.dumps(NEVER_ENDS)}'")
    asked(used, "accelerator run daily_sales --batch-id Batch_20240321_001")
    used.means["Batch_20240316_001"] = "Batch_20240321_001"
    used.carry_out(block, "third")
    asked(used, f"curl -sS -X DELETE {RULES}")


def test_the_tutorial_is_ended(used: Reader) -> None:
    used.carry_out(END, "third")
    used.terminal("second").ended()
    used.terminal("first").interrupt()


@pytest.fixture(scope="module")
def elsewhere(used: Reader) -> Reader:
    """In a folder of one's own, with what is installed."""
    used.close()
    SERVERS.ensure()
    shutil.copytree(SERVERS.folder / ".duckdb", used.home / ".duckdb")  # bqemulator loads it from the network otherwise
    folder = used.home / "elsewhere"
    folder.mkdir()
    for name, text in files_of(DOCS / "local.md").items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("first", "second", "third", "fourth", "fifth"):
        used.step(Step("source ~/accelerator/bin/activate && cd ~/elsewhere", ""), name)
    return used


@pytest.mark.parametrize(("block", "terminal"), zip(LOCAL, OF_LOCAL, strict=True), ids=str)
def test_on_a_laptop(block: Block, terminal: str, elsewhere: Reader) -> None:
    if any("landing" in step.command for step in block.steps):
        elsewhere.terminals.pop("second").close()  # Airflow, of which the page wants no scheduler here
    for step in block.steps:
        if "BATCH" in step.command.split():
            (batch, *_) = json.loads(elsewhere.step(Step("accelerator batches --output json", ""), terminal))
            elsewhere.means[r"\bBATCH\b"] = batch["batch_id"]
        elsewhere.step(step, terminal, str(block))


def test_nothing_is_left(elsewhere: Reader) -> None:
    elsewhere.close()

    def is_deleted() -> bool:
        elsewhere.carry_out(AWAY, "third")
        return not (elsewhere.home / "try").exists()

    assert wait_for(is_deleted, 60, look_every=1.0), "what was killed is gone after a moment"


@pytest.mark.parametrize("pattern", NOT_HERE)
def test_of_what_is_not_carried_out(pattern: str) -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
    commands = [step.command for page in pages for block in console_blocks(page) for step in block.steps]
    left_out = [command.partition("  ")[0].partition("\n")[0] for command in commands if re.match(pattern, command)]
    assert left_out, "no page has such a command any more"
    pytest.skip(f"{NOT_HERE[pattern]}: {'; '.join(left_out)}")
