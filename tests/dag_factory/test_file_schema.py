"""The JSON Schema of a file says what the checks of a file say."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dag_factory import definition_file
from dag_factory.file_schema import config_schema, file_schema
from dag_factory.task_types.registry import task_types
from dag_factory.validation import validate
from provider import strict_yaml
from provider.exceptions import AcceleratorError
from tests.dag_factory.definitions import good_rows

ROOT = Path(__file__).parents[2]
SCHEMA = file_schema(task_types())
CHECKER = Draft202012Validator(SCHEMA)
EXAMPLE: dict[str, Any] = strict_yaml.load((ROOT / "examples" / "workflows.yaml").read_text())


def errors(data: Any) -> list[str]:
    return [error.message for error in CHECKER.iter_errors(data)]


def test_it_is_a_schema_whose_references_lead_somewhere() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert "title" not in json.dumps(SCHEMA["$defs"]["task"])


@pytest.mark.parametrize(
    "data", [EXAMPLE, definition_file.to_data(good_rows().definitions())], ids=["examples", "rows of the tests"]
)
def test_what_is_right_fits(data: dict[str, Any]) -> None:
    assert errors(data) == []


def _task(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda data: change(data["workflows"][0]["tasks"][0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.update(workflow=[]), "Additional properties are not allowed ('workflow' was unexpected)"),
        (lambda data: data["workflows"][0].update(shedule="0 5 * * *"), "('shedule' was unexpected)"),
        (lambda data: data["workflows"][0].pop("workflow_id"), "'workflow_id' is a required property"),
        (lambda data: data["workflows"][0].update(max_active_batches=0), "0 is less than the minimum of 1"),
        (_task(lambda task: task.update(id="x")), "('id' was unexpected)"),
        (_task(lambda task: task.update(task_type="dataforn")), "'dataforn' is not one of ['bigquery_check'"),
        (_task(lambda task: task.update(retries="2")), "'2' is not valid under any of the given schemas"),
        (_task(lambda task: task.update(depends_on="a")), "'a' is not of type 'array'"),
        (_task(lambda task: task["config"].update(repositry="x")), "('repositry' was unexpected)"),
        (_task(lambda task: task["config"].pop("project_id")), "'project_id' is a required property"),
        (_task(lambda task: task.update(workflow_id="x")), "('workflow_id' was unexpected)"),
    ],
)
def test_a_mistake_in_keys_types_or_bounds_does_not_fit_and_is_none_for_the_checks_either(
    change: Callable[[dict[str, Any]], object], said: str
) -> None:
    data = copy.deepcopy(EXAMPLE)
    change(data)

    assert any(said in error for error in errors(data)), errors(data)
    parsed = definition_file.parse(data)
    assert parsed.problems or validate(parsed.rows).problems


def test_one_text_stands_for_a_list_of_one() -> None:
    data = copy.deepcopy(EXAMPLE)
    data["workflows"][0]["params"] = [{"name": "a", "type": "string"}, {"name": "b", "type": ["integer", "null"]}]
    data["workflows"][0]["tasks"][0]["config"]["included_tags"] = "orders"
    assert errors(data) == []


def test_the_config_of_one_type() -> None:
    checker = Draft202012Validator(config_schema(task_types(), "external"))
    assert list(checker.iter_errors({})) == []
    assert list(checker.iter_errors({"nothing": 1}))
    with pytest.raises(AcceleratorError, match="there is no task type 'dataforn'; did you mean dataform"):
        config_schema(task_types(), "dataforn")


def test_the_one_beside_the_examples_is_the_one_of_the_code() -> None:
    """After a change: ``accelerator schema > examples/workflows.schema.json``."""
    assert json.loads((ROOT / "examples" / "workflows.schema.json").read_text()) == SCHEMA
    first = (ROOT / "examples" / "workflows.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=workflows.schema.json"
