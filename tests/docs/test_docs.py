"""The documentation against the code: what it names exists, what exists is named."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
import yaml

from dag_factory.specs import DefaultArgs, ParamSpec, TaskSpec, WorkflowOptions
from dag_factory.task_types import task_types
from provider import get_provider_info, settings
from provider.cli.main import build_parser
from provider.emulators.rules import Rule

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


def blocks(kind: str) -> list[str]:
    return [block for text in TEXT.values() for block in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)]


def commands() -> list[str]:
    """Return every `accelerator …` command of the console blocks."""
    lines = [line for block in blocks("console") for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.strip() for line in lines for part in line.partition("$ ")[2].split("&&")]
    return [part for part in parts if part.startswith("accelerator ")]


def workflow_examples() -> list[str]:
    """Return the examples with the task types that are here; the page on types of one's own shows another."""
    foreign = re.compile(r"task_type: (?!dataform|power_bi_refresh|bigquery_load|gcs_archive)")
    return [block for block in blocks("yaml") if "workflows:" in block and not foreign.search(block)]


@pytest.mark.parametrize("block", workflow_examples(), ids=lambda block: block[:40])
def test_every_workflow_example_is_valid(block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert yaml.safe_load(block)["workflows"]
    (tmp_path / "example.yaml").write_text(block, encoding="utf-8")
    from provider.cli.main import console

    assert console(["validate", str(tmp_path / "example.yaml")]) == 0, capsys.readouterr()


@pytest.mark.parametrize("command", commands())
def test_every_command_exists(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argparse.ArgumentParser, "error", lambda _self, message: pytest.fail(f"{command}: {message}"))
    build_parser().parse_args(shlex.split(command, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT[page.name])
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("option", settings.OPTIONS)
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}`" in TEXT["configuration.md"]


def test_every_connection_field_is_documented() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert [name for name in connection["conn-fields"] if f"`{name}`" not in TEXT["configuration.md"]] == []


@pytest.mark.parametrize("name", ["dataform", "power_bi_refresh", "bigquery_load", "gcs_archive"])
def test_every_key_of_a_task_type_is_documented(name: str) -> None:
    task_type = task_types().get(name)
    assert task_type is not None
    keys = [field.alias or key for key, field in task_type.config_model.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in TEXT["workflows.md"]] == []


@pytest.mark.parametrize("model", [WorkflowOptions, TaskSpec, DefaultArgs, ParamSpec])
def test_every_column_is_documented(model: type[WorkflowOptions]) -> None:
    assert [key for key in model.model_fields if f"`{key}`" not in TEXT["workflows.md"]] == []


def test_the_documented_rule_is_a_rule() -> None:
    (rule,) = re.findall(r"-d '(\{.*?\})'", TEXT["local.md"])
    assert Rule.model_validate_json(rule).http_status == 503
