"""Batches on which both databases agree: what Airflow and the reconciler would have left behind, written by SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.chains import add_chain
from provider.metadata.rows import DefinitionRows

WORKFLOWS = 100
#: Of a workflow.
TASKS = 10

#: Each task takes a minute.
_NUMBERED = """
    CREATE TEMPORARY TABLE numbered AS
    SELECT 'workflow_' || lpad((n % :workflows)::text, 3, '0') AS workflow_id, :name || '_' || lpad(n::text, 6, '0') AS batch_id,
        began, CASE WHEN :ended THEN began + (:tasks + 1) * interval '1 minute' END AS ended
    FROM generate_series(1, :count) n,
        LATERAL (SELECT :now - CAST(:age AS interval) - (:count - n) * CAST(:apart AS interval) AS began) times
"""
#: ``start_batch`` is number 0; of a batch that has not ended the last two tasks run and wait.
_NUMBERED_TASKS = """
    CREATE TEMPORARY TABLE numbered_tasks AS
    SELECT workflow_id, batch_id, t, CASE WHEN t = 0 THEN 'start_batch' ELSE workflow_id || '_t' || t - 1 END AS task_id, state,
        CASE WHEN state IS NOT NULL THEN began + t * interval '1 minute' END AS began,
        CASE WHEN state = 'success' THEN began + (t + 1) * interval '1 minute' END AS ended,
        began + (t + 1) * interval '1 minute' AS changed
    FROM numbered, generate_series(0, :tasks) t,
        LATERAL (SELECT CASE WHEN numbered.ended IS NULL AND t = :tasks THEN NULL
            WHEN numbered.ended IS NULL AND t = :tasks - 1 THEN 'running' ELSE 'success' END AS state) states
"""
_AIRFLOW = (
    """
    INSERT INTO dag_run (dag_id, run_id, state, run_type, triggered_by, conf, run_after, queued_at, start_date, end_date,
        created_at, updated_at, last_scheduling_decision, created_dag_version_id, clear_number, span_status)
    SELECT workflow_id, batch_id, CASE WHEN ended IS NULL THEN 'running' ELSE 'success' END, 'manual', 'REST_API', '{}', began,
        began, began, ended, began, coalesce(ended, began), coalesce(ended, began), v.id, 0, 'x'
    FROM numbered JOIN dag_version v ON v.dag_id = workflow_id
    """,
    """
    INSERT INTO task_instance (id, task_id, dag_id, run_id, map_index, start_date, end_date, state, try_number, max_tries, pool,
        pool_slots, queue, priority_weight, operator, queued_dttm, scheduled_dttm, updated_at, dag_version_id, span_status)
    SELECT gen_random_uuid(), task_id, workflow_id, batch_id, -1, began, ended, state, CASE WHEN state IS NULL THEN 0 ELSE 1 END,
        0, 'default_pool', 1, 'default', 1,
        CASE WHEN t = 0 THEN 'StartBatchOperator' ELSE 'DataformWorkflowInvocationOperator' END, began, began, changed, v.id, 'x'
    FROM numbered_tasks JOIN dag_version v ON v.dag_id = workflow_id
    """,
    """
    INSERT INTO log (dttm, dag_id, run_id, task_id, map_index, try_number, event, owner)
    SELECT CASE event WHEN 'running' THEN began ELSE ended END, workflow_id, batch_id, task_id, -1, 1, event, 'airflow'
    FROM numbered_tasks, (VALUES ('running'), ('success')) events(event)
    WHERE event = 'running' AND began IS NOT NULL OR event = 'success' AND ended IS NOT NULL
    """,
)
_APPLICATION = (
    """
    INSERT INTO task_batches (workflow_id, batch_id, status, airflow_state, source, scope, params, created_at, started_at,
        ended_at, end_cause, run_after, updated_at)
    SELECT workflow_id, batch_id, CASE WHEN ended IS NULL THEN 'PROCESSING' ELSE 'SUCCESS' END,
        CASE WHEN ended IS NULL THEN 'running' ELSE 'success' END, 'api', 'workflow', '{}', began, began, ended,
        CASE WHEN ended IS NOT NULL THEN 'task' END, began, coalesce(ended, began)
    FROM numbered
    """,
    """
    INSERT INTO task_logs (workflow_id, batch_id, task_id, map_index, try_number, status, airflow_state, started_at, ended_at,
        end_cause, row_source, updated_at)
    SELECT workflow_id, batch_id, task_id, -1, 1,
        CASE WHEN state = 'success' THEN 'SUCCESS' WHEN state IS NULL THEN 'NEW' ELSE 'PROCESSING' END, state, began, ended,
        CASE WHEN state = 'success' THEN 'task' END, 'reconciler', changed
    FROM numbered_tasks
    """,
)

_NO_AIRFLOW = ("DELETE FROM log WHERE run_id LIKE :ids", "DELETE FROM dag_run WHERE run_id LIKE :ids")
_NO_APPLICATION = ("DELETE FROM task_logs WHERE batch_id LIKE :ids", "DELETE FROM task_batches WHERE batch_id LIKE :ids")


@dataclass(frozen=True)
class Batches:
    """
    Some batches, spread over all workflows.

    :param name: begins their ids.
    :param age: how long ago the last one began, as an interval of PostgreSQL.
    :param apart: time between the beginnings of two.
    :param tasks: of each, beside ``start_batch``.
    :param ended: whether all have succeeded; otherwise one task of each runs, one waits, and those before have succeeded.
    """

    name: str
    count: int
    age: str
    apart: str = "0"
    tasks: int = TASKS
    ended: bool = True


def definitions() -> DefinitionRows:
    """Return the workflows."""
    rows = DefinitionRows()
    for number in range(WORKFLOWS):
        add_chain(rows, f"workflow_{number:03}", TASKS)
    return rows


def add(batches: Batches, airflow: str, *applications: str) -> None:
    """
    Put batches into both databases.

    :param airflow: URL of Airflow's.
    :param applications: URLs of application databases.
    """
    values = {**asdict(batches), "workflows": WORKFLOWS, "now": datetime.now(UTC)}
    for url in (airflow, *applications):
        run(url, (_NUMBERED, _NUMBERED_TASKS, *(_AIRFLOW if url == airflow else _APPLICATION)), values)


def remove(name: str, airflow: str, *applications: str) -> None:
    """Take the batches whose ids begin like this out of the databases again."""
    for url in (airflow, *applications):
        run(url, _NO_AIRFLOW if url == airflow else _NO_APPLICATION, {"ids": f"{name}%"})


def run(url: str, statements: Iterable[str], values: Mapping[str, Any]) -> None:
    """Run statements in one transaction, and let the database do at once what it would do later about them."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), {name: value for name, value in values.items() if f":{name}" in statement})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
    engine.dispose()
