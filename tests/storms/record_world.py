"""A real Airflow on two PostgreSQL servers for the record's chaos, with one of the two readers, and its runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
import yaml

from demo.airflow_services import airflow_command
from demo.postgres import PostgresServer
from demo.world import World
from tests.no_plugin import without_reconciler_process
from tests.storms.intake_world import plain
from tests.storms.record_lead import RecordLead
from tests.storms.record_person import ANN, BOB, Person
from tests.storms.record_plan import Plan, Run
from tests.storms.record_strikes import Strikes
from tests.storms.remote_jobs import JobLedger
from tests.waiting import wait_for

Reader = Literal["database", "api"]

_DAG_FILES = ("record_dag.py", "record_unimportable_dag.py")
_RUNS_BY_ITSELF = "accelerator_reconciler"
_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parents[1]

ENVIRONMENT = {
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor,tests.storms.record_stuck.StuckExecutor",
    "AIRFLOW__CORE__PARALLELISM": "32",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    # A scheduler that takes another one's place looks for what that has left at once, and not after the five minutes of Airflow.
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "45",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "0",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__WORKERS__MISSING_DAG_RETRIES": "1",
    "AIRFLOW__WORKERS__MISSING_DAG_RETRY_DELAY": "2",
}
_LOOK_SECONDS = 0.3


class RecordWorld:
    """
    One Airflow under chaos.

    :param plan: of the storm.
    :param addresses: libpq's of Airflow's database and of the application database.
    """

    def __init__(self, world: World, strikes: Strikes, plan: Plan, addresses: tuple[str, str]) -> None:
        self.world = world
        self.strikes = strikes
        self.addresses = addresses
        self.ledger = JobLedger(world.emulators.ledger, plan.job_plan())
        self._plan = plan
        self._people: dict[Run, Person] = {}
        self._commands: list[subprocess.Popen[bytes]] = []

    def person(self, run: Run) -> Person:
        """Return who looks at a run."""
        if run not in self._people:
            year = 2001 + run.wave
            self._people[run] = Person(
                *(self.world.airflow, run.person, run.case.dag_id, run.batch_id),
                home=self.world.home,
                year=year,
                jobs=lambda: len(self.jobs(run)),
                command=self._command,
                wait_for=self.wait_for,
            )
        return self._people[run]

    def _command(self, *arguments: str) -> None:
        """Begin a command; who ends the Airflow ends it too."""
        airflow = self.world.airflow
        with (self.world.home / "commands.log").open("ab") as log:
            command = [airflow_command(), *arguments]
            self._commands.append(
                subprocess.Popen(command, env=airflow.environment(), cwd=self.world.home, stdout=log, stderr=log)
            )

    def jobs(self, run: Run) -> list[str]:
        """Return the remote jobs that a run has started."""
        self.ledger.read()
        return self.ledger.started[run.job] if run.job is not None else []

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until it is so, and start again meanwhile what ends."""

        def look() -> bool:
            self.strikes.revive()
            return ready()

        return wait_for(look, seconds, _LOOK_SECONDS)

    def states(self, runs: list[Run]) -> dict[Run, str | None]:
        """Return the state of each run; None for one that is not there."""
        with psycopg.connect(self.addresses[0]) as connection:
            rows = connection.execute("SELECT dag_id, run_id, state FROM dag_run WHERE dag_id LIKE 'record%'").fetchall()
        found = {(dag_id, run_id): str(state) for dag_id, run_id, state in rows}
        return {run: found.get((run.case.dag_id, self.person(run).run_id)) for run in runs}

    def is_ready(self, run: Run) -> bool:
        """Tell whether people may act."""
        ready = run.case.ready
        if ready == "here":
            return self.person(run).is_here and self._ended_beside(run)
        if ready == "job":
            return bool(self.jobs(run)) and self._is_deferred(run)
        if ready == "deferred":
            return self._is_deferred(run) and self._ended_beside(run)
        return ready == "at once" or self.states([run])[run] in ("success", "failed")

    def _ended_beside(self, run: Run) -> bool:
        """Tell whether what ends by itself has ended: what a person does to the run is not to end it."""
        states = self._task_states(run)
        return all(states.get(task_id) in (None, "failed", "skipped") for task_id in ("fails", "skips_itself"))

    def _is_deferred(self, run: Run) -> bool:
        return "deferred" in self._task_states(run).values()

    def _task_states(self, run: Run) -> dict[str, str]:
        """Return task id → state of the tasks of a run; a task without a state is ``none``."""
        statement = "SELECT task_id, coalesce(state, 'none') FROM task_instance WHERE dag_id = %s AND run_id = %s"
        with psycopg.connect(self.addresses[0]) as connection:
            return dict(connection.execute(statement, [run.case.dag_id, run.batch_id]).fetchall())


@contextmanager
def record_world(folder: Path, plan: Plan, reader: Reader, *, seconds: float) -> Iterator[RecordWorld]:
    """
    Start everything, and end it.

    :param folder: gets the Airflow home.
    :param seconds: for how long something is away or stands still.
    """
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump(plan.definitions()))
    by_api = reader == "api"
    path = str(_REPOSITORY)
    if by_api:
        path = f"{without_reconciler_process(folder / 'site')}:{path}"
    with (
        PostgresServer() as airflow_postgres,
        PostgresServer() as application_postgres,
        World(
            folder,
            definitions=definitions,
            scenario=plan.scenario(),
            postgres=airflow_postgres,
            application_postgres=application_postgres,
            environment={**ENVIRONMENT, "PYTHONPATH": path},
            api=by_api,
            people={ANN: "ADMIN", BOB: "ADMIN"},
        ) as world,
    ):
        for name in _DAG_FILES:
            shutil.copy(_HERE / name, world.dags)
        dag_ids = {run.case.dag_id for wave in plan.waves for run in wave.runs}
        world.wait_for_dags(sorted(dag_ids) + ([_RUNS_BY_ITSELF] if by_api else []))
        addresses = (plain(world.airflow_url), plain(world.database_url))
        lead = RecordLead(world, *addresses)
        strikes = Strikes(world, airflow_postgres, application_postgres, lead, by_api=by_api, seconds=seconds)
        yield RecordWorld(world, strikes, plan, addresses)
        hosted = "None in sys.modules" not in world.airflow.log("scheduler")
        if hosted == by_api:
            raise AssertionError("the scheduler hosts the reconciler" if hosted else "the scheduler hosts no reconciler")
