"""
``make cluster``: workflows on a cluster in which one thing after the other goes wrong, as on Cloud Composer or elsewhere.

In each fault some batches start, by message and by REST. Afterwards no DAG is gone, no batch has failed, each remote job was
started once, and the rows are those of Airflow.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import yaml
from rich.console import Console
from rich.table import Table

from demo.expectations import outer_join
from demo.world import SUBSCRIPTION, publish_messages
from tests.cluster.cluster import Cluster
from tests.cluster.faults import Fault, all_faults
from tests.cluster.no_database import without_database
from tests.cluster.person import Person
from tests.storms.plan import RUNS_OF_WORKFLOW, TASKS_OF_WORKFLOW, Plan, make_plan
from tests.storms.remote_jobs import JobLedger

RunKey = tuple[str, str]
_SETTLE_SECONDS = 1200.0
_ENDED = ("success", "failed")
#: How often a machine is started again in all.
_REVIVALS = 5


@dataclass(frozen=True)
class Row:
    """
    What came of one fault.

    :param ended: seconds from its end to the end of the last run.
    :param equal: seconds from there until the rows were Airflow's.
    """

    fault: str
    runs: int
    ended: float
    equal: float


class Watch(threading.Thread):
    """Looks at Airflow's list of DAGs, again and again, until told to stop."""

    def __init__(self, cluster: Cluster, dag_ids: set[str]) -> None:
        super().__init__(name="watch", daemon=True)
        self._cluster = cluster
        self._dag_ids = dag_ids
        self.looks = 0
        self.gone: set[str] = set()
        self.enough = threading.Event()

    def run(self) -> None:
        headers = dict(self._cluster.client().headers)
        with httpx.Client(base_url=self._cluster.url, headers=headers, timeout=60, trust_env=False) as client:
            while not self.enough.wait(1.0):
                try:
                    answer = client.get("/api/v2/dags", params={"limit": 100, "exclude_stale": True})
                except httpx.TransportError:  # the next look tells; so many there must be
                    continue
                if answer.is_success:
                    self.looks += 1
                    self.gone |= self._dag_ids - {dag["dag_id"] for dag in answer.json()["dags"]}


def plan_for(seed: int, faults: int) -> Plan:
    """Return a workflow for each fault: no person interferes and no call to a service fails; what goes wrong are the machines."""
    mapped = 2  # of four fifths of the jobs tables make the workflows
    plan = make_plan(seed, TASKS_OF_WORKFLOW * RUNS_OF_WORKFLOW * (faults + mapped), kills=0, clears=0)
    wanted = {f"storm_{number:02d}" for number in range(faults)}
    return replace(plan, jobs=tuple(job for job in plan.jobs if job.workflow_id in wanted))


def install(cluster: Cluster, plan: Plan) -> None:
    """Bring DAG files, schema and workflows, as the quickstart does."""
    with tempfile.TemporaryDirectory() as home:
        Person(Path(home)).install_dag_files(cluster)
    cluster.wait_for_dag("accelerator_maintenance")
    for conf in ({"action": "db upgrade"}, {"action": "import", "text": yaml.safe_dump(plan.definitions())}):
        state = cluster.post_run("accelerator_maintenance", {"logical_date": None, "conf": conf})
        if state != "success":
            raise AssertionError(f"{conf['action']} has ended as {state}.\n{cluster.log_ends()}")
    for workflow_id in {job.workflow_id for job in plan.jobs}:
        cluster.wait_for_dag(workflow_id)


def suffer(cluster: Cluster, fault: Fault, plan: Plan, workflow_id: str) -> Row:
    """Let a fault happen while the batches of a workflow start; wait until all is as it was meant to be."""
    jobs = [job for job in plan.jobs if job.workflow_id == workflow_id]
    by_message, by_rest = sorted({job.batch_id for job in jobs})
    fault.strike(cluster)
    message = {"task_id": jobs[0].task_id, "batch_id": by_message, "scope": "workflow"}
    publish_messages(cluster.emulators.pubsub_host, message)
    cluster.trigger(workflow_id, by_rest)
    time.sleep(fault.seconds)
    fault.mend(cluster)
    mended = time.monotonic()
    runs = [(workflow_id, by_message), (workflow_id, by_rest)]
    cluster.wait_for(
        lambda: all(cluster.has_run(*run) and cluster.run_state(*run) in _ENDED for run in runs),
        _SETTLE_SECONDS,
        f"the ends of {runs}",
    )
    ended = time.monotonic()
    cluster.wait_for(
        lambda: outer_join(cluster.airflow_url, cluster.database_url).equal,
        _SETTLE_SECONDS,
        "the rows",
        explain=lambda: str(outer_join(cluster.airflow_url, cluster.database_url)),
    )
    return Row(fault.name, len(runs), ended - mended, time.monotonic() - ended)


def judge(cluster: Cluster, plan: Plan, ledger: JobLedger, watch: Watch) -> list[str]:
    """Return what is not as it must be."""
    ledger.read()
    wrong = list(ledger.wrong())
    wrong += [f"DAG {dag_id} was gone for a while" for dag_id in sorted(watch.gone)]
    for run in sorted({(job.workflow_id, job.batch_id) for job in plan.jobs}):
        state = cluster.run_state(*run)
        if state != "success":
            wrong.append(f"run {run} has ended as {state}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all faults and print what came of them; 1 where something is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--composer", action="store_true", help="as Cloud Composer is, with the reader of the REST API alone")
    parser.add_argument("--outage", type=float, default=300.0, help="seconds for which the application database is away")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    faults = all_faults(options.outage)
    plan = plan_for(options.seed, len(faults))
    settings = {"pubsub_subscriptions": SUBSCRIPTION, **({"airflow_conn_id": "airflow_api"} if options.composer else {})}
    console = Console(width=130)
    console.print("no application database configured …")
    wrong = list(without_database())
    rows = []
    scenario = plan.scenario().model_copy(update={"rules": []})  # its faults of services
    with Cluster(settings, composer=options.composer, scenario=scenario, revivals=_REVIVALS) as cluster:
        install(cluster, plan)
        ledger = JobLedger(cluster.emulators.ledger, plan)
        workflows = sorted({job.workflow_id for job in plan.jobs})
        watch = Watch(cluster, set(workflows))
        watch.start()
        for fault, workflow_id in zip(faults, workflows, strict=True):
            console.print(f"{fault.name} …")
            rows.append(suffer(cluster, fault, plan, workflow_id))
            console.print(rows[-1])
        watch.enough.set()
        watch.join()
        wrong += judge(cluster, plan, ledger, watch)
    table = Table("fault", "runs", "ended after s", "equal after s more")
    for row in rows:
        table.add_row(row.fault, str(row.runs), f"{row.ended:.0f}", f"{row.equal:.1f}")
    console.print(table)
    console.print(f"{len(plan.jobs)} jobs, {watch.looks} looks at the list of DAGs; ended by themselves: {dict(cluster.revived)}")
    for line in wrong:
        console.print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
