"""The statements of the record's verdict, for PostgreSQL. ``{workflows}`` is a pattern of the DAGs that are compared."""

from __future__ import annotations

from collections.abc import Mapping

COPIED: Mapping[str, str] = {
    "our_task_batches": "workflow_id, batch_id, status, airflow_state, started_at, ended_at, error, end_cause, ended_by, "
    "run_after",
    "our_task_logs": "workflow_id, batch_id, task_id, map_index, try_number, status, airflow_state, started_at, ended_at, "
    "error_type, error_message, end_cause, ended_by",
}
"""Copy of a table of ours → its columns."""

SETUP = (
    """
CREATE TEMP TABLE our_task_batches (
    workflow_id text, batch_id text, status text, airflow_state text, started_at timestamptz, ended_at timestamptz, error text,
    end_cause text, ended_by text, run_after timestamptz)
""",
    """
CREATE TEMP TABLE our_task_logs (
    workflow_id text, batch_id text, task_id text, map_index int, try_number int, status text, airflow_state text,
    started_at timestamptz, ended_at timestamptz, error_type text, error_message text, end_cause text, ended_by text)
""",
    """
CREATE TEMP TABLE told (
    label text, dag_id text, run_id text, task_id text, map_index int, before int, state text, status text, cause text,
    person text, text text)
""",
    "CREATE TEMP TABLE deleted (dag_id text, run_id text)",
)

VIEWS = (
    # Every try, by the rules of the architecture page: the history, and the task instances. One that waits for its next try,
    # or was skipped or blocked while it waited, still has the number of the try before, which is in the history.
    """
CREATE TEMP VIEW tries AS
WITH past AS (
    SELECT dag_id, run_id, task_id, map_index, try_number, state, start_date, end_date
    FROM task_instance_history WHERE try_number > 0 AND dag_id LIKE '{workflows}'
), live AS (
    SELECT ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.state, ti.start_date, ti.end_date,
        greatest(1, ti.try_number) + CASE
            WHEN past.task_id IS NOT NULL AND coalesce(ti.state, '') NOT IN ('up_for_retry', 'restarting') THEN 1 ELSE 0
        END AS try_number
    FROM task_instance ti
    LEFT JOIN past ON past.dag_id = ti.dag_id AND past.run_id = ti.run_id AND past.task_id = ti.task_id
        AND past.map_index = ti.map_index AND past.try_number = greatest(1, ti.try_number)
    WHERE ti.dag_id LIKE '{workflows}'
)
SELECT dag_id, run_id, task_id, map_index, try_number, state, start_date, end_date FROM live
UNION ALL
SELECT dag_id, run_id, task_id, map_index, try_number, state, start_date, end_date FROM past
WHERE NOT EXISTS (
    SELECT FROM live WHERE live.dag_id = past.dag_id AND live.run_id = past.run_id AND live.task_id = past.task_id
        AND live.map_index = past.map_index AND live.try_number = past.try_number
)
""",
    "CREATE TEMP VIEW runs AS SELECT * FROM dag_run WHERE dag_id LIKE '{workflows}'",
    # Ours and Airflow's side by side, and what is different between them.
    """
CREATE TEMP VIEW compared_tries AS
SELECT coalesce(tries.dag_id, ours.workflow_id) AS dag_id, coalesce(tries.run_id, ours.batch_id) AS run_id,
    coalesce(tries.task_id, ours.task_id) || '[' || coalesce(tries.map_index, ours.map_index) || '] try '
        || coalesce(tries.try_number, ours.try_number) AS place,
    CASE
    WHEN ours.workflow_id IS NULL
    THEN 'Airflow has it, ' || coalesce(tries.state, 'without a state') || ', and the record has not'
    WHEN tries.dag_id IS NULL AND runs.dag_id IS NULL THEN CASE
        WHEN NOT EXISTS (SELECT FROM deleted WHERE deleted.dag_id = ours.workflow_id AND deleted.run_id = ours.batch_id)
        THEN 'the record has a try of a run that is not there and that nobody deleted'
        WHEN ours.status IN ('NEW', 'PROCESSING') THEN 'its run is deleted and it is ' || ours.status
        END
    WHEN tries.dag_id IS NULL THEN 'the record has it, ' || ours.status || ', and Airflow has not'
    WHEN ours.airflow_state IS DISTINCT FROM tries.state
    THEN 'it is ' || coalesce(tries.state, 'without a state') || ', and the record says '
        || coalesce(ours.airflow_state, 'no state')
    WHEN ours.status <> CASE
            WHEN tries.state IS NULL OR tries.state IN ('scheduled', 'queued') THEN 'NEW'
            WHEN tries.state = 'success' THEN 'SUCCESS'
            WHEN tries.state IN ('failed', 'up_for_retry') THEN 'ERROR'
            WHEN tries.state = 'upstream_failed' THEN 'BLOCKED'
            WHEN tries.state = 'skipped' AND runs.state = 'failed' AND ours.end_cause IN ('run_timeout', 'marked_failed')
            THEN 'ERROR'
            WHEN tries.state IN ('skipped', 'removed') THEN 'SKIPPED'
            ELSE 'PROCESSING'
        END
    THEN 'it is ' || coalesce(tries.state, 'without a state') || ', and its status is ' || ours.status
    WHEN ours.started_at IS DISTINCT FROM CASE
            WHEN ours.status = 'NEW' THEN NULL
            WHEN tries.start_date = tries.end_date AND ours.ended_by IS NOT NULL THEN NULL  -- marked before it ran
            ELSE tries.start_date
        END
    THEN 'it started at ' || coalesce(tries.start_date::text, 'no time') || ', and the record says '
        || coalesce(ours.started_at::text, 'never')
    WHEN ours.ended_at IS DISTINCT FROM CASE
            WHEN ours.status IN ('NEW', 'PROCESSING') THEN NULL
            WHEN ours.status = 'ERROR' THEN coalesce(tries.end_date, runs.end_date)
            ELSE tries.end_date
        END
    THEN 'it ended at ' || coalesce(tries.end_date::text, 'no time') || ', and the record says '
        || coalesce(ours.ended_at::text, 'never')
    END AS difference
FROM tries
FULL OUTER JOIN our_task_logs ours ON ours.workflow_id = tries.dag_id AND ours.batch_id = tries.run_id
    AND ours.task_id = tries.task_id AND ours.map_index = tries.map_index AND ours.try_number = tries.try_number
LEFT JOIN runs ON runs.dag_id = coalesce(tries.dag_id, ours.workflow_id) AND runs.run_id = coalesce(tries.run_id, ours.batch_id)
""",
    """
CREATE TEMP VIEW compared_batches AS
SELECT coalesce(runs.dag_id, ours.workflow_id) AS dag_id, coalesce(runs.run_id, ours.batch_id) AS run_id, 'batch' AS place,
    CASE
    WHEN ours.workflow_id IS NULL THEN 'Airflow has it, ' || runs.state || ', and the record has not'
    WHEN runs.dag_id IS NULL AND NOT EXISTS (
        SELECT FROM deleted WHERE deleted.dag_id = ours.workflow_id AND deleted.run_id = ours.batch_id
    ) THEN 'the record has it, and nobody deleted the run that is not there'
    WHEN runs.dag_id IS NULL
    THEN CASE WHEN ours.status NOT IN ('ERROR', 'SUCCESS') THEN 'its run is deleted and it is ' || ours.status END
    WHEN ours.airflow_state IS DISTINCT FROM runs.state OR ours.status <> CASE runs.state
            WHEN 'success' THEN 'SUCCESS' WHEN 'failed' THEN 'ERROR' WHEN 'queued' THEN 'NEW' ELSE 'PROCESSING' END
    THEN 'it is ' || runs.state || ', and the record says ' || ours.status || ', ' || coalesce(ours.airflow_state, 'no state')
    WHEN ours.started_at IS DISTINCT FROM runs.start_date THEN 'it did not start when the record says'
    WHEN ours.ended_at IS DISTINCT FROM CASE WHEN runs.state IN ('success', 'failed') THEN runs.end_date END
    THEN 'it did not end when the record says'
    WHEN ours.run_after IS DISTINCT FROM runs.run_after THEN 'it is another run than the one that the record tells of'
    END AS difference
FROM runs FULL OUTER JOIN our_task_batches ours ON ours.workflow_id = runs.dag_id AND ours.batch_id = runs.run_id
WHERE coalesce(runs.dag_id, ours.workflow_id) LIKE '{workflows}'
""",
    # What the scheduler wrote of tries of which it ended the process itself, or found it gone.
    """
CREATE TEMP VIEW lost_tries AS
SELECT DISTINCT dag_id, run_id, task_id, coalesce(map_index, -1) AS map_index, try_number FROM log
WHERE dag_id LIKE '{workflows}' AND event IN ('heartbeat timeout', 'state mismatch')
""",
    # What was told of each row, what Airflow says, and what the record says.
    """
CREATE TEMP VIEW judged AS
WITH newest AS (
    SELECT dag_id, run_id, task_id, map_index, max(try_number) AS try_number FROM tries GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT workflow_id, batch_id, task_id, map_index, max(try_number) FROM our_task_logs ours
    WHERE NOT EXISTS (SELECT FROM runs WHERE runs.dag_id = ours.workflow_id AND runs.run_id = ours.batch_id) GROUP BY 1, 2, 3, 4
), found AS (
    SELECT told.*, coalesce(tries.state, CASE WHEN told.task_id IS NULL THEN runs.state END) AS state_in_airflow,
        runs.dag_id IS NOT NULL AS is_there,
        -- Of what a person has ended the scheduler finds no process either.
        lost_tries.dag_id IS NOT NULL AND told.person IS NULL AND NOT 'heartbeat' ~ told.cause AND NOT 'killed' ~ told.cause
            AS is_lost,
        coalesce(log.status, batch.status) AS our_status, coalesce(log.end_cause, batch.end_cause) AS our_cause,
        coalesce(log.ended_by, batch.ended_by) AS our_person, coalesce(log.error_message, batch.error) AS our_text
    FROM told
    LEFT JOIN newest ON newest.dag_id = told.dag_id AND newest.run_id = told.run_id AND newest.task_id = told.task_id
        AND newest.map_index = told.map_index
    LEFT JOIN tries ON tries.dag_id = told.dag_id AND tries.run_id = told.run_id AND tries.task_id = told.task_id
        AND tries.map_index = told.map_index AND tries.try_number = newest.try_number - told.before
    LEFT JOIN runs ON runs.dag_id = told.dag_id AND runs.run_id = told.run_id
    LEFT JOIN our_task_logs log ON log.workflow_id = told.dag_id AND log.batch_id = told.run_id AND log.task_id = told.task_id
        AND log.map_index = told.map_index AND log.try_number = newest.try_number - told.before
    LEFT JOIN our_task_batches batch ON told.task_id IS NULL AND batch.workflow_id = told.dag_id
        AND batch.batch_id = told.run_id
    LEFT JOIN lost_tries ON lost_tries.dag_id = told.dag_id AND lost_tries.run_id = told.run_id
        AND lost_tries.task_id = told.task_id AND lost_tries.map_index = told.map_index
        AND lost_tries.try_number = newest.try_number - told.before
), compared AS (
    -- What was killed did something else to it than was intended: then it has to be equal to Airflow, and its reason is another.
    SELECT *, (state IS NOT NULL AND (state_in_airflow IS NULL OR state_in_airflow <> state)) OR is_lost AS is_other FROM found
)
SELECT *,
    -- A batch speaks of its tasks.
    CASE WHEN task_id IS NULL THEN bool_or(is_other) OVER (PARTITION BY dag_id, run_id) ELSE is_other END AS is_disturbed,
    CASE
    WHEN our_status IS NULL THEN 'there is no row of it'
    WHEN state IS NULL AND is_there THEN 'its run is still there'
    WHEN our_status <> status THEN 'it is ' || our_status || ' and not ' || status
    WHEN our_cause IS NULL OR our_cause !~ cause
    THEN 'its end has the cause ' || coalesce(our_cause, 'none') || ' and not ' || cause
    WHEN our_person IS DISTINCT FROM person
    THEN 'it was ended by ' || coalesce(our_person, 'nobody') || ' and not by ' || coalesce(person, 'nobody')
    WHEN text IS NULL AND our_text IS NOT NULL THEN 'it says ' || left(our_text, 200)
    WHEN text IS NOT NULL AND (our_text IS NULL OR our_text !~ text)
    THEN 'it says ' || coalesce(left(our_text, 200), 'nothing') || ' and not ' || text
    END AS fault
FROM compared
""",
)

DIFFERENCES = """
SELECT dag_id, run_id, place, difference FROM compared_tries WHERE difference IS NOT NULL
UNION ALL SELECT dag_id, run_id, place, difference FROM compared_batches WHERE difference IS NOT NULL
ORDER BY 1, 2, 3
"""

TOLD = """
SELECT label, run_id,
    coalesce(task_id || '[' || map_index || '] newest try' || CASE before WHEN 0 THEN '' ELSE ' but ' || before END, 'batch'),
    fault, fault IS NOT NULL AND NOT is_disturbed
FROM judged ORDER BY 1, 2, 3
"""

DISTURBED = """
SELECT label, run_id,
    coalesce(task_id || '[' || map_index || '] newest try' || CASE before WHEN 0 THEN '' ELSE ' but ' || before END, 'batch'),
    coalesce(state_in_airflow, 'not there'), state
FROM judged WHERE is_disturbed ORDER BY 1, 2, 3
"""

# Whatever was intended: every end has a cause, every error and every skip a text, no text a line break or a secret.
UNEXPLAINED_ENDS = """
SELECT * FROM (
SELECT workflow_id, batch_id, task_id || '[' || map_index || '] try ' || try_number, CASE
    WHEN end_cause IS NULL THEN 'it has ended, ' || status || ', and the record does not say by what'
    WHEN status <> 'SUCCESS' AND coalesce(error_message, '') = '' THEN 'it is ' || status || ' and does not say why'
    WHEN error_message ~ 'MIIEcanary' THEN 'there is a secret in it'
    WHEN error_message ~ E'[\\n\\r]' THEN 'its text has several lines'
    WHEN (ended_by IS NULL) <> (end_cause !~ '^(marked_|cleared$|deleted$)') THEN 'its cause ' || end_cause || ' and its person '
        || coalesce(ended_by, 'nobody') || ' do not go together'
    WHEN EXISTS (SELECT FROM lost_tries lost WHERE lost.dag_id = ours.workflow_id AND lost.run_id = ours.batch_id
        AND lost.task_id = ours.task_id AND lost.map_index = ours.map_index AND lost.try_number = ours.try_number)
        AND status = 'ERROR' AND ended_by IS NULL AND end_cause NOT IN ('heartbeat', 'killed', 'run_timeout')
        AND error_type IS NULL
    THEN 'the scheduler has lost it, and the record says ' || end_cause
    END
FROM our_task_logs ours
WHERE status NOT IN ('NEW', 'PROCESSING') AND workflow_id LIKE '{workflows}'
UNION ALL
SELECT workflow_id, batch_id, 'batch', CASE
    WHEN end_cause IS NULL THEN 'it has ended, ' || status || ', and the record does not say by what'
    WHEN status = 'ERROR' AND coalesce(error, '') = '' THEN 'it is ERROR and does not say why'
    WHEN error ~ 'MIIEcanary' THEN 'there is a secret in it'
    END
FROM our_task_batches WHERE status IN ('SUCCESS', 'ERROR') AND workflow_id LIKE '{workflows}'
) AS ends(dag_id, run_id, place, fault) WHERE fault IS NOT NULL ORDER BY 1, 2, 3
"""
TABLE = """
WITH differences AS (
    SELECT dag_id, run_id, count(*) AS count FROM (
        SELECT dag_id, run_id FROM compared_tries WHERE difference IS NOT NULL
        UNION ALL SELECT dag_id, run_id FROM compared_batches WHERE difference IS NOT NULL
    ) AS found GROUP BY 1, 2
), runs_of_label AS (
    SELECT label, dag_id, run_id, count(*) AS rows, count(*) FILTER (WHERE is_disturbed) AS disturbed,
        count(*) FILTER (WHERE fault IS NOT NULL AND NOT is_disturbed) AS faults
    FROM judged GROUP BY 1, 2, 3
)
SELECT label, count(*), sum(rows)::int, sum(disturbed)::int, (sum(faults) + sum(coalesce(differences.count, 0)))::int
FROM runs_of_label LEFT JOIN differences USING (dag_id, run_id)
GROUP BY 1 ORDER BY 1
"""
