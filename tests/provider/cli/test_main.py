from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provider.cli import main
from provider.cli.command import Command


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment |= {"AIRFLOW_HOME": str(folder)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder, check=False)


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], ["airflow", "sqlalchemy", "pydantic", "rich", "yaml"]),
        (["db", "upgrade"], ["airflow"]),
        (["validate"], ["airflow", "grpc", "google.cloud.dataform_v1beta1", "rich"]),
        (["batches"], ["airflow", "grpc", "google.cloud.dataform_v1beta1", "rich"]),
        (["import", "{examples}", "--dry-run"], ["airflow", "grpc", "google.cloud.dataform_v1beta1", "rich"]),
    ],
    ids=lambda value: value[0],
)
def test_only_what_a_command_needs_is_imported(
    arguments: list[str], unwanted: list[str], workflows_file: Path, tmp_path: Path
) -> None:
    arguments = [argument.format(examples=workflows_file) for argument in arguments]
    code = f"""
import sys
from provider.cli.main import console
try:
    code = console({arguments!r})
except SystemExit as exit:
    code = exit.code
print(code, [name for name in {unwanted!r} if name in sys.modules], file=sys.stderr)
"""
    result = _python(code, tmp_path)
    assert result.stderr.splitlines()[-1] == "0 []", result.stderr


def test_unknown_command_is_wrong_usage(accelerator) -> None:
    assert accelerator("imprt").code == 2
    assert accelerator("batches", "--limit", "0").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validat"], "accelerator: error: there is no command validat; did you mean validate? commands are: alerts, batches, "),
        (["db", "upgrad"], "accelerator db: error: there is no command upgrad; did you mean upgrade? commands are: "),
        (["\x1b[31m"], r"accelerator: error: there is no command \x1b[31m; commands are: "),
    ],
)
def test_a_command_that_is_mistyped_is_told_a_near_one(accelerator, words: list[str], said: str) -> None:
    result = accelerator(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1].startswith(said)


@pytest.mark.parametrize("words", [[], ["db"]], ids=len)
def test_without_a_command_the_overview_is_shown(accelerator, words: list[str]) -> None:
    overview = accelerator(*words, "--help")
    result = accelerator(*words)
    assert (result.code, result.out, result.err) == (2, "", overview.out)
    assert (overview.code, overview.err) == (0, "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob:s3cr-et@127.0.0.1:1/shop",
        "postgresql://bob@127.0.0.1:1/shop?password=s3cr-et&sslpassword=s3cr-et",
    ],
)
def test_a_database_out_of_reach_names_the_setting_and_no_secret(accelerator, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
    result = accelerator("batches")
    assert result.code == 1
    assert result.err.startswith("error: the application database postgresql://127.0.0.1:1/shop cannot be used: ")
    assert "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN" in result.err
    assert result.err.count("\n") == 1
    assert "s3cr-et" not in result.out + result.err


def test_a_wrong_url_is_one_line(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "bob:s3cr-et@nowhere")
    result = accelerator("validate")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "is not a SQLAlchemy URL" in result.err
    assert "s3cr-et" not in result.err


def test_a_postgresql_database_without_schema_says_what_to_run(
    accelerator, monkeypatch: pytest.MonkeyPatch, postgres_server, tmp_path: Path
) -> None:
    url = postgres_server.create_database(f"cli_{os.getpid()}")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
    result = accelerator("batches")
    assert result.code == 1
    assert "accelerator db upgrade" in result.err

    result = accelerator("db", "current")
    assert (result.code, result.out) == (1, "Schema none; this version needs 0009: run `accelerator db upgrade`.\n")
    assert accelerator("db", "upgrade").out == "Upgraded the application database from schema none to 0009.\n"
    assert accelerator("db", "upgrade").out == "The application database already has schema 0009.\n"
    assert accelerator("db", "current").code == 0
    assert accelerator("batches").out == "No batches.\n"


def test_a_schema_of_a_newer_version_is_left_alone(accelerator, application_database: str) -> None:
    from sqlalchemy import text

    from provider.metadata.engine import write_session

    with write_session() as session:
        session.execute(text("UPDATE accelerator_alembic_version SET version_num = '9999'"))
    for command in (["upgrade"], ["current"], ["downgrade", "--to", "0002", "--yes"]):
        result = accelerator("db", *command)
        assert result.code == 1
        assert "schema 9999, newer than" in result.err


def test_a_downgrade_says_what_is_lost_and_wants_a_yes(accelerator, application_database: str) -> None:
    accelerator("batches")  # makes the embedded database
    result = accelerator("db", "downgrade", "--to", "0002")
    assert result.code == 1
    assert result.out == (
        "Would be lost with schema 0009, on the way back to 0002:\n"
        "- of alert_rules the columns slow_failures and rests_until; no alert is lost with them\n"
        "- the table earlier_names with 0 rows: batches of renamed workflows are found under their earlier names alone\n"
        "- of tasks the column expand, which 0 rows use\n"
        "- of workflows the columns end_date, display_name, doc, max_active_tasks, max_failed_batches, run_timeout_seconds, "
        "after, paused_at_first, which 0 rows use\n"
        "- of tasks the columns retry_backoff, max_retry_delay_seconds, pool_slots, max_active_tis_per_dag, "
        "max_active_tis_per_dagrun, weight_rule, queue, owner, display_name, executor, run_if, task_group, outlets, "
        "depends_on_past, which 0 rows use\n"
        "- the table alert_rules with 0 rows\n"
        "- the table alerts with 0 rows\n"
        "- of task_logs the column remote_job: how to end 0 remote jobs whose runs may be deleted\n"
        "- the views v_batch_summary, v_task_duration, v_what_failed; no row is lost with them\n"
    )
    assert result.err == "error: nothing was changed; keep a backup of the database, then say --yes to lose that.\n"
    assert accelerator("db", "current").code == 0

    result = accelerator("db", "downgrade", "--to", "0002", "--yes")
    assert (result.code, result.out.splitlines()[0]) == (0, "Lost with schema 0009, on the way back to 0002:")
    assert "The application database has schema 0002. Install the version that needs it" in result.out
    assert accelerator("db", "downgrade", "--to", "0002").out == "The application database already has schema 0002.\n"
    assert accelerator("db", "downgrade", "--to", "0003").code == 1
    assert accelerator("db", "upgrade").out == "Upgraded the application database from schema 0002 to 0009.\n"


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttributeError):
        main.run(Command("broken", "", "provider.cli.main:no_such_function"), argparse.Namespace())


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """Write far more than a pipe holds to a reader that closes at once."""
    code = """
import sys
from provider.cli import main, parser
class Loud(parser.Command):
    def load(self):
        return lambda args: [sys.stdout.write("x" * 100 + "\\n") for _ in range(100_000)] and 0
sys.exit(main.run(Loud("loud", "", ""), None))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.slow
def test_airflow_runs_the_same_commands_with_exit_codes(tmp_path: Path, workflows_file: Path) -> None:
    """The real ``airflow`` command, in an Airflow home of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment |= {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def airflow(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "airflow", "accelerator", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

    result = airflow("import", str(workflows_file))
    assert result.returncode == 0, result.stderr
    assert "Workflows: 3 created, 0 changed, 0 unchanged, 0 removed." in result.stdout

    result = airflow("validate", "--output", "json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"workflows": 3, "tasks": 7, "problems": [], "warnings": []}

    result = airflow("logs", "nope")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "error: there is no batch nope; `accelerator batches` lists those there are."

    assert airflow("batches", "--limit", "0").returncode == 2
