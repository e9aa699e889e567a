"""Where a setting comes from, and that Airflow and the console script agree on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from provider import settings
from provider.exceptions import ConfigurationError, SettingUnavailableError
from tests.waiting import wait_for

VARIABLE = "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"
URL = "postgresql://me:p%40ss@db/tables"
Config = Callable[[str], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(settings, "_resolved", {})
    return tmp_path


@pytest.fixture
def write(home: Path) -> Config:
    def write(lines: str) -> None:
        (home / "airflow.cfg").write_text(f"[accelerator]\n{lines}\n")

    return write


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A secrets backend with these secrets."""
    import airflow.configuration

    class Backend:
        def get_config(self, key: str) -> str | None:
            return known.get(key)

    known: dict[str, str] = {}
    monkeypatch.setattr(airflow.configuration, "get_custom_secret_backend", Backend)
    return known


def test_without_anything_it_is_the_file_in_airflows_home(home: Path) -> None:
    assert settings.get("sql_alchemy_conn") == f"sqlite:///{home}/accelerator.db"


def test_the_environment_wins_over_the_file(write: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    write("sql_alchemy_conn = sqlite:////file.db")
    assert settings.get("sql_alchemy_conn") == "sqlite:////file.db"
    monkeypatch.setenv(VARIABLE, URL)
    assert settings.get("sql_alchemy_conn") == URL


def test_a_percent_sign_in_the_file_is_doubled_as_everywhere_in_airflow(write: Config) -> None:
    write("sql_alchemy_conn = postgresql://me:p%%40ss@db/tables")
    assert settings.get("sql_alchemy_conn") == URL


def test_a_file_that_cannot_be_read_is_an_error_without_the_password(write: Config) -> None:
    write("sql_alchemy_conn = postgresql://me:hunter2%!@db/tables")
    with pytest.raises(ConfigurationError, match=r"airflow\.cfg cannot be read") as raised:
        settings.get("sql_alchemy_conn")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("airflow_wrote_the_default", [False, True])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_command_gives_the_url_without_its_line_break(
    home: Path, write: Config, monkeypatch: pytest.MonkeyPatch, place: str, airflow_wrote_the_default: bool
) -> None:
    default = f"sql_alchemy_conn = sqlite:///{home}/accelerator.db\n" if airflow_wrote_the_default else ""
    write(default + (f"sql_alchemy_conn_cmd = echo {URL.replace('%', '%%')}" if place == "file" else ""))
    if place == "environment":
        monkeypatch.setenv(f"{VARIABLE}_CMD", f"echo {URL}")
    assert settings.get("sql_alchemy_conn") == URL


def test_a_command_that_fails_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{VARIABLE}_CMD", "false")
    with pytest.raises(ConfigurationError, match=f"{VARIABLE}_CMD ended with exit code 1"):
        settings.get("sql_alchemy_conn")


@pytest.mark.parametrize("airflow_wrote_the_default", [False, True])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_secret_is_found_or_an_error_and_never_the_embedded_database(
    home: Path,
    write: Config,
    monkeypatch: pytest.MonkeyPatch,
    secrets: dict[str, str],
    place: str,
    airflow_wrote_the_default: bool,
) -> None:
    default = f"sql_alchemy_conn = sqlite:///{home}/accelerator.db\n" if airflow_wrote_the_default else ""
    write(default + ("sql_alchemy_conn_secret = tables-url" if place == "file" else ""))
    if place == "environment":
        monkeypatch.setenv(f"{VARIABLE}_SECRET", "tables-url")
    with pytest.raises(ConfigurationError, match="names a secret that no secrets backend has"):
        settings.get("sql_alchemy_conn")
    secrets["tables-url"] = f"{URL}\n"
    assert settings.get("sql_alchemy_conn") == URL


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_a_number_that_is_none_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL", value)
    with pytest.raises(ConfigurationError, match="reconcile_interval must be a number above 0"):
        settings.get_float("reconcile_interval")


@pytest.mark.parametrize(("value", "count"), [("0", 0), ("3", 3), (" 12 ", 12)])
def test_a_count_is_a_whole_number(home: Path, monkeypatch: pytest.MonkeyPatch, value: str, count: int) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__BURST_HELPERS", value)
    assert settings.get_count("burst_helpers") == count


@pytest.mark.parametrize("value", ["", "-1", "1.5", "two", "²", "inf"])
def test_what_is_no_count_is_named(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__BURST_HELPERS", value)
    with pytest.raises(ConfigurationError, match=r"\[accelerator\] burst_helpers must be a whole number, 0 or more"):
        settings.get_count("burst_helpers")


@pytest.mark.parametrize("executor", ["CeleryExecutor", "LocalExecutor,KubernetesExecutor", "team:my.pkg.EdgeExecutor"])
def test_the_embedded_database_is_refused_across_machines(home: Path, monkeypatch: pytest.MonkeyPatch, executor: str) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    with pytest.raises(ConfigurationError, match=VARIABLE):
        settings.refuse_embedded_database_across_machines()
    monkeypatch.setenv(VARIABLE, URL)
    settings.refuse_embedded_database_across_machines()


@pytest.fixture
def bucket(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a Cloud Composer environment."""
    folder = home / "gcs" / "data"
    folder.mkdir(parents=True)
    monkeypatch.setattr(settings, "COMPOSER_DATA", folder)
    return folder


@pytest.mark.parametrize("airflow_wrote_the_default", [False, True])
def test_on_composer_the_snapshot_is_in_the_bucket(
    home: Path, bucket: Path, write: Config, airflow_wrote_the_default: bool
) -> None:
    write(f"snapshot_dir = {home}/accelerator" if airflow_wrote_the_default else "")
    assert settings.get("snapshot_dir") == f"{bucket}/accelerator"
    assert settings.get("sql_alchemy_conn") == f"sqlite:///{home}/accelerator.db"


def test_on_composer_too_a_configured_folder_counts(home: Path, bucket: Path, write: Config) -> None:
    write("snapshot_dir = /mnt/shared")
    assert settings.get("snapshot_dir") == "/mnt/shared"


@pytest.mark.parametrize("what", ["no folder", "a file", "read only"])
def test_without_a_bucket_to_write_to_the_snapshot_is_in_airflows_home(
    home: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "read only":  # root, as whom tests may run, could write all the same
        monkeypatch.setattr(os, "access", lambda path, mode: path != bucket or not mode & os.W_OK)
    else:
        bucket.rmdir()
        if what == "a file":
            bucket.write_text("")
    assert settings.get("snapshot_dir") == f"{home}/accelerator"


def test_the_bucket_is_where_composer_says_it_is() -> None:
    assert str(settings.COMPOSER_DATA / "accelerator") == settings.OPTIONS["snapshot_dir"]["example"]


READ_BOTH = """
import json
from provider import settings
before = {option: settings.get(option) for option in settings.OPTIONS}
from airflow.configuration import conf
print(json.dumps([before, {option: settings.get(option) for option in settings.OPTIONS},
                  {option: conf.get("accelerator", option).strip() for option in settings.OPTIONS}]))
"""


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {VARIABLE: "sqlite:///$AIRFLOW_HOME/other.db"},
        {f"{VARIABLE}_CMD": "echo sqlite:////tmp/by-command.db"},
        {"AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "7"},
    ],
    ids=["defaults", "environment", "command", "number"],
)
def test_airflow_and_the_console_script_read_the_same(home: Path, extra: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", READ_BOTH], env={**os.environ, **extra}, capture_output=True, text=True, check=True
    )
    alone: dict[str, Any]
    alone, inside, airflows = json.loads(result.stdout.splitlines()[-1])
    assert alone == inside == airflows


# Secrets that come from elsewhere.


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A command that gives the URL, written anew as a test likes; the path is of a file with a line for each call."""
    script, calls = home / "url.sh", home / "calls"

    def write(lines: str) -> Path:
        script.write_text(f"#!/bin/sh\necho called >> {calls}\n{lines}\n")
        script.chmod(0o755)
        return calls

    monkeypatch.setenv(f"{VARIABLE}_CMD", str(script))
    return write


def test_a_command_runs_once_for_a_process(command: Callable[[str], Path]) -> None:
    calls = command(f"echo {URL}")
    threads = [threading.Thread(target=settings.get, args=("sql_alchemy_conn",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [settings.get("sql_alchemy_conn") for _ in range(20)] == [URL] * 20
    assert calls.read_text().split() == ["called"]


def test_a_command_that_failed_runs_again(command: Callable[[str], Path]) -> None:
    command("exit 3")
    with pytest.raises(SettingUnavailableError, match="exit code 3"):
        settings.get("sql_alchemy_conn")
    calls = command(f"echo {URL}")
    assert settings.get("sql_alchemy_conn") == URL
    assert calls.read_text().split() == ["called"] * 2


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(
    command: Callable[[str], Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SECRET_SECONDS", 1.0)
    command(f"sleep 1000 &\necho $! > {home}/child\nwait")
    with pytest.raises(SettingUnavailableError, match="nothing within 1 s"):
        settings.get("sql_alchemy_conn")
    child = int((home / "child").read_text())
    assert wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", 30)


@pytest.mark.parametrize("fails", ["hangs", "raises"])
def test_a_secrets_backend_that_does_not_answer_is_asked_again(home: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.setattr(settings, "SECRET_SECONDS", 0.2)
    monkeypatch.setenv(f"{VARIABLE}_SECRET", "tables-url")
    never = threading.Event()
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        if len(asked) > 1:
            return URL
        if fails == "raises":
            raise ConnectionError(f"no answer for {URL}")
        never.wait()
        return ""

    monkeypatch.setattr(settings, "from_secrets_backend", ask)
    with pytest.raises(SettingUnavailableError, match=f"{VARIABLE}_SECRET") as raised:
        settings.get("sql_alchemy_conn")
    assert URL not in "".join(traceback.format_exception(raised.value))
    assert [settings.get("sql_alchemy_conn") for _ in range(3)] == [URL] * 3
    assert len(asked) == 2
    never.set()
