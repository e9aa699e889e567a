"""
A file in Cloud Storage → BigQuery → Dataform → Power BI → archive, through real processes; and again, with a SIGKILL of each task
in turn after it has begun its work at the service and before it knows. Each effect is there once. Then the tables of another
engine, as they are, do their work here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.world import World
from provider.emulators.ledger import Entry
from provider.emulators.rules import Rule
from provider.emulators.scenario import Scenario
from provider.metadata import engine
from tests.google_servers import LOCATION, PROJECT, GoogleServers

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

KINDS = ("load", "transform", "refresh", "archive")
CASES = ("undisturbed", *KINDS)
"""By the task that is killed. Each has a workflow, file, table, repository and model of its own: its effects can be counted."""
LINES = 3
ORIGINAL = Path(__file__).parent.parent / "provider" / "cli" / "original" / "tables.sql"
SECONDS = 400.0
"""For whatever has to happen next: the machine may be busy."""


@dataclass(frozen=True)
class Case:
    """Names of one case."""

    name: str

    @property
    def workflow(self) -> str:
        return f"pipeline_{self.name}"

    @property
    def batch_id(self) -> str:
        return f"Batch_{self.name}"

    @property
    def folder(self) -> str:
        return f"orders/{self.name}/"

    @property
    def table(self) -> str:
        return f"{PROJECT}.raw.orders_{self.name}"

    @property
    def model_id(self) -> str:
        return f"22222222-2222-4222-8222-{CASES.index(self.name):012d}"

    def task(self, kind: str) -> str:
        return f"{kind}_{self.name}"

    def definition(self) -> dict[str, Any]:
        load = {
            "bucket": "landing",
            "source_objects": [f"{self.folder}*.csv"],
            "destination_table": self.table,
            "schema_fields": [{"name": "id", "type": "INTEGER"}, {"name": "country", "type": "STRING"}],
            "skip_leading_rows": 1,
            "write_disposition": "WRITE_APPEND",
            "location": LOCATION,
        }
        transform = {"project_id": PROJECT, "region": LOCATION, "repository_id": self.name, "git_commitish": "main"}
        refresh = {"workspace": "Sales", "semantic_model": self.model_id, "refresh": {"type": "full"}}
        archive = {
            "source_bucket": "landing",
            "source_prefix": self.folder,
            "destination_bucket": "archive",
            "destination_prefix": f"{{{{ batch_id }}}}/{self.folder}",
        }
        configs = {
            # The undisturbed one waits in the triggerer.
            "load": ("bigquery_load", {**load, "poll_interval": 0.5, "initial_wait": 0.5 if self.name == "undisturbed" else 20}),
            "transform": ("dataform", {**transform, "poll_interval": 0.5}),
            "refresh": ("power_bi_refresh", {**refresh, "poll_interval": 0.5}),
            "archive": ("gcs_archive", archive),
        }
        tasks: list[dict[str, Any]] = []
        for kind, (task_type, config) in configs.items():
            parents = [tasks[-1]["task_id"]] if tasks else []
            tasks.append({"task_id": self.task(kind), "task_type": task_type, "depends_on": parents, "config": config})
        options = {"retries": 3, "retry_delay_seconds": 1}
        return {"workflow_id": self.workflow, "default_args": options, "tasks": tasks}


def scenario() -> Scenario:
    cases = [Case(name) for name in CASES]
    repositories: dict[str, Any] = {
        f"projects/{PROJECT}/locations/{LOCATION}/repositories/{case.name}": {
            # The one that is killed runs long enough to be killed while it does.
            "actions": [{"target": {"name": "mart"}, "seconds": 8 if case.name == "transform" else 1}]
        }
        for case in cases
    }
    for name in ("sales", "calendar"):
        actions = [{"target": {"name": "mart"}, "tags": ["customers"], "seconds": 1}]
        repositories[f"projects/{PROJECT}/locations/{LOCATION}/repositories/{name}"] = {"actions": actions}
    models = [{"id": case.model_id, "name": case.name, "seconds": 1} for case in cases]
    models.append({"id": "33333333-3333-4333-8333-333333333333", "name": "Daily Sales", "seconds": 1})
    return Scenario.model_validate(
        {
            "dataform": {"repositories": repositories},
            "powerbi": {"workspaces": [{"name": "Sales", "semantic_models": models}]},
            "pubsub": {"topics": [{"name": "task-batches", "subscriptions": [{"name": "task-batches-airflow"}]}]},
        }
    )


class Pipelines:
    """The world, the Google servers, and what is there of one case."""

    def __init__(self, world: World, servers: GoogleServers) -> None:
        self.world, self.servers = world, servers

    def entries(self, case: Case, operation: str) -> list[Entry]:
        found = self.world.emulators.ledger.entries(operation=operation)
        marks = (case.model_id, f"/repositories/{case.name}/")
        return [entry for entry in found if any(mark in f"{entry.resource} {entry.detail}" for mark in marks)]

    def wait_for_entry(self, case: Case, operation: str) -> None:
        self.world.airflow.wait_for(lambda: self.entries(case, operation), SECONDS, f"{operation} of {case.name}")

    def wait_for_state(self, case: Case, kind: str, state: str) -> None:
        def states() -> dict[str, str]:
            if case.batch_id not in self.runs(case.workflow):
                return {}
            found = self.world.airflow.task_instances(case.workflow, case.batch_id)
            return {row["task_id"]: str(row["state"]) for row in found}

        self.world.airflow.wait_for(
            lambda: states().get(case.task(kind)) == state, SECONDS, f"{case.task(kind)} {state}", explain=lambda: str(states())
        )

    def runs(self, workflow_id: str) -> list[str]:
        found = self.world.airflow.rest("GET", f"/dags/{workflow_id}/dagRuns")["dag_runs"]
        return [run["dag_run_id"] for run in found]

    def kill(self, case: Case) -> None:
        self.world.airflow.task_process(case.workflow, case.batch_id, case.task(case.name)).kill()

    def logs(self, case: Case) -> dict[str, list[str]]:
        """Return the status of each try of each task."""
        (rows,) = self.world.rows("task_logs")
        mine = sorted((row for row in rows if row["batch_id"] == case.batch_id), key=lambda row: row["try_number"])
        return {kind: [row["status"] for row in mine if row["task_id"] == case.task(kind)] for kind in KINDS}

    def effects(self, case: Case) -> dict[str, Any]:
        """Return everything that a case did to the services."""
        rows = self.servers.select(f"SELECT COUNT(*) AS lines, COUNT(DISTINCT id) AS ids FROM `{case.table}`")
        jobs = [job for job in self.servers.bigquery.jobs.values() if case.task("load") in job.job_id]
        return {
            "rows": rows,
            "load jobs": [job.succeeded for job in jobs],
            "invocations": [entry.outcome for entry in self.entries(case, "create_workflow_invocation")],
            "refreshes": [entry.outcome for entry in self.entries(case, "refresh_posted")],
            "landing": [name for name in self.servers.names("landing") if name.startswith(case.folder)],
            "archive": [name for name in self.servers.names("archive") if case.folder in name],
        }


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipelines]:
    folder = tmp_path_factory.mktemp("pipeline")
    definitions = folder / "workflows.yaml"
    definitions.write_text(yaml.safe_dump({"workflows": [Case(name).definition() for name in CASES]}))
    with GoogleServers(folder / "servers") as servers:
        servers.put("archive", {})
        servers.put("landing", {f"{Case(name).folder}day.csv": "id,country\n1,de\n2,at\n3,ch\n" for name in CASES})
        servers.bigquery_client().create_dataset("raw")
        with World(folder, definitions=definitions, scenario=scenario(), environment=servers.hosts()) as world:
            world.wait_for_dags([*(Case(name).workflow for name in CASES), "accelerator_dispatcher"])
            yield Pipelines(world, servers)
        assert world.airflow.own_processes() == []
    engine.dispose_engines()


def killings(pipelines: Pipelines, stack: ExitStack) -> list[tuple[Case, Callable[[], None]]]:
    """Return, in the order of the tasks, the cases and what to wait for until the task's process is killed."""
    case = {kind: Case(kind) for kind in KINDS}
    enter: Callable[[AbstractContextManager[Any]], Any] = stack.enter_context
    storage, bigquery = pipelines.servers.storage, pipelines.servers.bigquery
    # The work is done, and the answer does not come before the kill.
    insert = enter(bigquery.hold("POST", f"*/projects/{PROJECT}/jobs", containing=case["load"].task("load")))
    copy = enter(storage.hold("POST", f"*/o/{case['archive'].folder}*/rewriteTo/*"))
    post = Rule(
        service="powerbi", match=f"POST */{case['refresh'].model_id}/refreshes", fault="delay", when="after", seconds=600, nth=1
    )
    pipelines.world.emulators.rules.add(post)
    return [
        (case["load"], lambda: insert.wait(SECONDS)),
        (case["transform"], lambda: pipelines.wait_for_entry(case["transform"], "create_workflow_invocation")),
        (case["refresh"], lambda: pipelines.wait_for_entry(case["refresh"], "refresh_posted")),
        (case["archive"], lambda: copy.wait(SECONDS)),
    ]


def test_each_effect_once_whichever_task_is_killed(pipelines: Pipelines) -> None:
    world, undisturbed = pipelines.world, Case("undisturbed")
    with ExitStack() as stack:
        planned = killings(pipelines, stack)

        def kill_in_its_work(case: Case, wait_for_its_work: Callable[[], None]) -> None:
            wait_for_its_work()
            pipelines.kill(case)

        # Each at its own moment: a task that waits for its killer gives the call up and goes on, as it should.
        killers = stack.enter_context(ThreadPoolExecutor(len(planned)))
        killed = [killers.submit(kill_in_its_work, *plan) for plan in planned]
        with pipelines.servers.bigquery.busy():
            world.publish(*({"task_id": Case(name).task("load"), "batch_id": Case(name).batch_id} for name in CASES))
            pipelines.wait_for_state(undisturbed, "load", "deferred")
        for kill in killed:
            kill.result()
    for name in CASES:
        case = Case(name)
        assert world.airflow.wait_for_run(case.workflow, case.batch_id, SECONDS) == "success", name

    assert {name: pipelines.effects(Case(name)) for name in CASES} == {
        name: {
            "rows": [{"lines": LINES, "ids": LINES}],
            "load jobs": [True],
            "invocations": ["ok"],
            "refreshes": ["ok"],
            "landing": [],
            "archive": [f"Batch_{name}/orders/{name}/day.csv"],
        }
        for name in CASES
    }
    ended = [entry.operation for entry in world.emulators.ledger.entries() if "cancel" in entry.operation]
    assert ended == [], "nobody ended anything"


def test_every_try_is_in_task_log(pipelines: Pipelines) -> None:
    world = pipelines.world
    world.airflow.wait_for(lambda: world.join().equal, SECONDS, "equality", explain=lambda: str(world.join()))

    tries = {name: {kind: ["ERROR", "SUCCESS"] if kind == name else ["SUCCESS"] for kind in KINDS} for name in CASES}
    assert {name: pipelines.logs(Case(name)) for name in CASES} == tries
    expected = {(Case(name).batch_id, "SUCCESS") for name in CASES}

    def batches() -> set[tuple[str, str]]:
        return {(row["batch_id"], row["status"]) for row in world.rows("task_batches")[0]}

    # A run ends a moment after its last task.
    world.airflow.wait_for(lambda: batches() == expected, SECONDS, "ended batches", explain=lambda: str(batches()))


def test_the_tables_of_another_engine_do_their_work_here(pipelines: Pipelines, tmp_path: Path) -> None:
    """Converted, imported and switched on as docs/migration.md says; started by the messages that the other one takes."""
    world, servers = pipelines.world, pipelines.servers
    tables, file = tmp_path / "original.db", tmp_path / "workflows.yaml"
    with closing(sqlite3.connect(tables)) as connection:
        connection.executescript(ORIGINAL.read_text(encoding="utf-8"))
    file.write_text(world.accelerator("convert", f"sqlite:///{tables}"), encoding="utf-8")
    assert "created    sales (tasks: 5)" in world.accelerator("import", "--dry-run", str(file))
    world.accelerator("import", str(file))
    assert "0 changed, 3 unchanged" in world.accelerator("import", "--dry-run", str(file))
    world.accelerator("enable", "sales", "--task", "sales_customers")
    world.airflow.read_again()
    others = [name for name in servers.names("landing") if name.startswith("orders/")]
    servers.put("landing", {"orders/today.csv": "id,country\n1,de\n2,at\n"})
    world.wait_for_dags(["sales", "calendar_flow", "count_stock_flow"])

    world.publish(*({"task_id": name, "batch_id": "Batch_moved"} for name in ("sales_load", "calendar", "count_stock")))
    for dag_id in ("sales", "calendar_flow", "count_stock_flow"):
        world.airflow.wait_for(partial(pipelines.runs, dag_id), SECONDS, f"a run of {dag_id}")
    for dag_id in ("sales", "calendar_flow"):
        assert world.airflow.wait_for_run(dag_id, "Batch_moved", SECONDS) == "success"
    world.publish({"previous_task_id": "count_stock", "batch_id": "Batch_moved", "status": "SUCCESS"})
    assert world.airflow.wait_for_run("count_stock_flow", "Batch_moved", SECONDS) == "success"

    begun = {row["task_id"]: row for row in world.airflow.task_instances("sales", "Batch_moved")}
    with closing(sqlite3.connect(tables)) as connection:
        edges = connection.execute(
            "SELECT parent_id, child_id FROM \"TaskDependencies\" WHERE parent_id LIKE 'sales%'"
        ).fetchall()
    assert len(edges) == 5
    assert all(begun[parent]["end_date"] <= begun[child]["start_date"] for parent, child in edges)
    assert servers.select(f"SELECT COUNT(*) AS lines FROM `{PROJECT}.raw.orders`") == [{"lines": 2 + LINES * len(others)}]
    assert ("archive/today.csv" in servers.names("landing"), "orders/today.csv" in servers.names("landing")) == (True, False)
