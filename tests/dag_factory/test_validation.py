from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from dag_factory.problems import describe
from dag_factory.specs import Spec
from dag_factory.validation import validate
from provider.metadata.rows import DefinitionRows
from tests.dag_factory.bad_rows import BAD_ROWS
from tests.dag_factory.definitions import DATAFORM, Rows


def problems_of(rows: Rows) -> list[str]:
    return [str(problem) for problem in validate(rows.definitions()).problems]


def test_good_rows_become_specs(rows: Rows) -> None:
    validated = validate(rows.definitions())

    assert validated.problems == []
    assert list(validated.workflows) == ["calendar", "daily_sales"]
    sales = validated.workflows["daily_sales"]
    assert sales.children() == {
        "archive_orders": ["refresh_daily_sales"],
        "load_orders": ["archive_orders", "stg_orders"],
        "refresh_daily_sales": [],
        "stg_orders": ["refresh_daily_sales"],
    }
    calendar = validated.workflows["calendar"].options
    assert calendar.starts_at is not None
    assert calendar.starts_at.isoformat() == "2026-01-01T00:00:00+01:00"


def test_names_of_other_systems_are_those_of_the_configuration_and_not_of_what_is_in_it() -> None:
    class Inner(Spec):
        place: str = ""

    class Outer(Spec):
        workspace: Inner = Inner()

    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"group": "a", "workspace": {"group": "b"}})
    assert sorted(describe(caught.value, Outer, "config", {"group": "workspace"})) == [
        "config.group: unknown key; did you mean workspace?",
        "config.workspace.group: unknown key; known keys are: place",
    ]


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_gets_one_clear_line(case: str, rows: Rows) -> None:
    spoil, message = BAD_ROWS[case]
    spoil(rows)

    assert problems_of(rows) == [message]


@pytest.mark.parametrize(
    "case", [case for case in BAD_ROWS if case not in ("edge without ids", "task of no workflow", "row no object")]
)
def test_a_bad_row_spoils_its_own_workflow_only(case: str, rows: Rows) -> None:
    BAD_ROWS[case][0](rows)

    assert len(validate(rows.definitions()).workflows) == 1


@pytest.mark.parametrize("row", [{"enabled": True}, {"workflow_id": None}])
def test_a_workflow_without_an_id_is_called_so(row: dict[str, Any], rows: Rows) -> None:
    rows.workflows.append(row)

    assert [line for line in problems_of(rows) if line.startswith("workflows row (without workflow_id): workflow_id: ")] != []


def test_a_workflow_that_dags_test_could_not_run_is_refused(rows: Rows) -> None:
    rows.workflow("calendar")["workflow_id"] = "kalendär"
    line = "workflows row kalendär: workflow_id: has 'ä', but only letters a to z can be used with `airflow dags test`; rename it"
    assert line in problems_of(rows)


def test_every_problem_of_a_row_is_named(rows: Rows) -> None:
    rows.task("dim_date").update(retries=-1, on_parent_skip="x", config={"project_id": 1})

    assert [line.split(": ")[1] for line in problems_of(rows)] == [
        "config.project_id",
        "config.region",
        "config.repository_id",
        "on_parent_skip",
        "retries",
    ]


def test_deep_nesting_is_refused(rows: Rows) -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    rows.task("dim_date")["config"]["vars"] = deep
    validated = validate(DefinitionRows(rows.workflows, rows.tasks, rows.dependencies))

    assert "nested deeper than 40 levels" in str(validated.problems[0])
    assert list(validated.workflows) == ["daily_sales"]


def test_long_chains_have_no_recursion_limit() -> None:
    rows = Rows([{"workflow_id": "chain"}])
    rows.tasks = [
        {"task_id": f"t{i}", "workflow_id": "chain", "task_type": "dataform", "config": dict(DATAFORM)} for i in range(3000)
    ]
    for i in range(2999):
        rows.depend(f"t{i}", f"t{i + 1}")
    assert problems_of(rows) == []
    rows.depend("t2999", "t0")

    assert problems_of(rows)[0].startswith("workflows row chain: dependencies form a cycle: t0 → t1 → t2 →")


def test_validation_needs_no_airflow() -> None:
    program = (
        "import sys; from dag_factory.validation import validate; from provider.metadata.rows import DefinitionRows;"
        "import dag_factory.task_types.registry as t; validate(DefinitionRows()); list(t.task_types());"
        "print([m for m in sys.modules if m.split('.')[0] == 'airflow' or m in ('sqlalchemy', 'google.cloud.bigquery', 'msal')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
