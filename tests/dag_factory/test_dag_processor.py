"""
The dag-processor's own code reads the DAG file while one hostile row after another is written by SQL.

What it does with a parse is done here to its end: it imports the file, serializes the DAGs and encodes its answer, which is
where one number too many once cost all DAGs of the file. The same with the process itself is ``make hostile-rows``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import structlog
from airflow.dag_processing.processor import DagFileParseRequest, DagFileParsingResult, _parse_file
from airflow.sdk.execution_time.comms import _RequestFrame

from tests.dag_factory.definitions import store
from tests.dag_factory.hostile_updates import HOSTILE, rows

pytestmark = pytest.mark.slow

DAGS = Path(__file__).parents[2] / "dags"
HEALTHY = 60


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
    store(rows(HEALTHY, HOSTILE))
    first = parse(tmp_path / "workflows.py")
    assert (len(first.serialized_dags), first.import_errors) == (HEALTHY + len(HOSTILE), {})
    assert parse(tmp_path / "definition_errors.py").import_errors == {}

    named: list[str] = []
    for update in HOSTILE:
        if not update.carry_out():
            assert application_database.startswith("postgres")
            continue
        named.append(update.mark)
        result = parse(tmp_path / "workflows.py")

        assert result.import_errors == {}, named[-1]
        assert stored(result) == stored(first), named[-1]
        (error,) = (parse(tmp_path / "definition_errors.py").import_errors or {}).values()
        lines = [line for line in error.splitlines() if line.startswith("- ")]
        assert [mark for mark in named if not any(line.startswith(mark) for line in lines)] == []
        spoiled = {mark.split(": ")[0] for mark in named}
        assert {line.split(": ")[0] for line in lines} == spoiled
