"""What is wrong with the definitions: from the last parse where that is seen, else found out here, seldom and bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dag_factory import problem_file, snapshot
from dag_factory.problems import Problem
from dag_factory.snapshot import Snapshot
from provider.metadata.definition_rows import read_definitions
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import read_session, write_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Shard, by_workflow, to_entry
from provider.pages import checked
from provider.pages.checked import Checks, as_shown
from tests.provider.pages.conftest import Pages


@pytest.fixture(autouse=True)
def _snapshot_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", str(tmp_path / "snapshot"))


def store(config: dict[str, Any]) -> None:
    with write_session() as session:
        task = {"task_id": "t", "workflow_id": "daily_sales", "task_type": "external", "config": config}
        replace_workflows(session, DefinitionRows([{"workflow_id": "daily_sales"}], [task], []))


def leave_snapshot() -> None:
    with read_session() as session:
        rows = read_definitions(session)
    snapshot.save(Snapshot({name: to_entry(group) for name, group in by_workflow(rows).items()}), Shard())


@pytest.mark.parametrize(
    ("message", "column", "told"),
    [
        ("config.git_commitish: missing; add it", "config.git_commitish", "missing; add it"),
        ("params[0].name: must be text, not 1", "params[0].name", "must be text, not 1"),
        ("given more than once; keep one", "", "given more than once; keep one"),
        ("A workflow: is odd", "", "A workflow: is odd"),
    ],
)
def test_a_message_in_parts(message: str, column: str, told: str) -> None:
    shown = as_shown(Problem("w", "tasks row t", message))
    assert shown == {"workflow_id": "w", "row": "tasks row t", "column": column, "message": told}


@pytest.mark.usefixtures("application_database")
def test_a_bad_row_is_named_and_the_last_good_definition_is_shown(pages: Pages) -> None:
    store({})
    leave_snapshot()
    found = pages.json("definition", workflow_id="daily_sales")
    assert (found["used"], found["problem_count"], found["last_good"]) == ("current", 0, None)
    store({"nonsense": 1})
    pages_again = pages.json("definition", workflow_id="daily_sales")
    assert pages_again["problem_count"] == 0  # kept for some seconds
    checked_again(pages)
    found = pages.json("definition", workflow_id="daily_sales")
    assert (found["used"], found["problem_count"]) == ("last good", 1)
    assert found["problems"][0]["column"] == "config.nonsense"
    assert "nonsense: 1" in found["rows"]["yaml"]
    assert "nonsense" not in found["last_good"]["yaml"]
    (listed,) = pages.json("definitions")["problems"]
    assert (listed["workflow_id"], listed["row"]) == ("daily_sales", "tasks row t")


def checked_again(pages: Pages) -> None:
    from provider.pages import definitions

    definitions._checks._kept.clear()


@pytest.mark.usefixtures("embedded_database")
def test_without_a_snapshot_nothing_is_said_of_what_airflow_has(pages: Pages) -> None:
    store({})
    found = pages.json("definitions")
    assert [(one["workflow_id"], one["used"], one["tasks"]) for one in found["workflows"]] == [("daily_sales", None, 1)]
    assert found["by_last_parse"] is False


@pytest.mark.usefixtures("embedded_database")
def test_what_the_last_parse_left_is_what_counts(pages: Pages) -> None:
    store({})
    problem_file.save([Problem("daily_sales", "tasks row t", "by a parse"), Problem("", "workflows", "of all")], Shard())
    found = pages.json("definitions")
    assert found["by_last_parse"] is True
    assert {one["message"] for one in found["problems"]} == {"by a parse", "of all"}
    seen = pages.json("definitions", "bob")
    assert (seen["by_last_parse"], seen["problems"]) == (False, [])


@pytest.mark.usefixtures("embedded_database")
def test_problems_of_several_shards_are_read_together() -> None:
    assert problem_file.load_followed() is None
    for number in (1, 2):
        problem_file.save([Problem("w", "tasks row t", f"of {number}")], Shard(number, 2))
    (snapshot.folder() / "problems-odd.json").write_text(json.dumps([["", "", "no"]]))
    found = problem_file.load_followed()
    assert found is not None
    assert [problem.message for problem in found] == ["of 1", "of 2"]


@pytest.mark.usefixtures("embedded_database")
def test_rows_that_stay_the_same_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    from dag_factory.validation import validate

    def counted(rows: DefinitionRows) -> Any:
        looks.append(1)
        return validate(rows)

    monkeypatch.setattr(checked, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(checked, "validate", counted)
    checks = Checks()
    store({"nonsense": 1})
    assert [len(checks.of(None).problems) for _ in range(3)] == [1, 1, 1]
    assert len(looks) == 1
    store({})
    assert checks.of(None).problems == []
    assert len(looks) == 2


@pytest.mark.usefixtures("embedded_database")
def test_too_many_tasks_are_left_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "MOST_TASKS", 0)
    store({"nonsense": 1})
    found = Checks().of(None)
    assert found.problems == []
    assert "`accelerator validate`" in found.unchecked


@pytest.mark.usefixtures("embedded_database")
def test_findings_of_few_sets_of_workflows_are_kept() -> None:
    checks = Checks()
    for number in range(40):
        checks.of(frozenset({str(number)}))
    assert len(checks._kept) == 16
