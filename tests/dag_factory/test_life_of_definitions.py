"""What happens to workflows over several parses, on both databases: outages, too little time, shards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from sqlalchemy import event

from dag_factory import budget, factory, outage, snapshot
from dag_factory.problems import Problem
from provider.cli.dag_file_commands import dag_files
from provider.exceptions import DefinitionError
from provider.metadata.engine import get_engine, read_session
from provider.metadata.workflow_rows import Shard
from tests.dag_factory.built import lines
from tests.dag_factory.chains import WHOLE, Clock, chains, shape, sql
from tests.dag_factory.definitions import DATAFORM, Rows, store

# Outages.


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls that open a session."""
    made: list[str] = []
    real = read_session

    def counted() -> Any:
        made.append("look")
        return real()

    monkeypatch.setattr("dag_factory.source.read_session", counted)
    return made


def test_one_failed_look_is_enough_for_all_processes(
    five: Rows, database_down: Callable[[], None], looks: list[str], snapshot_file: Path
) -> None:
    database_down()
    first = factory.build_all()
    second = factory.build_all()
    with pytest.raises(DefinitionError, match="the workflow tables cannot be read"):
        factory.raise_definition_errors()

    assert shape(factory.build_one("w0")) == {"w0": (3, 2)}
    assert (shape(first), shape(second), looks) == (WHOLE, WHOLE, ["look"])
    assert lines(first) == lines(second)
    os.utime(snapshot_file.with_name("database-away"), (0, 0))
    factory.build_one("w0")
    assert looks == ["look", "look"]


def test_who_has_nothing_to_fall_back_on_looks(five: Rows, looks: list[str]) -> None:
    outage.begins("away")
    assert factory.build_one("w0").problems != []
    store(chains(1, prefix="new"))

    assert shape(factory.build_one("new0")) == {"new0": (3, 2)}
    assert (looks, outage.reason()) == (["look"], None)


# The file that shows the problems.


def test_the_errors_file_reads_and_builds_nothing(five: Rows, looks: list[str]) -> None:
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    factory.build_all()
    looks.clear()
    with pytest.raises(DefinitionError, match="tasks row w0_0: retries"):
        factory.raise_definition_errors()

    assert looks == []


def test_the_errors_file_parsed_before_any_other_says_nothing(application_database: str) -> None:
    factory.raise_definition_errors()


def test_a_dag_file_that_is_no_longer_parsed_is_told(five: Rows, snapshot_file: Path) -> None:
    os.utime(snapshot_file.with_name("problems.json"), (0, 0))
    with pytest.raises(DefinitionError, match="their DAG file was not parsed to its end since 1970-01-01 00:00 UTC"):
        factory.raise_definition_errors()


# Too little time.


def test_what_airflow_knows_is_built_before_what_is_new(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    store(chains(20, prefix="a"))
    Clock(monkeypatch, 40)
    built = factory.build_all()

    assert set(WHOLE) <= shape(built).keys()
    assert (len(built.dags), len(built.problems)) == (5, 1)
    assert "DAG file: 20 workflows (a0, a1, a10, " in lines(built)[0]
    assert "cannot be built within the 40 seconds" in lines(built)[0]
    assert "accelerator init FOLDER --shards N" in lines(built)[0]


def test_a_parse_twice_as_slow_loses_nothing(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one file can hold, on a machine that is at rest at first, and busy later."""
    store(chains(20, prefix="more"))
    Clock(monkeypatch, 80)
    at_rest = factory.build_all().dags.keys()
    Clock(monkeypatch, 40)

    assert 5 < len(at_rest) < 25
    assert factory.build_all().dags.keys() == at_rest


def test_what_an_import_takes_is_not_what_others_will_take() -> None:
    now = 0.0
    limit = budget.Budget(15.0, lambda: now)
    assert limit.allows(2)
    now += 0.55
    limit.spent(2, typical=False)
    assert limit.allows(1000)
    now += 10.0
    limit.spent(1000, typical=True)
    assert not limit.allows(1000)
    assert limit.allows(400)


def test_without_time_for_changes_the_last_good_ones_are_used(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    sql("UPDATE workflows SET description = 'new'")
    Clock(monkeypatch, 36)
    built = factory.build_all()

    assert shape(built) == WHOLE
    assert [dag.description for _, dag in sorted(built.dags.items())] == ["new"] * 4 + [None]
    assert "1 workflow (w4) cannot be built within" in lines(built)[0]
    assert "so their last good definitions are used" in lines(built)[0]


def test_what_is_left_out_stays_in_the_snapshot(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, 13)
    built = factory.build_all()

    assert sorted(built.dags) == ["w0", "w1"]
    assert "3 workflows (w2, w3, w4) cannot be built within" in lines(built)[0]
    assert sorted(snapshot.load(factory.WHOLE).entries) == sorted(WHOLE)


def test_what_rows_hold_counts_before_a_workflow_is_begun(five: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "30")
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", "50")
    heavy = chains(1, prefix="heavy")
    config = {**DATAFORM, "vars": {f"v{number}": "x" for number in range(15_000)}}
    heavy.tasks = [{**heavy.tasks[0], "task_id": f"h{number}", "task_type": "dataform", "config": config} for number in range(12)]
    heavy.dependencies = []
    store(heavy)
    built = factory.build_all()

    assert shape(built) == WHOLE
    assert "1 workflow (heavy0) cannot be built within the 15 seconds" in lines(built)[0]
    assert len(built.problems) == 1


def test_the_time_stays_below_airflows_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(importing: str, parsing: str) -> float:
        monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", importing)
        monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT", parsing)
        return budget.seconds_allowed()

    assert allowed("10", "1000") == pytest.approx(7)
    assert allowed("1000", "100") == pytest.approx(30)
    assert allowed("0", "100") == pytest.approx(30)


# Shards.


def test_shards_together_are_the_whole_and_read_only_their_part(five: Rows) -> None:
    read: list[Any] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        read.append((statement, parameters))

    event.listen(get_engine(), "before_cursor_execute", note)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    for shard in shards:
        built = factory.build_all(shard)
        mine = {name: WHOLE[name] for name in WHOLE if name in shard}
        assert (shape(built), built.problems) == (mine, [])
        assert sorted(snapshot.load(shard).entries) == sorted(mine)
        asked = [str(parameters) for statement, parameters in read if "FROM tasks" in statement and "config" in statement]
        assert all(name not in text for text in asked for name in WHOLE if name not in shard)
        read.clear()
    assert shape(factory.build_one("w0", next(shard for shard in shards if "w0" in shard))) == {"w0": (3, 2)}
    assert [factory.build_one("w0", shard).dags for shard in shards if "w0" not in shard] == [{}, {}]


def test_airflow_finds_each_dag_once_and_each_error_once(five: Rows, tmp_path: Path, database_down: Callable[[], None]) -> None:
    folder = tmp_path / "dags"
    folder.mkdir()
    for name, content in dag_files(3).items():
        if name.startswith(("workflows", "definition")):
            (folder / name).write_bytes(content)
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    DagBag(folder)
    bag = DagBag(folder)
    assert sorted(bag.dags) == sorted(WHOLE)
    (error,) = bag.import_errors.values()
    assert "1 problem in the workflow definitions" in error

    database_down()
    DagBag(folder)
    bag = DagBag(folder)
    assert sorted(bag.dags) == sorted(WHOLE)
    (error,) = bag.import_errors.values()
    assert error.count("the workflow tables cannot be read") == 1


def test_a_new_number_of_shards_loses_no_last_good_definition(five: Rows) -> None:
    sql("UPDATE tasks SET retries = -1 WHERE task_id = 'w0_0'")
    for count in (4, 1):
        found: dict[str, Any] = {}
        for number in range(1, count + 1):
            found |= shape(factory.build_all(Shard(number, count)))
        assert found == WHOLE


def test_problems_are_left_up_to_a_limit(five: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dag_factory import problem_file

    monkeypatch.setattr(problem_file, "_KEPT", 2)
    shutil.rmtree(snapshot.folder())
    problem_file.save([Problem("w", f"row {number}", "bad") for number in range(5)], Shard())

    assert [str(problem) for problem in problem_file.load(Shard())] == [
        "row 0: bad",
        "row 1: bad",
        "workflow definitions: 3 more problems; `accelerator validate` lists them all",
    ]
