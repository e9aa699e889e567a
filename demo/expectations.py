"""What the demo's rows must be, and the checks that say so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provider.emulators.ledger import Entry

GOOD = ("daily_sales", "Batch_20240316_001")
FAILING = ("stock_levels", "Batch_20240316_002")
SCHEDULED_WORKFLOW = "calendar"
GOOD_REPOSITORY = "sales"

MISSING_TABLE = "Not found: Table demo-project:raw.suppliers was not found in location europe-west3"

EXPECTED_TASKS: Mapping[str, Mapping[str, str]] = {
    "daily_sales": dict.fromkeys(("start_batch", "stg_orders", "stg_customers", "refresh_daily_sales"), "SUCCESS"),
    "stock_levels": {
        "start_batch": "SUCCESS",
        "stg_stock": "SUCCESS",
        "stg_suppliers": "ERROR",
        "refresh_stock_levels": "BLOCKED",
    },
    "calendar": {"start_batch": "SUCCESS", "dim_date": "SUCCESS"},
}
EXPECTED_BATCH = {"daily_sales": "SUCCESS", "stock_levels": "ERROR", "calendar": "SUCCESS"}

# The state that each side must have, in the words of the design's table.
_STATUS = """CASE coalesce(state, '')
    WHEN 'success' THEN 'SUCCESS' WHEN 'failed' THEN 'ERROR' WHEN 'up_for_retry' THEN 'ERROR' WHEN 'skipped' THEN 'SKIPPED'
    WHEN 'removed' THEN 'SKIPPED' WHEN 'upstream_failed' THEN 'BLOCKED' WHEN '' THEN 'NEW' WHEN 'scheduled' THEN 'NEW'
    WHEN 'queued' THEN 'NEW' ELSE 'PROCESSING' END"""

OUTER_JOIN = f"""
WITH tries AS (
    SELECT dag_id, run_id, task_id, map_index, max(try_number, 1) AS try_number, state FROM airflow.task_instance
), airflow_rows AS (
    SELECT dag_id, run_id, task_id, map_index, try_number, {_STATUS} AS status FROM (
        SELECT * FROM tries
        UNION ALL
        SELECT dag_id, run_id, task_id, map_index, try_number, state FROM airflow.task_instance_history
        WHERE try_number > 0 AND (dag_id, run_id, task_id, map_index, try_number)
            NOT IN (SELECT dag_id, run_id, task_id, map_index, try_number FROM tries)
    )
    WHERE dag_id IN (SELECT dag_id FROM airflow.task_instance WHERE task_id = 'start_batch')
)
SELECT a.dag_id, a.run_id, a.task_id, a.status AS airflow_status, l.status AS log_status
FROM airflow_rows AS a LEFT JOIN task_logs AS l
    ON (l.workflow_id, l.batch_id, l.task_id, l.map_index, l.try_number)
     = (a.dag_id, a.run_id, a.task_id, a.map_index, a.try_number)
UNION ALL
SELECT l.workflow_id, l.batch_id, l.task_id, NULL, l.status
FROM task_logs AS l LEFT JOIN airflow_rows AS a
    ON (l.workflow_id, l.batch_id, l.task_id, l.map_index, l.try_number)
     = (a.dag_id, a.run_id, a.task_id, a.map_index, a.try_number)
WHERE a.task_id IS NULL
"""  # noqa: S608 - the only thing put in is the constant above
"""Both sides of Airflow's task_instance (earlier tries: its history) and our task_logs; NULL is a row that a side lacks."""


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


def outer_join(airflow_database: Path, application_database: Path) -> Join:
    """Join Airflow's task instances and the task logs, both SQLite files, read-only."""
    with closing(sqlite3.connect(f"file:{application_database}?mode=ro", uri=True)) as connection:
        connection.execute("ATTACH ? AS airflow", (f"file:{airflow_database}?mode=ro",))
        rows = connection.execute(OUTER_JOIN).fetchall()
    return Join(
        rows=len(rows),
        missing_in_task_logs=sum(1 for *_, there, here in rows if here is None and there is not None),
        missing_in_airflow=sum(1 for *_, there, here in rows if there is None),
        other_status=sum(1 for *_, there, here in rows if None not in (there, here) and there != here),
    )


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
