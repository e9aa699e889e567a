"""``accelerator export`` and ``accelerator validate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from dag_factory.specs import TaskSpec, WorkflowOptions
from provider.metadata.engine import write_session
from provider.metadata.tables import Task, Workflow
from tests.provider.cli.workflow_files import stored_rows, task_of, workflow_of


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_export_gives_back_what_import_took(
    accelerator, application_database: str, workflows_file: Path, tmp_path: Path, form: str
) -> None:
    accelerator("import", workflows_file)
    exported = tmp_path / f"exported.{form}"
    exported.write_text(accelerator("export", "--format", form).out)
    assert accelerator("import", exported).out.splitlines()[-1] == "Workflows: 0 created, 0 changed, 3 unchanged, 0 removed."
    before = stored_rows()
    accelerator("import", "--prune", write_single(tmp_path))
    accelerator("import", "--prune", exported)
    assert stored_rows() == before


def write_single(folder: Path) -> Path:
    path = folder / "single.yaml"
    path.write_text(yaml.safe_dump({"workflows": [workflow_of("other", task_of("other_task"))]}))
    return path


def test_export_is_readable(accelerator, embedded_database: str, write) -> None:
    task = task_of("b", "a", doc="# Refresh\n\nEvery day.\n", enabled=False, retries=0)
    accelerator("import", write(workflow_of("one", task_of("a"), task, max_active_batches=1), workflow_of("two", task_of("c"))))
    assert accelerator("export", "one").out == (
        "workflows:\n"
        "- workflow_id: one\n"
        "  max_active_batches: 1\n"
        "  tasks:\n"
        "  - task_id: a\n"
        "    task_type: power_bi_refresh\n"
        "    config:\n"
        "      workspace: Sales\n"
        "      semantic_model: Daily Sales\n"
        "  - task_id: b\n"
        "    task_type: power_bi_refresh\n"
        "    config:\n"
        "      workspace: Sales\n"
        "      semantic_model: Daily Sales\n"
        "    enabled: false\n"
        "    retries: 0\n"
        "    doc: |\n"
        "      # Refresh\n"
        "\n"
        "      Every day.\n"
        "    depends_on:\n"
        "    - a\n"
    )
    result = accelerator("export", "one", "three")
    assert (result.code, result.out) == (1, "")
    assert result.err == "error: there is no workflow three; stored are: one, two.\n"


def test_validate_names_the_cycle(accelerator, embedded_database: str, write) -> None:
    path = write(workflow_of("loop", task_of("A", "B"), task_of("B", "A")))
    result = accelerator("validate", path)
    assert result.code == 1
    assert "cycle: A → B → A" in result.out
    assert result.err == f"error: 1 problem in {path}.\n"

    result = accelerator("validate", "--output", "json", path)
    assert result.code == 1
    report = json.loads(result.out)
    assert (report["workflows"], report["tasks"]) == (1, 2)
    (problem,) = report["problems"]
    assert (problem["workflow_id"], problem["row"]) == ("loop", "workflows row loop")


def test_validate_of_a_file_needs_no_database(accelerator, workflows_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "postgresql://nobody@127.0.0.1:1/none")
    assert accelerator("validate", workflows_file).out == "3 workflows, 7 tasks: no problems.\n"


def test_validate_of_the_tables_finds_what_sql_put_there(accelerator, application_database: str) -> None:
    with write_session() as session:
        session.execute(text("INSERT INTO workflows (workflow_id, schedule) VALUES ('one', 'at noon')"))
        session.execute(text("INSERT INTO tasks (task_id, workflow_id, task_type) VALUES ('a', 'one', 'dataform')"))
    result = accelerator("validate")
    assert result.code == 1
    assert "workflows row one: schedule: 'at noon' is not a schedule; " in result.out
    assert "tasks row a: config.project_id: missing" in result.out


@pytest.mark.parametrize(
    "content", ["", "[]", "workflows: []", "workflows: {}", "workflows: 7", "42", "workflows:\n- tasks: 3\n  workflow_id: x"]
)
def test_a_file_of_another_shape_is_a_problem_not_a_crash(accelerator, tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    result = accelerator("validate", path)
    assert result.code == 1
    assert result.out
    assert "Traceback" not in result.err


def test_what_a_file_says_cannot_steer_the_terminal(accelerator, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"workflows": [{"workflow_id": "x\u001b[2J\u202e", "tasks": [], "k\u001b]0;": 1}]}))
    result = accelerator("validate", path)
    assert result.code == 1
    assert "\u001b" not in result.out + result.err
    assert "\u202e" not in result.out
    assert "\\x1b[2J" in result.out


def test_specs_and_tables_have_the_same_columns() -> None:
    """The keys of a file come from the specs; a column that only one of them has could not be stored, or not be given."""
    assert set(Workflow.__table__.columns.keys()) == set(WorkflowOptions.model_fields)
    assert set(Task.__table__.columns.keys()) == set(TaskSpec.model_fields)
