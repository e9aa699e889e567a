"""The example files belong together: what the workflows ask for is what the emulators' scenario has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dag_factory.definition_file import parse
from dag_factory.validation import validate
from provider.input_files import read_file

EXAMPLES = Path(__file__).parents[3] / "examples"


def _configs(task_type: str) -> list[dict[str, Any]]:
    rows = parse(read_file(EXAMPLES / "workflows.yaml")).rows
    return [row["config"] for row in rows.tasks if row["task_type"] == task_type]


def test_workflows_are_valid() -> None:
    parsed = parse(read_file(EXAMPLES / "workflows.yaml"))
    validated = validate(parsed.rows)
    assert [*parsed.problems, *validated.problems] == []
    assert {name: len(workflow.tasks) for name, workflow in validated.workflows.items()} == {
        "calendar": 1,
        "daily_sales": 3,
        "stock_levels": 3,
    }


def test_every_dataform_task_has_its_actions_in_the_scenario() -> None:
    repositories = read_file(EXAMPLES / "emulators.yaml")["dataform"]["repositories"]
    for config in _configs("dataform"):
        parent = f"projects/{config['project_id']}/locations/{config['region']}"
        actions = repositories[f"{parent}/repositories/{config['repository_id']}"]["actions"]
        (tag,) = config["included_tags"]
        assert [action for action in actions if tag in action["tags"]], tag


def test_every_refresh_has_its_model_in_the_scenario() -> None:
    workspaces = read_file(EXAMPLES / "emulators.yaml")["powerbi"]["workspaces"]
    models = {(workspace["name"], model["name"]) for workspace in workspaces for model in workspace["semantic_models"]}
    asked = {(config["workspace"], config["semantic_model"]) for config in _configs("power_bi_refresh")}
    assert asked == {("Sales", "Daily Sales"), ("Inventory", "Stock Levels")}
    assert asked <= models
