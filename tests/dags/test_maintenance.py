"""The DAG of those who have no shell: what a run's params do."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError

from provider.cli.without_shell import change_schema, import_file
from provider.metadata.definitions import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.maintenance import configured_revisions
from provider.metadata.schema import HEAD

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "workflows.yaml"


@pytest.fixture
def folder(application_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of files to import, beside the snapshot."""
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", str(tmp_path / "data"))
    folder = tmp_path / "data" / "import"
    folder.mkdir(parents=True)
    return folder


def stored() -> list[str]:
    with read_session() as session:
        return sorted(workflow["workflow_id"] for workflow in read_definitions(session).workflows)


@pytest.fixture(scope="module")
def dag() -> DAG:
    made: DAG = runpy.run_path(str(ROOT / "dags" / "maintenance.py"))["accelerator_maintenance"]()
    return made


def test_by_itself_it_upgrades_and_nothing_else(dag: DAG, application_database: str) -> None:
    assert dag.task_dict["upgrade_application_database"].downstream_task_ids == {"import_workflows"}
    params = dag.params.dump()
    assert params == {"workflows": None, "prune": False, "downgrade_to": None, "agreed": False}
    assert change_schema(params)["after"] == configured_revisions().found == HEAD
    with pytest.raises(AirflowSkipException):
        import_file(params)


@pytest.mark.parametrize("conf", [{"workflows": 1}, {"prune": "no"}, {"agreed": "false"}, {"downgrade_to": 2}])
def test_what_is_no_param_is_refused_by_airflow(dag: DAG, conf: dict[str, Any]) -> None:
    """A text such as "false" must not count as a yes."""
    ((name, value),) = conf.items()
    with pytest.raises(ParamValidationError, match=f"Invalid input for param {name}"):
        dag.params[name] = value


def test_a_file_is_stored_as_by_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_schema({})
    (folder / "sales.yaml").write_bytes(EXAMPLE.read_bytes())
    import_file({"workflows": "sales.yaml"})
    assert "created" in capsys.readouterr().out
    assert "daily_sales" in stored()


def test_prune_deletes_what_the_file_does_not_have(folder: Path) -> None:
    change_schema({})
    (folder / "sales.yaml").write_bytes(EXAMPLE.read_bytes())
    import_file({"workflows": "sales.yaml"})
    (folder / "one.yaml").write_text("workflows: [{workflow_id: one, tasks: [{task_id: x, task_type: external}]}]\n")
    import_file({"workflows": "one.yaml"})
    assert len(stored()) > 1
    import_file({"workflows": "one.yaml", "prune": True})
    assert stored() == ["one"]


@pytest.mark.parametrize("content", ["workflows: [{workflow_id: a, tasks: [{task_id: x}]}]", "workflows: [", None])
def test_a_bad_file_stores_nothing_and_fails(folder: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    change_schema({})
    if content is not None:
        (folder / "sales.yaml").write_text(content)
    with pytest.raises(AirflowFailException, match=r"sales\.yaml was not imported, nothing was stored"):
        import_file({"workflows": "sales.yaml"})
    assert "error: " in capsys.readouterr().err
    assert stored() == []


@pytest.mark.parametrize(
    "name", ["../sales.yaml", "/etc/sales.yaml", "a/b.yaml", ".hidden.yaml", "sales.txt", "", "sales.yaml\n", "--prune", "~.yaml"]
)
def test_who_may_trigger_a_run_chooses_no_other_folder(folder: Path, name: str) -> None:
    (folder.parent / "sales.yaml").write_bytes(EXAMPLE.read_bytes())
    with pytest.raises(AirflowFailException, match="give the name of a"):
        import_file({"workflows": name})


def test_a_downgrade_without_a_yes_fails_and_says_what_would_be_lost(application_database: str) -> None:
    change_schema({})
    with pytest.raises(AirflowFailException, match="would be lost: the views v_batch_summary.*agreed = true"):
        change_schema({"downgrade_to": "0002"})
    assert configured_revisions().found == HEAD


def test_an_agreed_downgrade_is_made_once(application_database: str) -> None:
    change_schema({})
    params = {"downgrade_to": "0002", "agreed": True}
    assert change_schema(params) == {"before": HEAD, "after": "0002"}
    assert change_schema({"downgrade_to": "0002"}) == {"before": "0002", "after": "0002"}
    assert configured_revisions().found == "0002"
    with pytest.raises(AirflowFailException, match="do not go together"):
        import_file({"workflows": "sales.yaml", **params})
