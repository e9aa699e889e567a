"""``accelerator doctor``: what is printed, and with which exit code it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from provider.cli import doctor_commands
from provider.doctor import everything
from provider.doctor.database import token_check
from provider.doctor.examination import Check, State, Verdict, examine, ok
from provider.exceptions import UnseenError

WARNING = Verdict(State.WARNING, "nearly", "Look.")
ERROR = Verdict(State.ERROR, "broken", "Mend it.")


def _same(verdict: Verdict) -> Verdict:
    return verdict


def unseen() -> Verdict:
    raise UnseenError("not from here", "Go there.")


def checks_are(monkeypatch: pytest.MonkeyPatch, *verdicts: Verdict) -> None:
    checks = [Check(f"check {number}", partial(_same, verdict), "-") for number, verdict in enumerate(verdicts)]
    monkeypatch.setattr(everything, "all_checks", lambda _expected: [*checks, Check("away", unseen, "-")])


def test_without_an_error_it_ends_well(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    checks_are(monkeypatch, ok("fine"), WARNING)
    result = accelerator("doctor")
    assert (result.code, result.err) == (0, "")
    assert [line.split()[0] for line in result.out.splitlines()] == ["state", "ok", "warning", "unknown"]
    assert [" ".join(line.split()) for line in result.out.splitlines()[1:]] == [
        "ok check 0 fine -",
        "warning check 1 nearly Look.",
        "unknown away not from here Go there.",
    ]


def test_an_error_is_exit_code_1(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    checks_are(monkeypatch, ok("fine"), ERROR, WARNING)
    assert accelerator("doctor").code == 1


def test_json(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    checks_are(monkeypatch, ok("fine"), ERROR)
    result = accelerator("doctor", "-o", "json")
    assert result.code == 1
    assert json.loads(result.out) == [
        {"check": "check 0", "state": "ok", "seen": "fine", "remedy": ""},
        {"check": "check 1", "state": "error", "seen": "broken", "remedy": "Mend it."},
        {"check": "away", "state": "unknown", "seen": "not from here", "remedy": "Go there."},
    ]


@pytest.mark.usefixtures("application_database")
def test_a_token_is_left_and_looked_for(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    left = accelerator("doctor", "--leave", "t 1")
    monkeypatch.setattr(doctor_commands, "examine_everything", lambda expected: examine([token_check(expected)]))
    assert (left.code, left.out) == (
        0,
        "Left the token in the application database. Elsewhere: `accelerator doctor --expect TOKEN`.\n",
    )
    assert (accelerator("doctor", "--expect", "t 1").code, accelerator("doctor", "--expect", "t 2").code) == (0, 1)


def test_everything_at_once_in_a_process_of_its_own(tmp_path: Path) -> None:
    """All checks together, with nothing there: each is told, and no import of one is in the way of another's."""
    result = _asked({"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    found = {one["check"]: one["state"] for one in json.loads(result.stdout)}
    assert result.returncode == 1
    assert found == {
        "database": "ok",
        "database shared": "ok",
        "schema": "ok",
        "airflow": "unknown",
        "scheduler": "unknown",
        "triggerer": "unknown",
        "dag-processor": "unknown",
        "plugin": "unknown",
        "reconciler": "error",
        "waiting requests": "ok",
        "snapshot folder": "ok",
        "heartbeat of triggerers": "ok",
    }


def test_in_the_environment_of_a_task_that_has_no_database_of_airflow(tmp_path: Path) -> None:
    """Airflow gives its tasks, and the commands that they start, an address that nothing can parse."""
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "airflow-db-not-allowed:///",
        "PATH": "/usr/bin:/bin",
    }
    found = {one["check"]: one for one in json.loads(_asked(environment).stdout)}
    assert (found["airflow"]["state"], found["airflow"]["seen"][:33]) == ("unknown", "there is no Airflow database here")
    assert (found["scheduler"]["state"], found["database"]["state"]) == ("unknown", "ok")


def _asked(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _CONSOLE]
    environment = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3], check=False)


_CONSOLE = "from provider.cli.main import console; raise SystemExit(console(['doctor', '-o', 'json']))"
