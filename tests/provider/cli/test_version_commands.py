"""Versions of definitions: what imports leave, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from provider.metadata import versions
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session, write_session


def _task(task_id: str, *parents: str, **columns: Any) -> dict[str, Any]:
    config = {"workspace": "Sales", "semantic_model": "Daily Sales"}
    return {"task_id": task_id, "task_type": "power_bi_refresh", "config": config, "depends_on": list(parents), **columns}


@pytest.fixture
def store(accelerator, tmp_path: Path):
    """Import workflows, given as workflow id → tasks."""

    def store(*options: str, **workflows: list[dict[str, Any]]) -> None:
        path = tmp_path / "workflows.yaml"
        data = [{"workflow_id": workflow_id, "tasks": tasks} for workflow_id, tasks in workflows.items()]
        path.write_text(yaml.safe_dump({"workflows": data}))
        result = accelerator("import", *options, path)
        assert result.code == 0, result.out + result.err

    return store


def _versions(accelerator, workflow_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(accelerator("history", workflow_id, "--output", "json").out)
    return found


def _stored() -> Any:
    with read_session() as session:
        return read_definitions(session)


def test_every_import_leaves_a_version_and_a_rollback_is_one(accelerator, application_database: str, store) -> None:
    store(one=[_task("a"), _task("b", "a")], two=[_task("x")])
    before = _stored()
    store(one=[_task("a")], two=[_task("x")])
    result = accelerator("rollback", "one")

    assert result.code == 0, result.err
    assert "+ tasks row b" in result.out
    assert _stored() == before
    found = _versions(accelerator, "one")
    tasks = [(version["action"], len(version["rows"]["tasks"])) for version in found]
    assert tasks == [("rollback", 2), ("import", 1), ("import", 2)]
    assert all("@" in version["created_by"] and version["created_at"].endswith("Z") for version in found)
    assert [version["action"] for version in _versions(accelerator, "two")] == ["import"]

    assert accelerator("rollback", "one", "--to", str(found[1]["version"])).code == 0
    assert [row["task_id"] for row in _stored().tasks] == ["a", "x"]
    heading, *lines = accelerator("history", "one").out.splitlines()
    assert (heading.split()[0], len(lines)) == ("version", 4)


def test_what_came_by_sql_is_a_version_once_an_import_replaces_it(accelerator, application_database: str, store) -> None:
    store(one=[_task("a")])
    with write_session() as session:
        session.execute(text("UPDATE tasks SET retries = 7"))
    store(one=[_task("a", retries=1)])

    assert [version["action"] for version in _versions(accelerator, "one")] == ["import", "found", "import"]
    accelerator("rollback", "one")
    assert [row["retries"] for row in _stored().tasks] == [7]


def test_a_deleted_workflow_comes_back(accelerator, application_database: str, store) -> None:
    store(one=[_task("a")], two=[_task("x"), _task("y", "x")])
    before = _stored()
    store("--prune", one=[_task("a")])
    assert [version["action"] for version in _versions(accelerator, "two")] == ["delete", "import"]

    assert accelerator("rollback", "two").code == 0
    assert _stored() == before


def test_a_rollback_leaves_what_is_switched_off(accelerator, application_database: str, store) -> None:
    store(one=[_task("a")])
    store(one=[_task("a", retries=1)])
    with write_session() as session:
        session.execute(text("UPDATE tasks SET enabled = false"))
    accelerator("rollback", "one", "--to", str(_versions(accelerator, "one")[-1]["version"]))

    assert [(row["enabled"], row["retries"]) for row in _stored().tasks] == [(False, None)]


def test_so_many_versions_are_kept_and_no_more(
    accelerator, application_database: str, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "KEPT", 3)
    store(two=[_task("x")])
    for retries in range(5):
        store(one=[_task("a", retries=retries)])

    assert [version["rows"]["tasks"][0]["retries"] for version in _versions(accelerator, "one")] == [4, 3, 2]
    assert len(_versions(accelerator, "two")) == 1


def test_what_a_rollback_cannot_do_is_said(accelerator, application_database: str, store) -> None:
    assert accelerator("history", "one").err.startswith("error: there is no version of a workflow one; ")
    store(one=[_task("a")])
    assert accelerator("rollback", "one").err == "error: no version of one differs from what is stored; nothing was changed.\n"
    assert accelerator("rollback", "one", "--to", "99").err.startswith("error: one has no version 99; there are: 1.")
    store("--prune", two=[_task("a")])
    deleted = _versions(accelerator, "one")[0]["version"]
    assert "deleted the workflow and has no rows" in accelerator("rollback", "one", "--to", str(deleted)).err
    result = accelerator("rollback", "one")
    assert (result.code, "task_id: used already" in result.out) == (1, True)
    assert [row["workflow_id"] for row in _stored().workflows] == ["two"]


def test_a_dry_run_and_an_unchanged_import_leave_no_version(accelerator, embedded_database: str, store) -> None:
    store(one=[_task("a")])
    store(one=[_task("a")])
    store("--dry-run", one=[_task("b")])

    assert len(_versions(accelerator, "one")) == 1
