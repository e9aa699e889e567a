"""The documentation against the code: what it names exists, what exists is named."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dag_factory.definition_file import parse
from dag_factory.specs import ParamSpec, TaskOptions, TaskSpec, WorkflowOptions
from dag_factory.task_types import templated_keys
from dag_factory.task_types.registry import BUILT_IN, task_types
from dag_factory.validation import validate
from provider import get_provider_info, messages, settings
from provider.cli.main import build_parser
from provider.emulators import scenario
from provider.emulators.rules import Rule
from provider.metadata import engine, inbox, tables

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


def blocks(kind: str) -> list[str]:
    return [block for text in TEXT.values() for block in re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)]


def commands() -> list[str]:
    """Return every `accelerator …` command of the console blocks."""
    lines = [line for block in blocks("console") for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.strip() for line in lines for part in line.partition("$ ")[2].split("&&")]
    return [part.partition(" > ")[0] for part in parts if part.startswith("accelerator ")]


def workflow_examples() -> list[str]:
    """Return the examples with the task types that are here; the page on types of one's own shows another."""
    return [block for block in blocks("yaml") if "workflows:" in block and "task_type: webhook" not in block]


@pytest.mark.parametrize("block", workflow_examples(), ids=lambda block: block[:40])
def test_every_workflow_example_is_valid(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_OPERATORS", "airflow.providers.*")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__ALLOWED_CALLABLES", "acme_etl.jobs.*")
    (module,) = [block for block in blocks("python") if block.startswith("# acme_etl/jobs.py")]
    (tmp_path / "acme_etl").mkdir()
    (tmp_path / "acme_etl" / "jobs.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
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
    fields = [name for connection in get_provider_info()["connection-types"] for name in connection["conn-fields"]]
    assert [name for name in fields if f"`{name}`" not in TEXT["configuration.md"]] == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_key_of_a_task_type_is_documented(name: str) -> None:
    task_type = task_types().get(name)
    assert task_type is not None
    keys = [field.alias or key for key, field in task_type.config_model.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in TEXT["workflows.md"]] == []


@pytest.mark.parametrize("model", [WorkflowOptions, TaskSpec, TaskOptions, ParamSpec])
def test_every_column_is_documented(model: type[WorkflowOptions]) -> None:
    assert [key for key in model.model_fields if f"`{key}`" not in TEXT["workflows.md"]] == []


def test_the_documented_rule_is_a_rule() -> None:
    (rule,) = re.findall(r"-d '(\{.*?\})'", TEXT["local.md"])
    assert Rule.model_validate_json(rule).http_status == 503


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, made by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", TEXT[page], flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_is_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", TEXT[page.name])
    found = [(Path(target).name or page.name, anchor) for target, anchor in targets]
    assert [target for target in found if target[1] not in anchors(target[0])] == []


@pytest.mark.parametrize("table", ["task_batches", "task_logs", "batch_requests"])
def test_every_column_of_what_ran_is_documented(table: str) -> None:
    text = TEXT["tasklog.md"].partition("## Columns")[2].partition(f"`{table}`, key")[2].partition("`, key `")[0]
    assert [column.name for column in tables.Base.metadata.tables[table].columns if f"`{column.name}`" not in text] == []


def test_there_are_queries_to_try() -> None:
    assert len(blocks("sql")) >= 5


@pytest.mark.parametrize("query", blocks("sql") or ["none"], ids=lambda query: " ".join(query.split())[:50])
@pytest.mark.usefixtures("application_database")
def test_every_query_runs_on_both_databases(query: str) -> None:
    with engine.read_session() as session:
        assert session.connection().exec_driver_sql(query).fetchall() == []


@pytest.mark.usefixtures("application_database")
def test_who_looks_for_a_message_finds_one_that_could_not_be_read() -> None:
    (query,) = [query for query in blocks("sql") if "OR task_id = 'stg_orders'" in query]
    unread = messages.read(b'{"task_id": "stg_orders", "batch_id": "Batch_20240316_001", "scope": "all"}', {}, "1", None)
    with engine.write_session() as session:
        inbox.receive(session, "projects/p/subscriptions/sub", [unread])
    with engine.read_session() as session:
        ((_, message_id, state, *_),) = session.connection().exec_driver_sql(query).fetchall()
    assert (message_id, state) == ("1", "rejected")


SCENARIO_MODELS = [model for model in vars(scenario).values() if isinstance(model, type) and issubclass(model, scenario.Section)]


@pytest.mark.parametrize("model", [*SCENARIO_MODELS, Rule])
def test_every_key_of_a_scenario_is_documented(model: type[scenario.Section]) -> None:
    keys = [field.alias or key for key, field in model.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in TEXT["local.md"]] == []


def test_the_documented_scenario_is_one() -> None:
    (block,) = [block for block in blocks("yaml") if "auto_create:" in block]
    assert scenario.Scenario.model_validate(yaml.safe_load(block)).rules


def test_the_task_type_of_ones_own_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in [*blocks("python"), *blocks("toml")]:
        name = block.splitlines()[0].removeprefix("# ")
        if name.startswith(("acme_tasks/", "pyproject")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(block, encoding="utf-8")
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((group, points),) = project["entry-points"].items()
    installed = tmp_path / "acme_tasks-1.0.0.dist-info"  # what pip makes of it
    installed.mkdir()
    (installed / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (installed / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    (example,) = [block for block in blocks("yaml") if "task_type: webhook" in block]
    validated = validate(parse(yaml.safe_load(example)).rows)
    assert validated.problems == []
    (task,) = validated.workflows["notify"].tasks
    task_type = task_types().get("webhook")
    assert task_type is not None
    made, arguments = task_type.operator(task.config)
    operator: Any = made(task_id=task.task_id, **arguments)
    assert operator.payload["batch"] == "{{ run_id }}"
    assert set(operator.template_fields) == templated_keys(task_type.config_model)


def test_every_message_is_accepted() -> None:
    found = [*blocks("json"), *re.findall(r"echo '(\{.*?\})'", "".join(TEXT.values()))]
    found = [block for block in found if "task_id" in block]
    assert len(found) >= 4
    for message in found:
        read = messages.read(message.encode(), {}, "1", None)
        assert (read.task_id in ("stg_orders", "stg_stock"), read.problem) == (True, None)


SCHEMA = json.loads((ROOT / "docs/message.schema.json").read_text(encoding="utf-8"))


def test_the_schema_for_publishers_is_the_one_of_the_code() -> None:
    """After a change of the messages: ``python -m provider.messages > docs/message.schema.json``."""
    assert messages.json_schema() == SCHEMA


@pytest.mark.parametrize(
    ("message", "valid"),
    [
        ({"task_id": "a"}, True),
        ({"task_id": "a", "batch_id": "Batch_1", "scope": "task", "params": {"x": [1]}, "sender": "crm"}, True),
        ({"task_id": "a", "batch_id": "b", "previous_task_id": "a", "status": "SUCCESS"}, True),
        ({"previous_task_id": "a", "batch_id": "b", "status": "ERROR", "error": "broken"}, True),
        ({}, False),
        ({"task_id": 1}, False),
        ({"task_id": "a", "batch_id": "x/clear"}, False),
        ({"task_id": "a", "batch_id": "a..b"}, False),
        ({"task_id": "a", "batch_id": "manual__1"}, False),
        ({"task_id": "a", "scope": "all"}, False),
        ({"previous_task_id": "a", "status": "SUCCESS"}, False),
        ({"previous_task_id": "a", "batch_id": "b", "status": "DONE"}, False),
    ],
)
def test_the_schema_says_what_the_reader_says(message: dict[str, Any], valid: bool) -> None:
    from jsonschema import Draft202012Validator

    assert Draft202012Validator(SCHEMA).is_valid(message) is valid
    assert (messages.read(json.dumps(message).encode(), {}, "1", None).problem is None) is valid
