"""Random rows through the factory and into Airflow's own tables: the small form of ``make fuzz``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest

from dag_factory.problems import Problem
from dag_factory.validation import validate
from demo.postgres import PostgresServer
from tests.dag_factory.definitions import Rows
from tests.storms import fuzz_rows
from tests.storms.fuzz_row_values import RandomRows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 150


@pytest.fixture(scope="module")
def airflow_tables(postgres_server: PostgresServer) -> fuzz_rows.AirflowTables:
    return fuzz_rows.AirflowTables(postgres_server.create_database("airflow_of_random_rows"))


def test_random_rows_end_in_problems_of_ours_alone(
    application_database: str, airflow_tables: fuzz_rows.AirflowTables, tmp_path: Path
) -> None:
    seed = SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed} in {application_database}\n")
    judge = fuzz_rows.Judge()

    fuzz_rows.fuzz(ROWS, Random(seed), tmp_path / "rows", application_database, airflow_tables, judge)

    assert judge.faults == {}
    assert judge.counts["rows"] >= ROWS
    assert judge.counts["problems of tasks"] > 0
    assert judge.counts["hostile workflows that became DAGs"] > 0


def test_what_airflow_cannot_store_is_told(
    embedded_database: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge is no judge otherwise."""
    tables = fuzz_rows.AirflowTables(postgres_server.create_database("airflow_of_a_spoiled_dag"))
    store = fuzz_rows.AirflowTables.store

    def spoil(spoiled: fuzz_rows.AirflowTables, result: Any) -> object:
        result.serialized_dags[0].data["dag"]["tasks"][0]["__var"]["task_type"] = "a\x00b"
        return store(spoiled, result)

    monkeypatch.setattr(fuzz_rows.AirflowTables, "store", spoil)
    judge = fuzz_rows.Judge()

    told = ""
    try:
        fuzz_rows.fuzz(1, Random(1), tmp_path / "rows", embedded_database, tables, judge)
    except Exception as error:  # noqa: BLE001 - Airflow raises for a new DAG, and reports for one that it has stored before
        told = str(error)
    tables.close()
    assert re.search(r"NUL|u0000|\\x00", told) or "cannot be stored" in str(judge.faults)


@pytest.mark.parametrize(
    ("row", "message", "fault"),
    [
        ("workflows", "is wrong", "names no row"),
        ("tasks row t", "KeyError: 'x'", "names no column"),
        ("tasks row t", "config: a\nb", r"says '\n'"),
        ("workflows row w", "cannot be built: ValueError: x", "says 'cannot be built'"),
    ],
)
def test_a_problem_that_is_none_of_ours_is_told(row: str, message: str, fault: str) -> None:
    judge = fuzz_rows.Judge()
    judge.problems([Problem("w", row, message)])
    assert fault in judge.faults


def test_a_seed_makes_the_same_rows_again() -> None:
    first, second = (list(RandomRows(Random(7)).workflow("w")) for _ in range(2))
    assert first == second


def test_a_row_whose_key_is_nothing_to_see_has_a_name(rows: Rows) -> None:
    rows.workflows.append({"workflow_id": ""})
    rows.tasks.append({"task_id": "\x00", "workflow_id": "calendar", "task_type": "external"})

    assert [problem.row for problem in validate(rows.definitions()).problems if "calendar" not in problem.row] == [
        "workflows row (without workflow_id)",
        "workflows row (without workflow_id)",
        "tasks row (with a task_id that cannot be shown)",
    ]
