"""What a page says keeps a batch from going on, and to whom it names what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from dag_factory import problem_file
from dag_factory.problems import Problem
from provider.airflow_internals.secrets import mask
from provider.airflow_view.by_database import DatabaseView
from provider.airflow_view.view import MOST
from provider.metadata.definitions import replace_workflows
from provider.metadata.engine import write_session
from provider.metadata.rows import DefinitionRows
from provider.pages import why
from tests.provider.pages.conftest import Pages
from tests.provider.pages.rows import batch, log, store
from tests.provider.reconciler.conftest import AirflowDatabase

pytestmark = pytest.mark.usefixtures("application_database")


@pytest.fixture
def waits(pages: Pages, airflow_database: AirflowDatabase, monkeypatch: pytest.MonkeyPatch) -> Pages:
    """Batch B1, of which the first task waits for a pool that a task of another workflow has filled."""
    from airflow.models.dag import DagModel
    from airflow.models.pool import Pool

    monkeypatch.setattr(DatabaseView, "health", lambda _: {name: {"status": "healthy"} for name in ("scheduler", "triggerer")})
    with airflow_database.engine.begin() as connection:
        connection.execute(DagModel.__table__.update().values(is_stale=False, is_paused=False))
    airflow_database.insert(Pool, pool="narrow", slots=1, include_deferred=False)
    airflow_database.run("B1", dag_id="daily_sales")
    airflow_database.task("load", "scheduled", dag_id="daily_sales", run_id="B1", pool="narrow", pool_slots=1)
    airflow_database.task("stg_small", "running", dag_id="small", run_id="a_run", pool="narrow", pool_slots=1)
    store(batch("B1", status="PROCESSING", ended_at=None), log("load", "B1", status="NEW"))
    return pages


def reasons(pages: Pages, person: str) -> list[str]:
    found = pages.json("why", person, dag_id="daily_sales", run_id="B1")["answers"]
    return [one["reason"] for one in found if not one["passed"]]


def test_who_has_filled_a_pool_is_named_to_those_who_may_see_it(waits: Pages) -> None:
    assert reasons(waits, "ann") == ["Pool narrow is full, 1 of 1 slots are taken: small stg_small in a_run."]
    assert reasons(waits, "bob") == ["Pool narrow is full, 1 of 1 slots are taken."]


def test_what_may_not_be_seen_hides_nothing_that_may(waits: Pages, airflow_database: AirflowDatabase) -> None:
    from airflow.models.pool import Pool

    with airflow_database.engine.begin() as connection:
        connection.execute(Pool.__table__.update().values(slots=MOST + 1))
    for number in range(1, MOST):
        airflow_database.task(f"other_{number}", "running", dag_id="small", run_id="a_run", pool="narrow")
    airflow_database.run("B2", dag_id="daily_sales")
    airflow_database.task("load", "running", dag_id="daily_sales", run_id="B2", pool="narrow", pool_slots=1)
    assert reasons(waits, "bob") == ["Pool narrow is full, 101 of 101 slots are taken: daily_sales load in B2."]


def test_a_pool_that_is_too_small_for_a_task(waits: Pages, airflow_database: AirflowDatabase) -> None:
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance

    with airflow_database.engine.begin() as connection:
        connection.execute(Pool.__table__.update().values(slots=4))
    airflow_database.set(TaskInstance, {"task_id": "stg_small"}, pool_slots=3)
    airflow_database.set(TaskInstance, {"task_id": "load"}, pool_slots=2)
    room = "Pool narrow has too little room, 3 of 4 slots are taken and load needs 2: small stg_small in a_run."
    assert reasons(waits, "ann") == [room]
    airflow_database.set(TaskInstance, {"task_id": "load"}, pool_slots=9)
    assert reasons(waits, "ann") == ["load can never run: it needs 9 slots of pool narrow, which has 4."]


def test_a_task_that_waits_for_the_run_before(waits: Pages, airflow_database: AirflowDatabase) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

    task = {"task_id": "load", "workflow_id": "daily_sales", "task_type": "external", "depends_on_past": True}
    with write_session() as session:
        replace_workflows(session, DefinitionRows([{"workflow_id": "daily_sales"}], [task], []))
    airflow_database.set(TaskInstance, {"task_id": "load"}, state=None)
    airflow_database.run("B0", dag_id="daily_sales", state="failed", logical_date=datetime(2026, 3, 15, tzinfo=UTC))
    airflow_database.task("load", "failed", dag_id="daily_sales", run_id="B0")
    full = "Pool narrow is full, 1 of 1 slots are taken: small stg_small in a_run."
    assert reasons(waits, "ann") == [full], "a run without a logical date comes after none"
    airflow_database.set(DagRun, {"run_id": "B1"}, logical_date=datetime(2026, 3, 16, tzinfo=UTC))
    assert reasons(waits, "ann") == ["load waits, as depends_on_past says, for the same task of the run before, B0 (failed)."]


def test_an_airflow_database_that_is_away_is_not_ours(waits: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_arguments: object) -> None:
        raise OperationalError("select 1", {}, ConnectionError("refused"))

    monkeypatch.setattr(DatabaseView, "run", away)
    answer = waits.ask("/accelerator/api/why", params={"dag_id": "daily_sales", "run_id": "B1"})
    assert (answer.status_code, answer.json()["detail"]) == (503, "Airflow's database cannot be read: refused")


@pytest.mark.parametrize("remote_job", ["text", ["x"]])
def test_a_remote_job_that_is_none(waits: Pages, airflow_database: AirflowDatabase, remote_job: object) -> None:
    airflow_database.task("other", "running", dag_id="daily_sales", run_id="B1", pool="wide")
    store(log("other", "B1", status="PROCESSING", remote_job_id="j1", remote_job=remote_job))
    assert any("other waits for remote job j1 since" in reason for reason in reasons(waits, "ann"))


def test_a_batch_that_has_ended(pages: Pages) -> None:
    store(batch("B2", status="ERROR", error="1 task failed: load"), log("load", "B2", status="ERROR"))
    (answer,) = pages.json("why", "bob", dag_id="daily_sales", run_id="B2")["answers"]
    assert answer["reason"].startswith("The batch has ended as ERROR at ")
    assert answer["remedy"] == "Mend the cause, then `accelerator restart B2` runs what failed again."


@pytest.mark.parametrize(
    ("batch_id", "status", "remedy"),
    [
        ("B2", "SUCCESS", "No task of it has failed, so nothing of it can run again: mend the cause, then start a new batch."),
        ("-x", "ERROR", "Mend the cause, then `accelerator restart -- -x` runs what failed again."),
        ("both", "ERROR", "Mend the cause, then `accelerator restart --workflow daily_sales both` runs what failed again."),
    ],
)
def test_what_is_advised_can_be_run(batch_id: str, status: str, remedy: str, pages: Pages) -> None:
    store(batch(batch_id, status="ERROR"), log("load", batch_id, status=status), batch("both", "small", status="ERROR"))
    (answer,) = pages.json("why", dag_id="daily_sales", run_id=batch_id)["answers"]
    assert answer["remedy"] == remedy


def test_what_a_parse_says_of_other_workflows_is_told_to_those_who_may_see_all(
    waits: Pages, airflow_database: AirflowDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models.dag import DagModel

    with airflow_database.engine.begin() as connection:
        connection.execute(DagModel.__table__.update().values(is_stale=True))
    task = {"task_id": "load", "workflow_id": "daily_sales", "task_type": "external"}
    with write_session() as session:
        replace_workflows(session, DefinitionRows([{"workflow_id": "daily_sales"}], [task], []))
    found = [Problem("daily_sales", "workflows row daily_sales", "after: hidden_one has it before itself.")]
    monkeypatch.setattr(problem_file, "load_followed", lambda: found)

    assert "hidden_one" in reasons(waits, "ann")[0]
    assert "what is wrong may name workflows that you do not see" in reasons(waits, "bob")[0]
    assert "hidden_one" not in reasons(waits, "bob")[0]


def test_a_batch_that_may_not_be_seen_is_not_there(pages: Pages) -> None:
    store(batch("S1", "small", status="ERROR"))
    assert pages.json("why", dag_id="small", run_id="S1")["answers"]
    assert pages.ask("/accelerator/api/why", "bob", params={"dag_id": "small", "run_id": "S1"}).status_code == 404


def test_an_airflow_database_that_hangs_costs_a_bounded_time(waits: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    let_go = threading.Event()

    def hang(*_: Any) -> None:
        let_go.wait(30)

    monkeypatch.setattr(DatabaseView, "run", hang)
    monkeypatch.setattr(why, "_SECONDS", 0.2)
    answer = waits.ask("/accelerator/api/why", "bob", params={"dag_id": "daily_sales", "run_id": "B1"})
    let_go.set()
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("Airflow's database cannot be read: no answer within 0.2 seconds")


def test_the_error_of_a_file_is_shown_to_those_who_may_see_all_of_it(waits: Pages, airflow_database: AirflowDatabase) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError

    with airflow_database.engine.begin() as connection:
        connection.execute(DagModel.__table__.update().values(is_stale=True, relative_fileloc="w.py"))
    error = {"filename": "w.py", "bundle_name": "b", "stacktrace": "NameError: small is not defined"}
    airflow_database.insert(ParseImportError, id=1, timestamp=datetime.now(UTC), **error)
    assert reasons(waits, "ann") == ["DAG daily_sales is gone: w.py cannot be imported, NameError: small is not defined."]
    assert reasons(waits, "bob") == ["DAG daily_sales is gone: w.py cannot be imported."]

    mask("canary-geheim-0123456789")
    with airflow_database.engine.begin() as connection:
        trace = f"OperationalError: {'x' * 270} canary-geheim-0123456789"
        connection.execute(ParseImportError.__table__.update().values(stacktrace=trace))
    assert "canary" not in reasons(waits, "ann")[0]


def test_a_pool_that_is_filled_by_a_deferred_task(waits: Pages, airflow_database: AirflowDatabase) -> None:
    with airflow_database.engine.begin() as connection:
        from airflow.models.pool import Pool
        from airflow.models.taskinstance import TaskInstance

        connection.execute(Pool.__table__.update().values(include_deferred=True))
        table = TaskInstance.__table__
        connection.execute(table.update().where(table.c.task_id == "stg_small").values(state="deferred"))
    assert reasons(waits, "ann") == ["Pool narrow is full, 1 of 1 slots are taken: small stg_small in a_run."]
