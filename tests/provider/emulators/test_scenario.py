from __future__ import annotations

from pathlib import Path

import pytest

from provider.emulators.scenario import default_scenario, load_scenario
from provider.exceptions import ConfigurationError

EXAMPLE = Path(__file__).parents[3] / "examples" / "emulators.yaml"


def test_the_example_is_usable():
    scenario = load_scenario(EXAMPLE)
    assert {name.rpartition("/")[2] for name in scenario.dataform.repositories} == {"sales", "inventory", "calendar"}
    assert [item.semantic_models[0].name for item in scenario.powerbi.workspaces] == ["Daily Sales", "Stock Levels"]
    assert not scenario.auto_create


def test_without_a_file_everything_is_made_up():
    scenario = default_scenario()
    assert scenario.auto_create
    assert scenario.pubsub.topics[0].subscriptions[0].name == "task-batches-airflow"


REPOSITORY = "dataform: {repositories: {projects/p/locations/l/repositories/r: {actions: [%s]}}}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("powerbi: {workspces: []}", "powerbi.workspces"),
        ("dataform: {repositories: {sales: {}}}", "dataform.repositories.sales"),
        (REPOSITORY % "{target: {name: a}, depends_on: [b]}", "depends on b"),
        (REPOSITORY % "{target: {name: a}}, {target: {name: a}}", "appear twice: a"),
        (REPOSITORY % "{target: {name: a}, depends_on: [b]}, {target: {name: b}, depends_on: [a]}", "circle"),
        (REPOSITORY % "{target: {name: a}, seconds: -1}", "seconds"),
        ("a: [", "line 2, column 1"),
        ("a: 1\na: 2", "line 2, column 1: .*given twice"),
        ("auto_creat: true", "auto_creat: there is no such key here. Correct that; docs/local.md lists the keys"),
        ("[]", "top level"),
        ("rules: [{service: powerbi, fault: status}]", "http_status"),
        ("pubsub: {topics: [{name: t, subscriptions: [{name: s, ack_deadline_seconds: 5}]}]}", "ack_deadline_seconds"),
    ],
)
def test_what_cannot_work_is_named(tmp_path, text, reason):
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=reason) as error:
        load_scenario(file)
    assert str(file) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigurationError, match="The scenario cannot be used: .*none.yaml cannot be read: No such file"):
        load_scenario(tmp_path / "none.yaml")


def test_workflow_config_needs_its_release(tmp_path):
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "dataform: {repositories: {projects/p/locations/l/repositories/r:"
        " {workflow_configs: [{name: daily, release_config: production}]}}}"
    )
    with pytest.raises(ConfigurationError, match="no release config 'production'"):
        load_scenario(file)
