"""Routes of the definitions: what is wrong with which row, what Airflow has instead, and a workflow as YAML and as graph."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from dag_factory.definition_file import to_data
from provider.airflow_internals.secrets import redact
from provider.metadata.definition_rows import read_definitions
from provider.metadata.engine import read_session
from provider.metadata.rows import DefinitionRows
from provider.metadata.workflow_rows import Entry, entry_of, to_rows
from provider.pages.access import Asking, found
from provider.pages.answers import answer
from provider.pages.batches import Text
from provider.pages.checked import Checked, Checks, as_shown
from provider.strict_yaml import dump

router = APIRouter(prefix="/api")

_checks = Checks()


@router.get("/definitions")
def list_definitions(person: Asking) -> Response:
    """Return every workflow with what is wrong with it."""
    checked = _checks.of(person.visible)
    return answer(
        {
            "workflows": [
                {**workflow, **_standing(checked, workflow["workflow_id"])}
                for workflow in checked.workflows
                if person.may_see(workflow["workflow_id"])
            ],
            "problems": [
                as_shown(problem) for problem in checked.problems if person.visible is None or person.may_see(problem.workflow_id)
            ],
            "unchecked": checked.unchecked,
            "checked_at": checked.at,
            "by_last_parse": checked.by_last_parse,
        }
    )


@router.get("/definition")
def show_definition(person: Asking, workflow_id: Text) -> Response:
    """Return one workflow: as YAML, as graph, and its last good definition where that is another."""
    checked = _checks.of(person.visible)
    with read_session() as session:
        rows = read_definitions(session, [workflow_id]) if person.may_see(workflow_id) else DefinitionRows()
    good = checked.last_good.get(workflow_id) if checked.last_good is not None and person.may_see(workflow_id) else None
    known = rows.workflows or rows.tasks or good
    found(known or None, f"workflow {workflow_id}")
    other = good if good is not None and good != entry_of(rows) else None
    return answer(
        {
            "workflow_id": workflow_id,
            **_standing(checked, workflow_id),
            "rows": _drawn(rows),
            "last_good": _drawn(to_rows([other])) if other is not None else None,
            "problems": [as_shown(problem) for problem in checked.problems if problem.workflow_id == workflow_id],
        }
    )


def _standing(checked: Checked, workflow_id: str) -> dict[str, Any]:
    """Return how many problems a workflow has, and what Airflow builds it from as far as this machine can tell."""
    problems = sum(problem.workflow_id == workflow_id for problem in checked.problems)
    used: str | None = None
    if checked.last_good is not None:
        good: Entry | None = checked.last_good.get(workflow_id)
        used = "none" if good is None else "current" if good == checked.entries.get(workflow_id) else "last good"
    return {"problem_count": problems, "used": used}


def _drawn(rows: DefinitionRows) -> dict[str, Any]:
    """Return rows for people. Secrets go before a text is made of them: in a text their names are not found."""
    masked = DefinitionRows(redact(rows.workflows), redact(rows.tasks), rows.dependencies)
    return {
        "yaml": dump(to_data(masked)) if masked.workflows else "",
        "tasks": [{name: task.get(name) for name in ("task_id", "task_type", "enabled")} for task in masked.tasks],
        "edges": [[edge["parent_id"], edge["child_id"]] for edge in masked.dependencies],
    }
