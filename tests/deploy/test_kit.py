"""Both ways of the kit set up the same, with options and files that there are, and the page tells of what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provider import settings
from provider.hooks.powerbi import credentials
from provider.metadata.engine import create_engine
from tests.deploy.kit import EVERYTHING, KIT, ROOT, SCRIPTS, Outcome, blocks, run_scripts, script_text, terraform_text

PAGE = (ROOT / "docs" / "composer.md").read_text(encoding="utf-8")
TEXTS = {"Terraform": terraform_text(), "the scripts": script_text()}
#: Terraform's variables that the scripts have in another shape, or do not need.
OTHER = {
    "workers": {"WORKERS_MIN", "WORKERS_MAX", "WORKERS_CONCURRENCY"},
    "power_bi": {"POWER_BI_CLIENT_ID", "POWER_BI_TENANT_ID"},
    "database_password": set(),  # exported
    "database_password_version": set(),  # the scripts look at what is stored
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    found = run_scripts(tmp_path_factory.mktemp("cloud"), **EVERYTHING)
    assert found.code == 0, found.err
    return found


def roles(text: str) -> set[str]:
    return set(re.findall(r"roles/[A-Za-z.]+", text))


def overrides(text: str) -> set[str]:
    """Return what is overridden of Airflow's configuration, as SECTION-OPTION."""
    sections = r"(?:secrets|accelerator|api|celery|core|scheduler|triggerer|dag_processor)"
    return set(re.findall(rf'["\s~(]({sections}-[a-z_]+)"?\s*=', text))


@pytest.mark.parametrize("where", [*TEXTS, "the page"])
def test_every_option_of_the_accelerator_is_one(where: str, outcome: Outcome) -> None:
    text = {**TEXTS, "the page": PAGE}[where]
    named = {name.removesuffix("_secret") for name in re.findall(r"accelerator-([a-z_]+)\b(?=\"?\s*=)", text)}
    assert named <= settings.OPTIONS.keys()
    if where != "the page":
        assert named
        lists = re.search(r"burst_helpers\W+inbox_retention_days\W+outage_wait_hours\W+reconcile_interval\W+snapshot_dir", text)
        assert lists is not None
        assert set(re.findall(r"[a-z_]+", lists[0])) <= settings.OPTIONS.keys()


def test_both_ways_have_the_same_settings_with_the_same_defaults() -> None:
    variables = blocks("variable")
    example = (SCRIPTS / "settings.example.sh").read_text(encoding="utf-8")
    named = dict(re.findall(r"^([A-Z_]+)='?(.*?)'?$", example, re.MULTILINE))
    expected = {name.upper() for name in variables if name not in OTHER}
    assert named.keys() == expected.union(*OTHER.values())
    for name in expected & named.keys():
        default = re.search(r'^  default     = "?([^"\n{\[]+?)"?$', variables[name.lower()], re.MULTILINE)
        if default is not None and default[1] != "null":
            assert named[name] == default[1], name
    numbers = re.search(r"min = (\d+), max = (\d+), concurrency = (\d+) \}", variables["workers"])
    assert numbers is not None
    assert [named[f"WORKERS_{part}"] for part in ("MIN", "MAX", "CONCURRENCY")] == list(numbers.groups())


@pytest.mark.parametrize(
    ("terraform", "script"),
    [
        (r"ack_deadline_seconds\s+= (\d+)", r"--ack-deadline (\d+)"),
        (r"max_delivery_attempts\s+= (\d+)", r"--max-delivery-attempts (\d+)"),
        (r'secret_id\s+= "airflow-config-([\w-]+)"', r"URL_SECRET=airflow-config-([\w-]+)"),
        (r'issuer\s+= "(.*?)"', r'"issuer":"(.*?)"'),
        (r'audiences\s+= \["(.*?)"\]', r'"audiences":\["(.*?)"\]'),
        (r'event_types\s+= \["(\w+)"\]', r"--event-types (\w+)"),
        (r'ssl_mode\s+= "(\w+)"', r"--ssl-mode (\w+)"),
        (r'edition\s+= "(\w+)"', r"--edition (\w+)"),
    ],
)
def test_both_ways_have_the_same_figures(terraform: str, script: str) -> None:
    ours, theirs = (
        re.findall(pattern, text) for pattern, text in ((terraform, TEXTS["Terraform"]), (script, TEXTS["the scripts"]))
    )
    assert ours != []
    assert set(ours) == set(theirs)


def test_entra_is_asked_with_the_audience_that_is_trusted() -> None:
    assert f'audiences = ["{credentials._FEDERATION_AUDIENCE}"]' in TEXTS["Terraform"]


def test_the_url_of_the_database_is_one_that_we_take(outcome: Outcome) -> None:
    (url,) = [given for given in outcome.given if given.startswith("postgresql://")]
    engine = create_engine(url)
    assert (engine.url.host, engine.url.database, dict(engine.url.query)) == ("10.0.0.5", "accelerator", {"sslmode": "require"})
    engine.dispose()
    assert "}/${google_sql_database.accelerator.name}?sslmode=require" in TEXTS["Terraform"]


CONNECTIONS = """
import json, sys
from airflow.models.connection import Connection
found = {}
for name, value in json.load(sys.stdin).items():
    connection = Connection.from_json(value, conn_id=name)
    found[name] = [connection.conn_type, connection.host, connection.login, connection.extra_dejson]
print(json.dumps(found))
"""


def test_airflow_reads_the_connections(outcome: Outcome) -> None:
    secrets: dict[str, str] = {}
    names = [call[call.index("add") + 1] for call in outcome.commands("secrets", "versions", "add")]
    values = [given for given in outcome.given if not given.startswith("--password")]
    for name, value in zip(names, values, strict=True):
        if name.startswith("airflow-connections-"):
            secrets[name.removeprefix("airflow-connections-")] = value
    done = subprocess.run(
        [sys.executable, "-c", CONNECTIONS], input=json.dumps(secrets), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["airflow_api"] == ["airflow_api", "https://airflow.example", None, {"gcp_conn_id": "accelerator_reader"}]
    reader = "accelerator-reader@my-project.iam.gserviceaccount.com"
    assert found["accelerator_reader"] == ["google_cloud_platform", None, None, {"impersonation_chain": reader}]
    client, tenant = EVERYTHING["POWER_BI_CLIENT_ID"], EVERYTHING["POWER_BI_TENANT_ID"]
    assert found["powerbi_default"] == ["powerbi", None, client, {"tenant_id": tenant, "auth": "google_federation"}]


def test_the_page_names_files_that_there_are() -> None:
    named = set(re.findall(r"deploy/composer[\w./-]*\w", PAGE))
    assert len(named) >= 2
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    for file in [*KIT.glob("terraform/*.example"), *KIT.glob("gcloud/*.example.sh"), SCRIPTS / "setup.sh"]:
        assert file.name in PAGE, file.name


def test_the_page_names_outputs_that_there_are() -> None:
    named = set(re.findall(r"`((?:next_\d|watch)_\w+)`", PAGE))
    assert named == {name for name in blocks("output") if name.startswith(("next_", "watch_"))}


def test_the_page_names_variables_that_there_are() -> None:
    variables = set(re.findall(r"variable `(\w+)`", PAGE))
    assert variables
    assert variables <= blocks("variable").keys()


def test_no_file_of_the_kit_names_this_machine() -> None:
    texts = {
        path: path.read_text(encoding="utf-8") for path in KIT.rglob("*") if path.is_file() and ".terraform" not in path.parts
    }
    assert len(texts) > 10
    assert [path for path, text in texts.items() if re.search(r"registry\.|/opt/|/root/", text)] == []
    assert Path(SCRIPTS / "setup.sh").stat().st_mode & 0o111
