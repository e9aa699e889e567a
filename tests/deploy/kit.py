"""What several tests of the kit share: its files, the settings of both ways, and a cloud that only notes what it is asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KIT = ROOT / "deploy" / "composer"
TERRAFORM = KIT / "terraform"
SCRIPTS = KIT / "gcloud"

#: Answers what the scripts read, and notes the rest: a line of JSON for each call.
_FAKE = """
import json, os, sys
arguments, folder = sys.argv[2:], os.environ["FAKE_CLOUD"]
flags = [part for part in arguments if part.startswith("/dev/fd/") or part == "-"]
given = "".join((sys.stdin if flag == "-" else open(flag)).read() for flag in flags)
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps([sys.argv[1], arguments, given]) + "\\n")
line = " ".join(arguments)
known = {"projectNumber": "123456789", "uniqueId": "2000", "airflowUri": "https://airflow.example",
         "dagGcsPrefix": "gs://made/dags", "softwareConfig.airflow": os.environ["FAKE_OVERRIDES"],
         "softwareConfig.pypi": os.environ["FAKE_PACKAGES"], "ipAddresses": "10.0.0.5", "service-agent": "service-123456789@gs"}
for part, answer in known.items():
    if part in line:
        print(answer)
        sys.exit(0)
if "access" in arguments and os.environ["FAKE_URL"] and "airflow-config-accelerator-url" in arguments:
    print(os.environ["FAKE_URL"], end="")
if "describe" in arguments and os.environ["FAKE_THERE"] == "0":
    sys.exit(1)
if "notifications list" in line and os.environ["FAKE_THERE"] == "1":
    print("//pubsub.googleapis.com/projects/my-project/topics/task-batches")
"""


@dataclass
class Outcome:
    """
    What a run of the scripts did.

    :param calls: program and arguments of each command, in order.
    :param given: what commands were given by files or standard input.
    """

    code: int
    out: str
    err: str
    calls: list[list[str]] = field(default_factory=list)
    given: list[str] = field(default_factory=list)

    def commands(self, *words: str) -> list[list[str]]:
        """Return the calls that have all these words."""
        return [call for call in self.calls if set(words) <= set(call)]


def run_scripts(
    folder: Path,
    *steps: str,
    there: bool = False,
    has: tuple[str, str] = ("", ""),
    stored: str = "",
    password: str = "0123456789abcdef",
    **settings: str,
) -> Outcome:
    """
    Run ``setup.sh`` in a copy of the scripts, against a cloud that notes what it is asked.

    :param folder: an empty one, of the test's own.
    :param there: whether everything is there already.
    :param has: overrides and packages of the environment, in gcloud's words.
    :param stored: the URL that Secret Manager has.
    :param settings: what is other than in the example.
    """
    kit = folder / "kit"
    shutil.copytree(SCRIPTS, kit, dirs_exist_ok=True)
    lines = [f"{name}={value!r}" for name, value in settings.items()]
    (kit / "settings.sh").write_text("\n".join([(SCRIPTS / "settings.example.sh").read_text(), *lines, ""]), encoding="utf-8")
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (folder / "fake.py").write_text(_FAKE, encoding="utf-8")
    for name in ("gcloud", "bq"):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {folder}/fake.py {name} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    surroundings = {"PATH": f"{programs}:{os.environ['PATH']}", "FAKE_CLOUD": str(folder), "FAKE_THERE": "1" if there else "0"}
    surroundings |= {"FAKE_OVERRIDES": has[0], "FAKE_PACKAGES": has[1], "FAKE_URL": stored}
    done = subprocess.run(
        ["bash", str(kit / "setup.sh"), *steps],
        env={**surroundings, "DATABASE_PASSWORD": password},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    noted = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
    return Outcome(
        done.returncode,
        done.stdout,
        done.stderr,
        [[program, *arguments] for program, arguments, _ in noted],
        [given for _, _, given in noted if given],
    )


#: Settings with which the scripts do everything that they can.
EVERYTHING: dict[str, Any] = {
    "LANDING_BUCKET": "landing",
    "LANDING_PREFIX": "incoming/",
    "ARCHIVE_BUCKET": "archive",
    "DATASETS_READ": "raw",
    "DATASETS_WRITTEN": "sales marts",
    "AIRFLOW_REGISTRATION_ROLE": "Viewer",
    "ACCELERATOR_OPTIONS": "outage_wait_hours=6 burst_helpers=0",
    "POWER_BI_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
    "POWER_BI_TENANT_ID": "22222222-2222-2222-2222-222222222222",
}


def terraform_text() -> str:
    """Return all of the module, without its tests."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(TERRAFORM.glob("*.tf")))


def script_text() -> str:
    """Return all of the scripts."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(SCRIPTS.glob("*.sh")))


def blocks(kind: str) -> dict[str, str]:
    """Return the blocks of one kind of the module, such as ``variable``, by their names."""
    found = re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}$', terraform_text(), re.MULTILINE | re.DOTALL)
    return dict(found)
