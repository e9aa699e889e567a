"""What the demo's rows must be, and the checks that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provider.emulators.ledger import Entry

GOOD = ("daily_sales", "Batch_20240316_001")
FAILING = ("stock_levels", "Batch_20240316_002")
SCHEDULED_WORKFLOW = "calendar"
GOOD_REPOSITORY = "sales"

MISSING_TABLE = "Not found: Table demo-project:raw.suppliers was not found in location europe-west3"

EXPECTED_TASKS: Mapping[str, Mapping[str, str]] = {
    "daily_sales": dict.fromkeys(
        ("start_batch", "stg_orders", "stg_customers", "refresh_daily_sales", "batch_watcher"), "SUCCESS"
    ),
    "stock_levels": {
        "start_batch": "SUCCESS",
        "stg_stock": "SUCCESS",
        "stg_suppliers": "ERROR",
        "refresh_stock_levels": "BLOCKED",
        "batch_watcher": "BLOCKED",
    },
    "calendar": {"start_batch": "SUCCESS", "dim_date": "SUCCESS"},
}
EXPECTED_BATCH = {"daily_sales": "SUCCESS", "stock_levels": "ERROR", "calendar": "SUCCESS"}

# The state that each side must have, in the words of the design's table; every other state of Airflow is PROCESSING.
_STATUS = {
    None: "NEW",
    "scheduled": "NEW",
    "queued": "NEW",
    "success": "SUCCESS",
    "failed": "ERROR",
    "up_for_retry": "ERROR",
    "skipped": "SKIPPED",
    "removed": "SKIPPED",
    "upstream_failed": "BLOCKED",
}

# Airflow's side, and ours. An earlier try is in the history, and can be there and in task_instance at once.
_AIRFLOW_TRIES = """
SELECT dag_id, run_id, task_id, map_index, try_number, state, 0 AS live FROM task_instance_history WHERE try_number > 0
UNION ALL
SELECT dag_id, run_id, task_id, map_index, CASE WHEN try_number < 1 THEN 1 ELSE try_number END, state, 1 FROM task_instance
ORDER BY live
"""
_TASK_LOGS = "SELECT workflow_id, batch_id, task_id, map_index, try_number, status FROM task_logs"


@dataclass(frozen=True)
class Join:
    """Counts of the outer join."""

    rows: int
    missing_in_task_logs: int
    missing_in_airflow: int
    other_status: int

    @property
    def equal(self) -> bool:
        """Tell whether both sides say the same."""
        return not (self.missing_in_task_logs or self.missing_in_airflow or self.other_status)


def outer_join(airflow_url: str, application_url: str) -> Join:
    """Join Airflow's task instances (earlier tries: its history) of workflows with the task logs. SQLAlchemy URLs."""
    tries = _rows(airflow_url, _AIRFLOW_TRIES)
    workflows = {dag_id for dag_id, _run, task_id, *_ in tries if task_id == "start_batch"}
    there: dict[tuple[Any, ...], str] = {}
    for dag_id, run_id, task_id, map_index, number, state, live in tries:
        key = (dag_id, run_id, task_id, map_index, number)
        if live and key in there and state not in ("up_for_retry", "restarting"):
            # It waited for its next try when a person ended or cleared it, and still has the number of the last one.
            key = (*key[:4], number + 1)
        if dag_id in workflows:
            there[key] = _STATUS.get(state, "PROCESSING")
    here = {tuple(key): status for *key, status in _rows(application_url, _TASK_LOGS)}
    return Join(
        rows=len(there.keys() | here.keys()),
        missing_in_task_logs=len(there.keys() - here.keys()),
        missing_in_airflow=len(here.keys() - there.keys()),
        other_status=sum(1 for key in there.keys() & here.keys() if there[key] != here[key]),
    )


def _rows(url: str, statement: str) -> Sequence[Sequence[Any]]:
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(text(statement)).all()
    finally:
        engine.dispose()


def wrong_rows(batches: Iterable[Mapping[str, Any]], logs: Iterable[Mapping[str, Any]]) -> list[str]:
    """
    Compare TaskBatch and TaskLog rows with what the examples must give.

    :param batches: dicts of ``task_batches``.
    :param logs: dicts of ``task_logs``.
    :return: one line for each thing that is not as it must be.
    """
    problems = []
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for log in logs:
        seen.setdefault((log["workflow_id"], log["batch_id"]), {})[log["task_id"]] = log["status"]
        if log["task_id"] == "stg_suppliers" and MISSING_TABLE not in (log["error_message"] or ""):
            problems.append(f"stg_suppliers: the failed action's own reason is not in the error {log['error_message']!r}")
    found = {}
    for batch in batches:
        key = (batch["workflow_id"], batch["batch_id"])
        found[key] = batch
        if batch["status"] != EXPECTED_BATCH[key[0]]:
            problems.append(f"batch {key[1]} of {key[0]} is {batch['status']}, not {EXPECTED_BATCH[key[0]]}")
        if seen.get(key) != EXPECTED_TASKS[key[0]]:
            problems.append(f"batch {key[1]} of {key[0]} has the task logs {seen.get(key)}, not {EXPECTED_TASKS[key[0]]}")
    problems += [
        f"batch {batch_id} of {workflow} is missing"
        for workflow, batch_id in (GOOD, FAILING)
        if (workflow, batch_id) not in found
    ]
    if not any(workflow == SCHEDULED_WORKFLOW for workflow, _ in found):
        problems.append(f"the scheduled workflow {SCHEDULED_WORKFLOW} has no batch")
    return problems


def wrong_calls(ledger: Sequence[Entry]) -> list[str]:
    """
    Compare what the emulators were asked with the order that the good workflow demands.

    :param ledger: the entries of all emulators, oldest first.
    :return: one line for each thing that is not as it must be.
    """
    posted = [entry for entry in ledger if entry.operation == "refresh_posted" and entry.outcome == "ok"]
    succeeded = [
        entry
        for entry in ledger
        if entry.operation == "workflow_invocation_succeeded" and f"/repositories/{GOOD_REPOSITORY}/" in entry.resource
    ]
    problems = []
    if len(posted) != 1:
        problems.append(f"Power BI was asked for {len(posted)} refreshes, not 1")
    if len(succeeded) != 2:
        problems.append(f"{len(succeeded)} invocations of the repository {GOOD_REPOSITORY} succeeded, not 2")
    problems += [
        f"the refresh was posted (entry {post.seq}) before invocation {entry.resource} had succeeded (entry {entry.seq})"
        for post in posted
        for entry in succeeded
        if entry.seq > post.seq
    ]
    return problems
