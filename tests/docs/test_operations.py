"""The page on operations: every check and every action is on it, and what is on it is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from provider.cli.maintenance import ACTIONS, form
from provider.doctor.everything import all_checks
from provider.doctor.examination import State
from provider.metadata import definitions
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
#: Checks that are there once for each of what they look at.
MANY = ("Pub/Sub", "Dataform", "Power BI")


def first_cells(heading: str) -> set[str]:
    """Return the code spans in the first column of the table that has this heading."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_check_is_on_the_page(embedded_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__PUBSUB_SUBSCRIPTIONS", "projects/p/subscriptions/sub")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__NOTIFIERS", "mail")
    rows: list[dict[str, Any]] = [
        {"task_id": kind, "workflow_id": "sales", "task_type": kind, "config": {}} for kind in ("dataform", "power_bi_refresh")
    ]
    with write_session() as session:
        definitions.replace_workflows(session, DefinitionRows([{"workflow_id": "sales"}], rows, []))
    names = {check.name for check in all_checks("token")}
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", "mysql://nobody@nowhere/none")
    names |= {check.name for check in all_checks()}
    assert {f"{name.split(kind)[0]}{kind} …" if (kind := kind_of(name)) else name for name in names} == first_cells("check")


def kind_of(name: str) -> str:
    return next((kind for kind in MANY if name.startswith(f"{kind} ")), "")


def test_every_state_is_on_the_page() -> None:
    assert first_cells("state") == {state.value for state in State}


def test_every_action_and_field_is_on_the_page() -> None:
    assert first_cells("action") == set(ACTIONS)
    part = PAGE.partition("## Without a shell")[2]
    assert [name for name in form() if name != "action" and f"`{name}`" not in part] == []
