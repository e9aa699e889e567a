"""The scripts of the kit, run against programs that note what they are asked."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.kit import EVERYTHING, ROOT, SCRIPTS, run_scripts

FILES = [*sorted(SCRIPTS.glob("*.sh")), ROOT / ".ci" / "run"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_shell_sees_nothing_wrong(file: Path) -> None:
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, "-x", file.name], cwd=file.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_shell_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_text("#!/bin/bash\nrm -rf $1/*\n")
    program = Path(sys.executable).with_name("shellcheck")
    assert subprocess.run([program, str(tmp_path / "bad.sh")], capture_output=True, check=False).returncode == 1


def test_everything_is_made_once(tmp_path: Path) -> None:
    first = run_scripts(tmp_path, **EVERYTHING)
    assert (first.code, [line for line in first.err.splitlines() if "error" in line]) == (0, [])
    made = [call for call in first.calls if "create" in call]
    assert len(made) >= 15
    again = run_scripts(tmp_path, there=True, **EVERYTHING)
    assert again.code == 0, again.err
    assert [call for call in again.calls if "create" in call] == []
    assert "there already: " in again.err


def test_an_environment_that_has_all_is_not_changed(tmp_path: Path) -> None:
    """Each change takes Composer minutes, and restarts its processes."""
    first = run_scripts(tmp_path)
    (made,) = first.commands("environments", "create")
    (changed,) = first.commands("--update-airflow-configs")
    (packages,) = first.commands("--update-pypi-package")
    assert made[-2:] == ["--airflow-configs", changed[-1]]
    overrides = ";".join(["core-parallelism=64", *changed[-1].removeprefix("^~^").split("~")])
    package = packages[-1].replace("[", "=[", 1)

    again = run_scripts(tmp_path, there=True, has=(overrides, f"numpy=;{package}"))
    assert again.code == 0, again.err
    assert again.commands("environments", "update") == []
    newer = run_scripts(tmp_path, there=True, has=(overrides, f"{package}.1"), WORKERS_CONCURRENCY="7")
    assert len(newer.commands("environments", "update")) == 2


def test_the_password_is_seen_by_nobody(tmp_path: Path) -> None:
    """Neither in the arguments of a command nor in what is printed."""
    outcome = run_scripts(tmp_path, password="hunter2-hunter2-hunter2", **EVERYTHING)
    assert outcome.code == 0
    assert "hunter2" not in outcome.out + outcome.err + str(outcome.calls)
    assert '--password: "hunter2-hunter2-hunter2"\n' in outcome.given
    assert "postgresql://accelerator:hunter2-hunter2-hunter2@10.0.0.5/accelerator?sslmode=require" in outcome.given


STORED = "postgresql://accelerator:the-stored-password@10.0.0.5/accelerator?sslmode=require"


@pytest.mark.parametrize("password", ["", "the-stored-password"])
def test_a_stored_password_stays(tmp_path: Path, password: str) -> None:
    outcome = run_scripts(tmp_path, there=True, stored=STORED, password=password)
    assert outcome.code == 0, outcome.err
    assert [given for given in outcome.given if "password" in given] == []


def test_another_password_is_refused_since_all_processes_know_the_stored_one(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, there=True, stored=STORED, password="another-password-of-mine")
    assert outcome.code == 1
    assert "another than the stored one. Unset it, or change the database's by ./setup.sh password." in outcome.err
    assert "another-password" not in outcome.err
    assert outcome.given == []


def test_a_password_is_changed_on_purpose(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, "password", there=True, stored=STORED, password="another-password-of-mine")
    assert outcome.code == 0, outcome.err
    assert outcome.given[:2] == [
        '--password: "another-password-of-mine"\n',
        STORED.replace("the-stored-password", "another-password-of-mine"),
    ]
    assert len(outcome.commands("users", "set-password")) == 1
    assert "until they are started anew" in outcome.err


def test_a_user_whose_password_was_never_stored_gets_this_one(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, there=True)
    assert outcome.code == 0, outcome.err
    assert len(outcome.commands("users", "set-password")) == 1
    assert '--password: "0123456789abcdef"\n' in outcome.given


def test_without_any_password_nothing_is_made(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, password="")
    assert outcome.code == 1
    assert "DATABASE_PASSWORD is not set: export" in outcome.err
    assert outcome.commands("create") == []


def test_without_files_and_data_there_are_no_roles_on_them(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, DATAFORM="false")
    assert outcome.code == 0, outcome.err
    assert "roles/storage" not in str(outcome.calls)
    assert "bigquery" not in str(outcome.calls)
    assert "dataform" not in str(outcome.calls)


def test_an_environment_that_is_there_is_only_changed(tmp_path: Path) -> None:
    account = "composer@my-project.iam.gserviceaccount.com"
    outcome = run_scripts(tmp_path, MANAGE_ENVIRONMENT="false", ENVIRONMENT_SERVICE_ACCOUNT=account)
    assert outcome.code == 0, outcome.err
    assert outcome.commands("environments", "create") == []
    assert len(outcome.commands("environments", "update")) == 2
    assert "roles/composer.worker" not in str(outcome.calls)
    (granted,) = [
        call for call in outcome.commands("subscriptions", f"serviceAccount:{account}") if "roles/pubsub.subscriber" in call
    ]
    assert "task-batches-accelerator" in granted


def test_one_step_alone(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, "intake")
    assert outcome.code == 0, outcome.err
    assert outcome.commands("sql") == []
    assert len(outcome.commands("pubsub", "topics", "create")) == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PROJECT_ID": "My Project"}, "PROJECT_ID is 'My Project'; it must be the id of a project"),
        ({"PROJECT_ID": ""}, "PROJECT_ID is ''"),
        ({"IMAGE_VERSION": "composer-2.9.0-airflow-2.10.5"}, "it must be a Composer 3 image with Airflow 3.3"),
        ({"MAX_CONNECTIONS": "37"}, "MAX_CONNECTIONS is 37; this environment needs 38"),
        ({"MANAGE_ENVIRONMENT": "false"}, "needs ENVIRONMENT_SERVICE_ACCOUNT"),
        ({"PUBLISHERS": "allUsers"}, "allUsers is no member"),
        ({"ACCELERATOR_OPTIONS": "sql_alchemy_conn=x"}, "ACCELERATOR_OPTIONS has 'sql_alchemy_conn=x'"),
        ({"POWER_BI_CLIENT_ID": "11111111-1111-1111-1111-111111111111"}, "go together"),
        ({"DATASETS_READ": "raw`; DROP"}, "DATASETS_READ is"),
        ({"password": "p@ss/word:0123456789"}, "DATABASE_PASSWORD has 16 to 100"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_done(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    outcome = run_scripts(tmp_path, **settings)
    assert outcome.code == 1
    assert says in outcome.err
    assert outcome.calls == []


def test_a_step_that_there_is_not_is_named(tmp_path: Path) -> None:
    outcome = run_scripts(tmp_path, "intake", "everything")
    assert (outcome.code, outcome.calls) == (1, [])
    assert "there is no step everything; there are: services accounts" in outcome.err


@cache
def commands_of_gcloud() -> dict[str, Any]:
    """Return the tree of commands and flags that gcloud completes by; skip where gcloud, or the tree, is not here."""
    program = shutil.which("gcloud")
    tree = Path(program).resolve().parents[1] / "data" / "cli" / "gcloud_completions.py" if program else None
    if tree is None or not tree.exists():
        pytest.skip("there is no gcloud on this machine, whose list of commands would be looked at")
    names: dict[str, Any] = {}
    exec(compile(tree.read_text(encoding="utf-8"), str(tree), "exec"), names)
    (found,) = [
        value for name, value in names.items() if isinstance(value, dict) and "commands" in value and name != "__builtins__"
    ]
    return found


def unknown_flags(call: list[str]) -> list[str]:
    """Return what of a gcloud command there is not: a word of the command, or a flag."""
    tree = commands_of_gcloud()
    flags = set(tree["flags"])
    known = tree
    for word in [word for word in call if not word.startswith("-")]:
        if word in known.get("commands", {}):
            known = known["commands"][word]
            flags |= set(known.get("flags", {}))
        elif known.get("commands"):
            return [word]
    given = {word.partition("=")[0] for word in call if word.startswith("--") and word != "--"}
    return sorted(flag for flag in given - flags if f"--{flag.removeprefix('--no-')}" not in flags)


@pytest.mark.parametrize("there", [False, True])
def test_every_command_is_one_of_gclouds(tmp_path: Path, there: bool) -> None:
    commands_of_gcloud()
    outcome = run_scripts(tmp_path, there=there, **EVERYTHING)
    calls = [call[1:] for call in outcome.calls if call[0] == "gcloud"]
    # The project comes first, which is no word of a command.
    assert all(call[:3] == ["--project", "my-project", "--quiet"] for call in calls)
    assert {" ".join(call): found for call in calls if (found := unknown_flags(call[3:]))} == {}


def test_a_command_that_there_is_not_is_seen() -> None:
    assert unknown_flags(["pubsub", "topics", "make", "T"]) == ["make"]
    assert unknown_flags(["pubsub", "topics", "create", "T", "--dead-letter"]) == ["--dead-letter"]


def test_the_next_commands_are_gclouds_too(tmp_path: Path) -> None:
    commands_of_gcloud()
    calls = calls_in(run_scripts(tmp_path, **EVERYTHING).out)
    assert len(calls) >= 3
    assert {" ".join(call): found for call in calls if (found := unknown_flags(call))} == {}


def test_the_commands_of_the_pages_are_gclouds() -> None:
    commands_of_gcloud()
    texts = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    blocks = [block for text in texts for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)]
    blocks += [
        code for text in texts for code in re.findall(r"`(gcloud [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]
    calls = [call for block in blocks for call in calls_in(block.replace("\\\n", " ").replace("$ ", ""))]
    assert len(calls) >= 7
    assert {" ".join(call): found for call in calls if (found := unknown_flags(call))} == {}


def calls_in(text: str) -> list[list[str]]:
    """Return the gcloud commands of a text, without what they hand on to others."""
    parts = [part.strip() for line in text.splitlines() for part in line.split("&&")]
    parts += re.findall(r"\$\((gcloud (?:[^()]|\([^()]*\))+)\)", text)
    return [shlex.split(re.sub(r"\s--\s.*", "", part))[1:] for part in parts if part.startswith("gcloud ")]
