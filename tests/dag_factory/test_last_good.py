"""The snapshot of the last good definitions, and processes that want one DAG of them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from dag_factory import factory, snapshot
from provider import settings
from provider.metadata import versions
from provider.metadata.definitions import delete_workflows
from provider.metadata.engine import write_session
from tests.dag_factory.built import ids, lines, spoil, wanted
from tests.dag_factory.definitions import Rows, good_rows, store

DAGS = Path(__file__).parents[2] / "dags"


# The snapshot.


def test_a_workflow_deleted_by_sql_goes_when_two_parses_read_the_same(stored: Rows, snapshot_file: Path) -> None:
    with write_session() as session:
        delete_workflows(session, ["calendar"])
    assert ids(factory.build_all()) == ["calendar", "daily_sales"]
    built = factory.build_all()

    assert (ids(built), built.problems) == (["daily_sales"], [])
    assert list(snapshot.load(factory.WHOLE).entries) == ["daily_sales"]


def test_an_empty_database_is_not_believed_until_somebody_confirms_it(stored: Rows) -> None:
    with write_session() as session:
        delete_workflows(session, ["calendar", "daily_sales"])
    for _ in range(3):
        built = factory.build_all()
        assert ids(built) == ["calendar", "daily_sales"]
        assert "2 of 2 workflows are gone from the table at once (calendar, daily_sales)" in lines(built)[0]
        assert "If it was meant, run `accelerator confirm`" in lines(built)[0]
    with write_session() as session:
        versions.confirm(session, by="ada")

    assert (ids(factory.build_all()), factory.build_all().problems) == ([], [])


def test_new_workflows_come_while_missing_ones_are_kept(stored_embedded: Rows) -> None:
    with write_session() as session:
        delete_workflows(session, ["calendar", "daily_sales"])
    fresh = Rows([{"workflow_id": "fresh"}], [{**good_rows().task("dim_date"), "task_id": "f", "workflow_id": "fresh"}])
    store(fresh)

    for _ in range(2):
        built = factory.build_all()
        assert ids(built) == ["calendar", "daily_sales", "fresh"]
        assert "(calendar, daily_sales)" in lines(built)[0]
    store(good_rows())

    assert (ids(factory.build_all()), factory.build_all().problems) == (["calendar", "daily_sales", "fresh"], [])


@pytest.mark.parametrize(
    "content", ['{"format": 1, "workflows"', '{"format": 2, "count": 0, "held": [], "version": 0, "waiting": {}}']
)
def test_a_damaged_or_newer_snapshot_is_kept_aside_and_reported_until_it_is_gone(
    content: str, stored_embedded: Rows, snapshot_file: Path
) -> None:
    snapshot_file.write_text(content)
    first, second = factory.build_all(), factory.build_all()
    (aside,) = snapshot_file.parent.glob("*.damaged-*")

    text = f"definitions snapshot: {aside} is damaged, or another version's, and was put aside; delete it to go on"
    assert (lines(first), lines(second)) == ([text], [text])
    assert ids(first) == ids(second) == ["calendar", "daily_sales"]
    assert aside.read_text() == content
    aside.unlink()
    assert factory.build_all().problems == []


def test_so_many_damaged_snapshots_are_kept_and_no_more(stored_embedded: Rows, snapshot_file: Path) -> None:
    for number in range(snapshot.DAMAGED_KEPT + 2):
        snapshot_file.write_text(f"damaged {number}")
        factory.build_all()

    kept = [path.read_text() for path in snapshot.damaged(factory.WHOLE)]
    assert kept == [f"damaged {number}" for number in range(2, snapshot.DAMAGED_KEPT + 2)]


def test_a_folder_that_cannot_be_written_is_reported(
    embedded_database: str, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR", str(tmp_path / "file"))
    store(rows)
    built = factory.build_all()

    assert ids(built) == ["calendar", "daily_sales"]
    assert all("set [accelerator] snapshot_dir" in line or "give Airflow's user access" in line for line in lines(built))
    assert built.problems


def test_on_composer_a_dag_processor_that_is_replaced_in_an_outage_makes_all_dags(
    embedded_database: str, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_down: Callable[[], None]
) -> None:
    """Its disk, with Airflow's home on it, is gone with it; the environment's bucket is not."""
    bucket = tmp_path / "gcs" / "data"
    bucket.mkdir(parents=True)
    monkeypatch.setattr(settings, "COMPOSER_DATA", bucket)
    monkeypatch.delenv("AIRFLOW__ACCELERATOR__SNAPSHOT_DIR")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "first"))
    store(rows)
    assert factory.build_all().problems == []
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "second"))
    database_down()

    assert ids(factory.build_all()) == ["calendar", "daily_sales"]
    assert (bucket / "accelerator" / "definitions.json").exists()


def test_nothing_new_is_not_written(stored_embedded: Rows, snapshot_file: Path) -> None:
    before = snapshot_file.stat().st_ino
    factory.build_all()

    assert snapshot_file.stat().st_ino == before
    assert sorted(path.name for path in snapshot_file.parent.iterdir()) == ["definitions.json", "problems.json"]


# A process that wants one DAG.


def test_a_task_process_gets_its_own_dag_only(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    with wanted(monkeypatch, "daily_sales", "stg_orders"):
        dags = factory.build_dags()

    assert list(dags) == ["daily_sales"]
    assert type(dags["daily_sales"].get_task("stg_orders")).__name__ == "DataformWorkflowInvocationOperator"
    assert type(dags["daily_sales"].get_task("load_orders")).__name__ == "BaseOperator"


def test_a_command_for_one_dag_gets_it_in_full(stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    with wanted(monkeypatch, "daily_sales"):
        dags = factory.build_dags()

    assert list(dags) == ["daily_sales"]
    assert type(dags["daily_sales"].get_task("load_orders")).__name__ == "BigQueryLoadOperator"


def test_a_process_that_wants_another_files_dag_gets_none(stored: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    with wanted(monkeypatch, "accelerator_dispatcher"):
        assert factory.build_dags() == {}


@pytest.mark.parametrize("trouble", ["bad row", "database away", "deleted"])
def test_a_task_process_falls_back_like_the_dag_processor(
    trouble: str, stored_embedded: Rows, database_down: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "bad row":
        spoil(stored_embedded)
    elif trouble == "database away":
        database_down()
    else:
        with write_session() as session:
            delete_workflows(session, ["daily_sales"])
    with wanted(monkeypatch, "daily_sales", "stg_orders"):
        dags = factory.build_dags()
        factory.raise_definition_errors()

    assert dags["daily_sales"].get_task("stg_orders").retries == 1


def test_a_task_process_leaves_the_snapshot_alone(
    embedded_database: str, rows: Rows, snapshot_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(rows)
    with wanted(monkeypatch, "daily_sales", "stg_orders"):
        factory.build_dags()

    assert not snapshot_file.exists()


def test_an_edge_into_another_workflow_is_the_same_mistake_in_both_processes(
    stored_embedded: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_embedded.depend("dim_date", "stg_orders")
    store(stored_embedded)
    assert {problem.workflow_id for problem in factory.build_all().problems} == {"daily_sales"}

    assert {problem.workflow_id for problem in factory.build_one("daily_sales").problems} == {"daily_sales"}
    assert factory.build_one("calendar").problems == []


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool, stored_embedded: Rows) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        factory.build_dags()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
