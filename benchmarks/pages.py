"""The pages of the UI over 100,000 batches and 2,000,000 tries on PostgreSQL: how long each question takes, answer included."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.result import AtMost, Result
from demo.postgres import PostgresServer

if TYPE_CHECKING:
    from starlette.testclient import TestClient

BATCHES = 100_000
TASKS = 20
WORKFLOWS = 100
#: Tries of one further batch, which maps a task over that many rows.
LARGE = 2000
SAMPLES = 40

LIST_MILLISECONDS = AtMost(200)
BATCH_MILLISECONDS = AtMost(300)

#: A batch every 26 seconds for a month; one in twenty has failed, with what it had blocked, the newest few run.
_BATCHES = """
INSERT INTO task_batches (workflow_id, batch_id, status, source, scope, params, created_at, started_at, ended_at, error,
    end_cause, run_after, updated_at)
SELECT 'workflow_' || lpad((n % :workflows)::text, 3, '0'), 'Batch_' || lpad(n::text, 6, '0'),
    CASE WHEN n > :batches - 30 THEN 'PROCESSING' WHEN n % 20 = 0 THEN 'ERROR' ELSE 'SUCCESS' END,
    CASE WHEN n % 3 = 0 THEN 'schedule' ELSE 'message' END, 'workflow', CAST('{"region": "EMEA"}' AS json), at, at,
    CASE WHEN n > :batches - 30 THEN NULL ELSE at + interval '10 minutes' END,
    CASE WHEN n % 20 = 0 THEN repeat('The refresh failed. ', 20) END, 'task', at, at
FROM (SELECT n, timestamptz '2026-03-01' + n * interval '26 seconds' AS at FROM generate_series(1, :batches) n) numbered
"""
_TRIES = """
INSERT INTO task_logs (workflow_id, batch_id, task_id, map_index, try_number, status, airflow_state, started_at, ended_at,
    error_message, end_cause, remote_job_id, remote_job_url, row_source, updated_at)
SELECT b.workflow_id, b.batch_id, b.workflow_id || '_task_' || t, -1, 1, CASE WHEN b.status = 'ERROR' AND t = 10 THEN 'ERROR'
    WHEN b.status = 'ERROR' AND t > 10 THEN 'BLOCKED' ELSE 'SUCCESS' END, 'success',
    b.started_at + t * interval '20 seconds', b.started_at + t * interval '20 seconds' + interval '1 minute',
    CASE WHEN b.status = 'ERROR' AND t = 10 THEN b.error END, 'task', 'workflowInvocations/' || t,
    'https://console.cloud.google.com/' || repeat('x', 80), 'reconciler', b.created_at
FROM task_batches b, generate_series(1, :tasks) t
"""
_LARGE = """
INSERT INTO task_logs (workflow_id, batch_id, task_id, map_index, try_number, status, started_at, ended_at, row_source,
    updated_at)
SELECT workflow_id, batch_id, 'mapped', n, 1, 'SUCCESS', created_at, created_at + interval '1 minute', 'reconciler', created_at
FROM task_batches, generate_series(1, :large) n WHERE batch_id = 'Batch_050000'
"""


def run(_folder: Path) -> Iterator[Result]:
    """Yield the figures."""
    with PostgresServer() as server:
        url = server.create_database("pages")
        _store(url)
        os.environ["AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"] = url
        try:
            yield from _measured(_client())
        finally:
            from provider.metadata.engine import dispose_engines

            del os.environ["AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"]
            dispose_engines()


def _store(url: str) -> None:
    from sqlalchemy import text

    from provider.metadata.engine import create_engine
    from provider.metadata.schema import upgrade

    engine = create_engine(url)
    upgrade(engine)
    with engine.begin() as connection:
        for statement in (_BATCHES, _TRIES, _LARGE):
            sizes = {"batches": BATCHES, "tasks": TASKS, "workflows": WORKFLOWS, "large": LARGE}
            named = {name: size for name, size in sizes.items() if f":{name}" in statement}
            connection.execute(text(statement), named)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def _client() -> TestClient:
    """Return a client of the application, for somebody whose rights are known: what Airflow needs for them is not measured."""
    from starlette.testclient import TestClient

    from provider.pages.access import LOGIN, Person, _person
    from provider.pages.application import build_application

    some = frozenset(f"workflow_{number:03}" for number in range(0, WORKFLOWS, 2))

    def person(visible: str = "all") -> Person:
        found = Person(None)
        vars(found)["visible"] = {"all": None, "half": some, "one": frozenset({"workflow_007"})}[visible]
        return found

    application = build_application()
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    application.dependency_overrides |= {LOGIN: lambda: None, _person: person}
    return TestClient(application)


def _measured(client: TestClient) -> Iterator[Result]:
    middle = client.get("/api/batches", params={"until": "2026-03-16T00:00:00Z", "limit": 1}).json()["batches"][0]["place"]
    lists: Mapping[str, dict[str, Any]] = {
        "newest": {},
        "in_the_middle": {"after": middle},
        "back_from_the_middle": {"before": middle},
        "failed": {"status": "ERROR"},
        "running": {"status": "PROCESSING"},
        "of_a_workflow": {"workflow": "workflow_042"},
        "of_a_source": {"source": "schedule"},
        "of_an_hour": {"since": "2026-03-16T04:00:00Z", "until": "2026-03-16T05:00:00Z"},
        "text_found_once": {"text": "004711"},
        "text_not_found": {"text": "nowhere"},
        "nothing_fits": {"status": "PROCESSING", "workflow": "workflow_042", "source": "ui"},
        "reader_of_half": {"visible": "half"},
        "reader_of_one": {"visible": "one"},
    }
    for name, parameters in lists.items():
        samples = [_milliseconds(client, "/api/batches", parameters) for _ in range(SAMPLES)]
        yield Result(f"pages.list.{name}", "ms", samples, LIST_MILLISECONDS, "p95")
    for tries, batch_id, workflow_id, goal in (
        (TASKS, "Batch_050020", "workflow_020", BATCH_MILLISECONDS),
        (LARGE + TASKS, "Batch_050000", "workflow_000", None),
    ):
        asked = {"dag_id": workflow_id, "run_id": batch_id}
        samples = [_milliseconds(client, "/api/batch", asked) for _ in range(SAMPLES)]
        yield Result(f"pages.batch.{tries}_tries", "ms", samples, goal, "p95")


def _milliseconds(client: TestClient, route: str, parameters: Mapping[str, Any]) -> float:
    began = time.perf_counter()
    answer = client.get(route, params=dict(parameters))
    took = (time.perf_counter() - began) * 1000
    answer.raise_for_status()
    return took
