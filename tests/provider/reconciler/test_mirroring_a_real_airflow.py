"""What Airflow has committed and what the application database says, compared by SQL, after real runs."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.airflow_services import AirflowServices, airflow_command
from provider.cli.dag_file_commands import TEMPLATES
from provider.metadata.states import STATUS_OF_RUN_STATE, STATUS_OF_TASK_STATE
from provider.reconciler.end_causes import DELETED_REASON, TIMED_OUT_REASON
from tests.no_plugin import without_reconciler_process

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

Row = tuple[Any, ...]


def query(database: Path, statement: str, *arguments: Any) -> list[Row]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(statement, arguments).fetchall()
    finally:
        connection.close()


class Mirror:
    """The two databases of one Airflow home."""

    def __init__(self, services: AirflowServices) -> None:
        self.services = services
        self.airflow = services.home / "airflow.db"
        self.ours = services.home / "accelerator.db"

    def committed(self, run_id: str) -> dict[Row, str | None]:
        """Return (task, map index, try) → state, by the rules of the architecture page and not by our own code."""
        where = "from task_instance_history where run_id = ? and try_number > 0"
        columns = "task_id, map_index, try_number, state"
        history = {row[:3]: row[3] for row in query(self.airflow, f"select {columns} {where}", run_id)}
        tries = dict(history)
        for task_id, map_index, number, state in query(
            self.airflow, f"select {columns} from task_instance where run_id = ?", run_id
        ):
            waits_after_clear = (task_id, map_index, number) in history and state not in ("up_for_retry", "restarting")
            tries[(task_id, map_index, max(1, number) + waits_after_clear)] = state
        return tries

    def mirrored(self, run_id: str) -> dict[Row, Row]:
        columns = "task_id, map_index, try_number, airflow_state, status, error_type, error_message"
        return {row[:3]: row[3:] for row in query(self.ours, f"select {columns} from task_logs where batch_id = ?", run_id)}

    def batch(self, run_id: str) -> Row:
        rows = query(self.ours, "select status, airflow_state, source, error from task_batches where batch_id = ?", run_id)
        return rows[0] if rows else ()

    def equal(self, run_id: str) -> bool:
        """Tell whether both say the same of this run: every try, nothing else, and the run itself."""
        ours = {key: row[0] for key, row in self.mirrored(run_id).items()}
        states = query(self.airflow, "select state from dag_run where run_id = ?", run_id)
        return ours == self.committed(run_id) and [row[:2] for row in [self.batch(run_id)]] == [
            (STATUS_OF_RUN_STATE[state], state) for (state,) in states
        ]

    def wait_until_equal(self, run_id: str) -> dict[Row, Row]:
        """Wait for equality and check each status against the state beside it; return the rows."""

        def explain() -> str:
            return f"Airflow: {self.committed(run_id)}\nours: {self.mirrored(run_id)} {self.batch(run_id)}"

        self.services.wait_for(lambda: self.equal(run_id), 60, f"equality of {run_id}", explain=explain)
        rows = self.mirrored(run_id)
        for state, status, _error_type, message in rows.values():
            assert status == ("ERROR" if str(message).endswith("before this task was done") else STATUS_OF_TASK_STATE[state])
        return rows


def dags_folder(folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("mirrored_dag.py"), folder)
    return folder


def expect_every_kind_of_end(rows: dict[Row, Row]) -> None:
    """Check the rows of the DAG ``mirrored``, run whole."""
    told = {key: (status, error_type, message) for key, (_state, status, error_type, message) in rows.items()}
    assert told.pop(("skips_itself", -1, 1))[0] == "SKIPPED"
    success = ("SUCCESS", None, None)
    assert told == {
        ("start_batch", -1, 1): success,
        ("empty", -1, 1): success,
        ("after_empty", -1, 1): success,
        ("fails", -1, 1): ("ERROR", "ValueError", "Table raw.suppliers was not found"),
        ("blocked", -1, 1): ("BLOCKED", None, "blocked by fails"),
        ("blocked_too", -1, 1): ("BLOCKED", None, "blocked by fails"),
        ("behind_skip", -1, 1): ("SKIPPED", None, "parent skipped: skips_itself"),
        ("runs_anyway", -1, 1): success,
        ("second_time", -1, 1): ("ERROR", "RuntimeError", "try again"),
        ("second_time", -1, 2): success,
        ("mapped", 0, 1): success,
        ("mapped", 1, 1): success,
    }


@pytest.fixture(scope="module")
def cli_mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """An Airflow home without any service."""
    folder = tmp_path_factory.mktemp("dags_test")
    services = AirflowServices(folder / "home", dags_folder(folder / "dags"))
    services.migrate()
    yield Mirror(services)
    services.stop()


@pytest.fixture(scope="module", params=["database", "api"])
def services_mirror(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """A real scheduler, triggerer, dag-processor and api-server; the reconciler in the scheduler, or in the triggerer alone."""
    folder = tmp_path_factory.mktemp("services")
    env = {"AIRFLOW__ACCELERATOR__RECONCILE_INTERVAL": "1", "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20"}
    services = AirflowServices(folder / "home", dags_folder(folder / "dags"), env, people={"ann": "ADMIN", "reader": "VIEWER"})
    if request.param == "api":
        shutil.copy(TEMPLATES / "reconciler.py", services.dags_folder)
        services.set_environment(
            PYTHONPATH=str(without_reconciler_process(folder / "site")),
            AIRFLOW__ACCELERATOR__AIRFLOW_CONN_ID="airflow_api",
            AIRFLOW_CONN_AIRFLOW_API=services.api_connection("reader"),
        )
    with services:
        for dag_id in ("mirrored", "endless", "hurried"):
            services.wait_for_dag(dag_id)
        yield Mirror(services)
        assert ("None in sys.modules" in services.log("scheduler")) == (request.param == "api"), "it can host the reconciler"
    assert services.own_processes() == []


class TestDagsTest:
    """``airflow dags test``, where nobody else is there to reconcile."""

    @pytest.fixture
    def mirror(self, cli_mirror: Mirror) -> Mirror:
        return cli_mirror

    @staticmethod
    def run_of(mirror: Mirror, dag_id: str) -> str:
        runs = query(mirror.airflow, "select run_id from dag_run where dag_id = ? order by id desc limit 1", dag_id)
        return str(runs[0][0])

    def test_a_failed_run_is_mirrored_when_the_command_ends(self, mirror: Mirror) -> None:
        result = mirror.services.cli("dags", "test", "mirrored")
        assert result.returncode == 1, result.stderr
        run_id = self.run_of(mirror, "mirrored")
        assert mirror.equal(run_id)
        expect_every_kind_of_end(mirror.mirrored(run_id))
        error = "1 task failed: fails; first error: Table raw.suppliers was not found"
        assert mirror.batch(run_id) == ("ERROR", "failed", "test", error)

    def test_two_runs_in_one_process_are_each_mirrored_when_they_end(self, mirror: Mirror) -> None:
        script = (
            "import sqlite3, sys\n"
            f"sys.path.insert(0, {str(mirror.services.dags_folder)!r})\n"
            "from mirrored_dag import mirrored as dag\n"
            "for start in ('mapped', 'empty'):\n"
            "    dag.test(run_conf={'start_task_id': start})\n"
            f"    rows = sqlite3.connect({str(mirror.ours)!r}).execute('select start_task_ids, status from task_batches')\n"
            "    print('ENDED', start, [s for ids, s in rows if ids and start in ids])\n"
        )
        result = subprocess.run(
            [str(Path(airflow_command()).parent / "python"), "-c", script],
            env=mirror.services.environment(),
            cwd=mirror.services.home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-3000:]
        ended = [line for line in result.stdout.splitlines() if line.startswith("ENDED")]
        assert ended == ["ENDED mapped ['SUCCESS']", "ENDED empty ['SUCCESS']"]

    def test_ctrl_c_leaves_the_run_mirrored_as_airflow_left_it(self, mirror: Mirror) -> None:
        waiting = mirror.services.home / "waiting"
        waiting.unlink(missing_ok=True)
        with (mirror.services.home / "ctrl-c.log").open("wb") as log:
            command = subprocess.Popen(
                [airflow_command(), "dags", "test", "endless"],
                env=mirror.services.environment(),
                cwd=mirror.services.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            mirror.services.wait_for(waiting.exists, 120, "the endless task")
            command.send_signal(signal.SIGINT)
            command.wait(60)
        finally:
            if command.poll() is None:
                command.kill()
                command.wait()
        run_id = self.run_of(mirror, "endless")
        assert mirror.equal(run_id), (mirror.committed(run_id), mirror.mirrored(run_id), mirror.batch(run_id))

    def test_tasks_test_leaves_nothing(self, mirror: Mirror) -> None:
        before = query(mirror.ours, "select count(*) from task_batches"), query(mirror.ours, "select count(*) from task_logs")
        for command in (("mirrored", "start_batch"), ("endless", "after", "2026-01-05")):
            result = mirror.services.cli("tasks", "test", *command)
            assert result.returncode == 0, result.stderr
            assert "Task failed" not in result.stdout + result.stderr
        assert before == (
            query(mirror.ours, "select count(*) from task_batches"),
            query(mirror.ours, "select count(*) from task_logs"),
        )


class TestServices:
    """The reconciler in the scheduler, and in the triggerer."""

    @pytest.fixture
    def mirror(self, services_mirror: Mirror) -> Mirror:
        return services_mirror

    def waits(self, mirror: Mirror, dag_id: str, run_id: str) -> None:
        """Start a run and wait until its endless task is known to run, in both databases."""
        (mirror.services.home / "waiting").unlink(missing_ok=True)
        mirror.services.trigger(dag_id, run_id)
        mirror.services.wait_for((mirror.services.home / "waiting").exists, 120, f"the endless task of {run_id}")

    def test_runs_clears_and_retries(self, mirror: Mirror) -> None:
        services = mirror.services
        services.trigger("mirrored", "whole")
        services.trigger("mirrored", "part", {"start_task_id": "fails", "country": "AT"})
        assert services.wait_for_run("mirrored", "whole") == "failed"
        assert services.wait_for_run("mirrored", "part") == "failed"
        expect_every_kind_of_end(mirror.wait_until_equal("whole"))
        error = "1 task failed: fails; first error: Table raw.suppliers was not found"
        assert mirror.batch("whole") == ("ERROR", "failed", "api", error)
        rows = mirror.wait_until_equal("part")
        assert mirror.batch("part")[2] == "api"
        out = {key for key, row in rows.items() if row[3] == "out of scope of this batch"}
        assert {key[0] for key in rows} - {key[0] for key in out} == {"start_batch", "fails", "blocked", "blocked_too"}

        body = {
            "dry_run": False,
            "dag_run_id": "part",
            "task_ids": ["fails", "empty"],
            "only_failed": False,
            "include_downstream": True,
        }
        services.rest("POST", "/dags/mirrored/clearTaskInstances", json=body)
        assert services.wait_for_run("mirrored", "part") == "failed"
        rows = mirror.wait_until_equal("part")
        assert (
            rows[("fails", -1, 1)][1:]
            == rows[("fails", -1, 2)][1:]
            == ("ERROR", "ValueError", "Table raw.suppliers was not found")
        )
        assert rows[("after_empty", -1, 1)][1:] == ("SKIPPED", None, "out of scope of this batch")

    def test_a_run_that_is_marked_failed(self, mirror: Mirror) -> None:
        self.waits(mirror, "endless", "marked")
        mirror.services.rest("PATCH", "/dags/endless/dagRuns/marked", json={"state": "failed"})
        rows = mirror.wait_until_equal("marked")
        assert rows[("endless", -1, 1)][1] == "ERROR"
        assert rows[("after", -1, 1)][:2] == ("skipped", "ERROR")
        assert rows[("after", -1, 1)][3] == "the DAG run was marked failed by ann before this task was done"

    def test_a_run_that_times_out(self, mirror: Mirror) -> None:
        self.waits(mirror, "hurried", "late")
        assert mirror.services.wait_for_run("hurried", "late") == "failed"
        rows = mirror.wait_until_equal("late")
        assert {rows[(task, -1, 1)][3] for task in ("endless", "after")} == {TIMED_OUT_REASON}
        assert mirror.batch("late")[3] == f"2 tasks failed: after, endless; first error: {TIMED_OUT_REASON}"

    def test_a_run_that_is_deleted(self, mirror: Mirror) -> None:
        self.waits(mirror, "endless", "deleted")
        mirror.wait_until_equal("deleted")
        mirror.services.kill("scheduler", signal.SIGKILL, children=True)  # else the batch would end with the mark
        mirror.services.rest("PATCH", "/dags/endless/dagRuns/deleted", json={"state": "failed"})
        mirror.services.rest("DELETE", "/dags/endless/dagRuns/deleted")
        mirror.services.start_component("scheduler")
        mirror.services.wait_for(lambda: mirror.batch("deleted")[0] == "ERROR", 60, "the end of the deleted batch")
        reason = f"{DELETED_REASON} by ann"
        assert mirror.batch("deleted")[3] == reason
        assert mirror.mirrored("deleted")[("endless", -1, 1)][1:] == ("ERROR", None, reason)

    def test_a_scheduler_that_is_killed_and_what_happens_meanwhile(self, mirror: Mirror) -> None:
        services = mirror.services
        self.waits(mirror, "endless", "orphaned")
        services.kill("scheduler", signal.SIGKILL, children=True)
        services.rest("PATCH", "/dags/endless/dagRuns/orphaned", json={"state": "failed"})
        services.start_component("scheduler")
        rows = mirror.wait_until_equal("orphaned")
        assert rows[("endless", -1, 1)][1] == "ERROR"

    def test_a_task_process_that_is_killed(self, mirror: Mirror) -> None:
        self.waits(mirror, "endless", "killed")
        workers = [process for process in mirror.services.own_processes() if "airflow worker --" in " ".join(process.cmdline())]
        assert len(workers) >= 1
        for worker in workers:
            worker.kill()
        psutil.wait_procs(workers, timeout=30)
        assert mirror.services.wait_for_run("endless", "killed") == "failed"
        rows = mirror.wait_until_equal("killed")
        assert rows[("endless", -1, 1)][1] == "ERROR"
        assert rows[("endless", -1, 1)][3]
        assert rows[("after", -1, 1)][1:] == ("BLOCKED", None, "blocked by endless")
