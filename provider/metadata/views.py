"""
Views for people and tools that read the application database by SQL. What they say is in ``docs/tasklog.md``.

A migration that changes a table they read drops them first and makes them anew: databases keep a view's columns.
"""

from __future__ import annotations

from collections.abc import Mapping

_SECONDS = {
    "sqlite": "(julianday(coalesce({end}, CURRENT_TIMESTAMP)) - julianday({start})) * 86400.0",
    "postgresql": "CAST(EXTRACT(EPOCH FROM coalesce({end}, CURRENT_TIMESTAMP) - {start}) AS double precision)",
}

_LATEST = """(
    SELECT task_logs.*, ROW_NUMBER() OVER (
        PARTITION BY workflow_id, batch_id, task_id, map_index ORDER BY try_number DESC
    ) AS newest
    FROM task_logs
)"""


def _count(status: str) -> str:
    return f"SUM(CASE WHEN latest.status = '{status}' THEN 1 ELSE 0 END)"


#: Name → SELECT; ``[seconds START END]`` stands for a duration in the words of the database.
VIEWS: Mapping[str, str] = {
    "v_batch_summary": f"""
        SELECT b.workflow_id, b.batch_id, b.status, b.source, b.created_at, b.started_at, b.ended_at,
            [seconds b.started_at b.ended_at] AS seconds,
            COUNT(latest.task_id) AS tasks, {_count("SUCCESS")} AS succeeded, {_count("ERROR")} AS failed,
            {_count("BLOCKED")} AS blocked, {_count("SKIPPED")} AS skipped,
            {_count("NEW")} + {_count("PROCESSING")} AS unfinished,
            SUM(CASE WHEN latest.try_number > 1 THEN latest.try_number - 1 ELSE 0 END) AS repeats,
            b.end_cause, b.ended_by, b.error
        FROM task_batches b
        LEFT JOIN {_LATEST} latest
            ON latest.workflow_id = b.workflow_id AND latest.batch_id = b.batch_id AND latest.newest = 1
            AND latest.task_id NOT IN ('start_batch', 'batch_watcher')
        GROUP BY b.workflow_id, b.batch_id, b.status, b.source, b.created_at, b.started_at, b.ended_at, b.end_cause, b.ended_by,
            b.error""",
    "v_task_duration": """
        SELECT l.workflow_id, l.batch_id, l.task_id, l.map_index, l.try_number, l.status, l.started_at, l.ended_at,
            [seconds l.started_at l.ended_at] AS seconds, l.remote_job_id
        FROM task_logs l
        WHERE l.started_at IS NOT NULL""",
    "v_what_failed": f"""
        SELECT latest.workflow_id, latest.batch_id, latest.task_id, latest.map_index, latest.try_number, latest.ended_at,
            latest.error_type, latest.error_message, latest.end_cause, latest.ended_by, latest.remote_job_url,
            b.status AS batch_status, b.created_at AS batch_created_at
        FROM {_LATEST} latest
        JOIN task_batches b ON b.workflow_id = latest.workflow_id AND b.batch_id = latest.batch_id
        WHERE latest.newest = 1 AND latest.status = 'ERROR'""",
}


def create_statements(dialect: str) -> list[str]:
    """
    Return the statements that make the views.

    :param dialect: ``sqlite`` or ``postgresql``.
    """
    return [f"CREATE VIEW {name} AS {_with_durations(select, dialect)}" for name, select in VIEWS.items()]


def _with_durations(select: str, dialect: str) -> str:
    before, found, after = select.partition("[seconds ")
    if not found:
        return select
    columns, _, after = after.partition("]")
    start, end = columns.split()
    return before + _SECONDS[dialect].format(start=start, end=end) + after
