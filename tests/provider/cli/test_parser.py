from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from provider import get_provider_info
from provider.cli.airflow_group import get_accelerator_cli_commands
from provider.cli.command import Command, Group
from provider.cli.parser import COMMANDS, build_parser


def _commands(entries=COMMANDS, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    for entry in entries:
        if isinstance(entry, Group):
            yield from _commands(entry.commands, (*path, entry.name))
        else:
            yield (*path, entry.name), entry


@pytest.mark.parametrize(
    ("path", "command"), list(_commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_a_handler(path: tuple[str, ...], command: Command) -> None:
    assert callable(command.load())


def test_provider_info_names_the_function_that_airflow_calls() -> None:
    assert get_provider_info()["cli"] == [f"{get_accelerator_cli_commands.__module__}.{get_accelerator_cli_commands.__name__}"]


def test_both_parsers_take_the_same_arguments() -> None:
    """Airflow's own parser builder makes of our group what ``build_parser`` makes of it."""
    from airflow.cli.cli_parser import _add_command

    parser = argparse.ArgumentParser(prog="airflow")
    (group,) = get_accelerator_cli_commands()
    _add_command(parser.add_subparsers(), group)

    lines = [
        ["init", "dags", "--force", "--shards", "4"],
        ["init"],
        ["examples", "here"],
        ["db", "upgrade"],
        ["db", "downgrade", "--to", "0002", "--yes"],
        ["import", "x.yaml", "--dry-run", "--prune"],
        ["diff", "x.yaml", "--prune", "-o", "csv"],
        ["export", "a", "b", "--format", "json"],
        ["validate", "-o", "json"],
        ["convert", "sqlite:///x.db", "--tasks", "T", "--dependencies", "D", "--column", "task_id=code", "--type", "7=dataform"],
        ["graph", "a", "--file", "x.yaml", "--format", "mermaid"],
        ["history", "a", "-o", "json"],
        ["rollback", "a", "--to", "3"],
        ["rename", "a", "b", "--dry-run"],
        ["confirm"],
        ["batches", "--workflow", "a", "--status", "error", "--limit", "3", "--output", "json"],
        ["batches", "--watch"],
        ["logs", "B1", "--workflow", "a"],
        ["why", "t", "B1", "--workflow", "a", "-o", "json"],
        [
            "restart",
            "B1",
            "B2",
            "--workflow",
            "a",
            "--task",
            "t",
            "--task",
            "u",
            "--failed",
            "--limit",
            "3",
            "--dry-run",
            "-o",
            "json",
        ],
        ["pause", "a", "b"],
        ["resume", "a", "b"],
        ["enable", "a", "--task", "t", "--task", "u"],
        ["disable", "a"],
        ["run", "a", "--from", "t", "u", "--param", "x=1", "--param", "y=z", "--batch-id", "B1", "--wait", "--timeout", "60"],
        ["run", "a", "--only", "t", "--dry-run"],
        ["publish", "-", "--topic", "projects/p/topics/t", "--attribute", "a=b", "--attribute", "c=d", "--dry-run"],
        ["cancel", "B1", "B2", "--workflow", "a", "--dry-run"],
        ["requests", "--state", "all", "--workflow", "a", "--limit", "3", "-o", "json"],
        ["reconcile", "--since", "2026-03-01", "--check", "--reader", "api", "-o", "json"],
        ["reconcile", "--watch"],
        ["schema"],
        ["task-types", "--schema", "dataform"],
        ["alerts", "load", "rules.yaml", "--prune", "--dry-run"],
        ["alerts", "list", "--state", "sent", "--workflow", "a", "--limit", "3", "-o", "json"],
        ["doctor", "--expect", "monday", "-o", "json"],
        ["requests", "retry", "17", "18"],
        ["requests", "retry", "19", "--payload", "message.json"],
        ["emulators", "--scenario", "s.yaml", "--env-file", "e", "--pubsub-port", "8085"],
    ]
    for line in lines:
        ours, airflows = vars(build_parser().parse_args(line)), vars(parser.parse_args(["accelerator", *line]))
        del ours["command_definition"]
        for name in ("func", "subcommand"):
            airflows.pop(name)
        assert ours == airflows
    assert {line[0] for line in lines} == {entry.name for entry in COMMANDS}


def test_an_abbreviated_option_is_refused(accelerator) -> None:
    """``--dry`` must not be taken for ``--dry-run`` today and for another option tomorrow."""
    assert accelerator("import", "x.yaml", "--dry").code == 2


def test_the_version_is_the_packages(accelerator) -> None:
    result = accelerator("--version")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"airflow-provider-cloud-accelerator {version('airflow-provider-cloud-accelerator')}\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [("accelerator imp", ["import"]), ("accelerator db up", ["upgrade"]), ("accelerator import --dr", ["--dry-run"])],
)
def test_a_shell_is_told_how_a_word_may_go_on(line: str, offered: list[str], tmp_path: Path) -> None:
    """By the protocol of argcomplete; no database is asked, nothing is printed."""
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    environment = {**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = "postgresql://nobody@127.0.0.1:1/none"
    command = [str(Path(sys.executable).parent / "accelerator")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    assert [word.strip() for word in answer.read_text().splitlines()] == offered
    assert (result.stdout, result.stderr) == ("", "")
