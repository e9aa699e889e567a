"""
The dag-processor's own code reads the DAG file while one hostile row after another is written by SQL.

What it does with a parse is done here to its end: it imports the file, serializes the DAGs and encodes its answer, which is
where one number too many once cost all DAGs of the file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.dag_processing.processor import DagFileParseRequest, DagFileParsingResult, _parse_file
from airflow.sdk.execution_time.comms import _RequestFrame
from sqlalchemy import text
from sqlalchemy.exc import DataError

from provider.metadata.engine import write_session
from tests.dag_factory.definitions import DATAFORM, Rows, store

pytestmark = pytest.mark.slow

DAGS = Path(__file__).parents[2] / "dags"
BIG = 2**64
HEALTHY = 300


def load(**changes: Any) -> str:
    return json.dumps({"bucket": "b", "source_objects": ["x"], "destination_table": "d.t", **changes})


def params(**changes: Any) -> str:
    return json.dumps([{"name": "a", "type": "number", "default": 1, **changes}])


def query(**parameter: Any) -> str:
    return json.dumps({"sql": "SELECT @a", "query_parameters": [{"name": "a", **parameter}]})


def refresh(**body: Any) -> str:
    return json.dumps({"workspace": "w", "semantic_model": "m", "refresh": body})


TOO_SLOW = json.dumps({**DATAFORM, "poll_interval": 1}).replace(": 1", ": 1e999")

#: Table, column, what is written into it, and the place that the error names. Tasks of these types are there to be spoiled.
HOSTILE: list[tuple[str, str, str, Any, str]] = [
    ("dataform", "workflows", "params", params(default=BIG), "params[0].default"),
    ("dataform", "workflows", "params", params(default=-(2**63) - 1), "params[0].default"),
    ("dataform", "workflows", "params", params(enum=[1, BIG]), "params[0].enum[1]"),
    ("dataform", "workflows", "params", params(minimum="nan"), "params[0].minimum"),
    ("dataform", "workflows", "params", params(maximum="inf"), "params[0].maximum"),
    ("dataform", "workflows", "params", params(minimum=3, maximum=1), "params[0]"),
    ("dataform", "workflows", "params", params(format="dat"), "params[0].format"),
    ("dataform", "workflows", "params", params().replace(": 1", ": NaN"), "params[0].default"),
    ("dataform", "workflows", "params", params().replace(": 1", ": 1e400"), "params[0].default"),
    ("dataform", "workflows", "params", '[{"name": "a", "name": "b"}]', "params"),
    ("dataform", "workflows", "params", '[{"name": "a", "default": "\\ud800"}]', "params[0].default"),
    ("dataform", "workflows", "params", '[{"name": "a", "default": "\\u0000"}]', "params[0].default"),
    ("dataform", "workflows", "params", json.dumps([{"name": "a" * 100_000 + "é"}]), "params[0].name"),
    ("dataform", "workflows", "default_args", json.dumps({"retries": BIG}), "default_args.retries"),
    ("dataform", "workflows", "tags", json.dumps(["x" * 101]), "tags[0]"),
    ("dataform", "workflows", "tags", json.dumps([[]] * 3), "tags[0]"),
    ("dataform", "workflows", "timezone", "right/Europe/Berlin", "timezone"),
    ("dataform", "workflows", "timezone", "Factory", "timezone"),
    ("dataform", "workflows", "start_date", "0001-01-01", "start_date"),
    ("dataform", "workflows", "start_date", "9999-12-31T23:59:59", "start_date"),
    ("dataform", "workflows", "schedule", "0 0 31 2 *", "schedule"),
    ("dataform", "workflows", "file_pattern", "gs://b/" + "{a,b}" * 20, "file_pattern"),
    ("dataform", "tasks", "config", json.dumps({**DATAFORM, "vars": {"a": BIG}}), "config.vars.a"),
    (
        "dataform",
        "tasks",
        "config",
        TOO_SLOW,
        "config.poll_interval",
    ),
    ("dataform", "tasks", "config", "[" * 5 + "]" * 5, "config"),
    ("bigquery_load", "tasks", "config", load(extra_config={"a": [BIG]}), "config.extra_config.a[0]"),
    ("bigquery_load", "tasks", "config", load(skip_leading_rows=BIG), "config.skip_leading_rows"),
    ("bigquery_query", "tasks", "config", query(type="NUMERIC", value=BIG), "config.query_parameters[0].value"),
    ("power_bi_refresh", "tasks", "config", refresh(retryCount=BIG), "config.refresh.retryCount"),
    ("dataform", "tasks", "retries", 1001, "retries"),
]
GOOD = {
    "dataform": dict(DATAFORM),
    "bigquery_load": json.loads(load()),
    "bigquery_query": {"sql": "SELECT 1"},
    "power_bi_refresh": {"workspace": "w", "semantic_model": "m"},
}


def workflows() -> Rows:
    rows = Rows()
    for number in range(HEALTHY):
        rows.workflows.append({"workflow_id": f"healthy_{number:03}", "schedule": "0 5 * * *", "timezone": "Europe/Berlin"})
        rows.tasks.append({"task_id": f"h{number}", "workflow_id": f"healthy_{number:03}", "task_type": "external"})
    for number, (task_type, *_) in enumerate(HOSTILE):
        rows.workflows.append({"workflow_id": f"hostile_{number:02}", "schedule": "@daily"})
        task = {"task_id": f"t{number:02}", "workflow_id": f"hostile_{number:02}", "task_type": task_type}
        rows.tasks.append({**task, "config": GOOD[task_type]})
    return rows


def parse(file: Path) -> DagFileParsingResult:
    """Do what the child of the dag-processor does with a file, and send its answer."""
    request = DagFileParseRequest(file=str(file), bundle_path=file.parent, bundle_name="dags-folder")
    result = _parse_file(request, structlog.get_logger())
    assert result is not None
    _RequestFrame(id=1, body=result.model_dump()).as_bytes()
    return result


def stored(result: DagFileParsingResult) -> dict[str, str]:
    return {dag.dag_id: json.dumps(dag.data, sort_keys=True) for dag in result.serialized_dags}


def test_no_hostile_row_costs_a_dag(application_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is: what has no time in the first parse comes with the next one, which is not the subject here.
    for limit in ("CORE__DAGBAG_IMPORT_TIMEOUT", "DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT"):
        monkeypatch.setenv(f"AIRFLOW__{limit}", "0")
    for name in ("workflows.py", "definition_errors.py"):
        shutil.copy(DAGS / name, tmp_path)
    store(workflows())
    first = parse(tmp_path / "workflows.py")
    assert (len(first.serialized_dags), first.import_errors) == (HEALTHY + len(HOSTILE), {})
    assert parse(tmp_path / "definition_errors.py").import_errors == {}

    named: list[str] = []
    for number, (_, table, column, value, place) in enumerate(HOSTILE):
        key, row = ("workflow_id", f"hostile_{number:02}") if table == "workflows" else ("task_id", f"t{number:02}")
        try:
            with write_session() as session:
                session.execute(text(f"UPDATE {table} SET {column} = :value WHERE {key} = :row"), {"value": value, "row": row})
        except DataError:
            # PostgreSQL itself knows that NaN is no JSON.
            assert "NaN" in value
            assert application_database.startswith("postgres")
            continue
        named.append(f"- {table} row {row}: {place}: ")
        result = parse(tmp_path / "workflows.py")

        assert result.import_errors == {}, named[-1]
        assert stored(result) == stored(first), named[-1]
        (error,) = (parse(tmp_path / "definition_errors.py").import_errors or {}).values()
        lines = [line for line in error.splitlines() if line.startswith("- ")]
        assert [mark for mark in named if not any(line.startswith(mark) for line in lines)] == []
        spoiled = {mark.split(": ")[0] for mark in named}
        assert {line.split(": ")[0] for line in lines} == spoiled
