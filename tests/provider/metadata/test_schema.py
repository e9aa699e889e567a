from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from provider.exceptions import ConfigurationError, SchemaOutOfDateError
from provider.metadata import engine, maintenance, schema
from provider.metadata.advisory_locks import AdvisoryLock
from provider.metadata.tables import Base, BatchRequest
from tests.waiting import wait_for


def test_migrations_give_exactly_the_tables_of_the_models(application_database: str) -> None:
    with engine.get_engine().connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": "accelerator_alembic_version", "compare_type": True, "compare_server_default": False},
        )
        assert compare_metadata(context, Base.metadata) == []


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(schema.alembic_config()).get_current_head() == schema.HEAD


def test_an_empty_postgresql_database_is_refused_with_what_to_do(postgres_server, request: pytest.FixtureRequest) -> None:
    url = postgres_server.create_database(f"empty_{abs(hash(request.node.nodeid))}")
    with pytest.raises(SchemaOutOfDateError, match="accelerator db upgrade.*accelerator_maintenance"):
        engine.get_engine(url)


def test_a_newer_schema_is_refused(application_database: str) -> None:
    with engine.write_session() as session:
        session.execute(text("UPDATE accelerator_alembic_version SET version_num = '9999'"))
    engine.dispose_engines()
    with pytest.raises(SchemaOutOfDateError, match="9999, newer than"):
        engine.get_engine()


def test_processes_that_create_the_embedded_database_at_once_do_not_collide(sqlite_url: str) -> None:
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def use() -> None:
        start.wait()
        try:
            schema.ensure_schema(engine.create_engine(sqlite_url))
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "is not a SQLAlchemy URL"),
        ("mysql://me:hunter2@db/x", "supported are postgresql"),
        ("postgresql+pg8000://me:hunter2@db/x", "names another driver"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        engine.create_engine(url)
    assert "hunter2" not in str(raised.value)


def test_the_folder_of_an_sqlite_file_is_created(tmp_path: Path) -> None:
    engine.get_engine(f"sqlite:///{tmp_path}/new/folder/a.db")
    assert (tmp_path / "new/folder/a.db").exists()
    engine.dispose_engines()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_requests_that_wait_during_an_upgrade_know_where_they_start(kind: str, request: pytest.FixtureRequest) -> None:
    from alembic import command
    from sqlalchemy import select, text

    if kind == "sqlite":
        new = engine.create_engine(request.getfixturevalue("sqlite_url"))
    else:
        server = request.getfixturevalue("postgres_server")
        new = engine.create_engine(server.create_database(f"old_{os.getpid()}"))
    with new.execution_options(accelerator_write=True).begin() as connection:
        config = schema.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for message_id, state in (("1", "received"), ("2", "dispatched")):
            connection.execute(
                text(
                    "INSERT INTO batch_requests (subscription, message_id, kind, state, payload, workflow_id, batch_id, task_id, "
                    "received_at) VALUES ('s', :message_id, 'start', :state, :payload, 'w', :message_id, 'stg_orders', "
                    "'2026-01-01 00:00:00')"
                ),
                {"message_id": message_id, "state": state, "payload": b"{}"},
            )
    schema.upgrade(new)
    with new.connect() as connection:
        found = connection.execute(select(BatchRequest.message_id, BatchRequest.start_task_ids, BatchRequest.part)).all()
    new.dispose()
    assert sorted(tuple(row) for row in found) == [("1", ["stg_orders"], 0), ("2", None, 0)]


def test_upgrades_at_once_wait_for_the_one_that_does_it(
    postgres_server: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: longer than any other lock may be waited for."""
    url = postgres_server.create_database(f"at_once_{abs(hash(request.node.nodeid))}")
    monkeypatch.setenv("AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN", url)
    monkeypatch.setattr(engine, "TIMEOUT_SECONDS", 1.0)
    with engine.create_engine(url).connect() as busy:
        busy.exec_driver_sql(f"SELECT pg_advisory_lock({AdvisoryLock.SCHEMA.value})")
        with ThreadPoolExecutor(3) as pool:
            upgrades = [pool.submit(maintenance.upgrade_configured) for _ in range(3)]
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            assert wait_for(lambda: busy.scalar(waiting) == 3, 30)
            # Longer than the lock timeout that the engine sets, told by the server itself.
            assert busy.scalar(text("SELECT 1 FROM pg_sleep(1.5)")) == 1
            assert [upgrade.done() for upgrade in upgrades] == [False] * 3
            busy.invalidate()
        assert [upgrade.result().needed for upgrade in upgrades] == [schema.HEAD] * 3


def test_no_other_lock_of_postgresql_is_waited_for_without_end(postgres_url: str) -> None:
    first, second = engine.create_engine(postgres_url), engine.create_engine(postgres_url)
    with first.connect() as holder, second.connect() as waiter:
        holder.exec_driver_sql("LOCK TABLE workflows")
        waiter.exec_driver_sql("SET statement_timeout = 60000")
        with pytest.raises(OperationalError, match="lock timeout"):
            waiter.exec_driver_sql("LOCK TABLE workflows")


def test_a_forked_child_leaves_its_parents_connection_alone(application_database: str) -> None:
    """Its goodbye to the server, or a query, on the same socket would end or confuse the parent's session."""
    server = application_database.startswith("postgresql")

    def backend() -> Any:
        with engine.read_session() as session:
            return session.scalar(BACKEND if server else text("SELECT 1"))

    engine.keep_connections()
    try:
        before = backend()
        assert backend() == before  # it is kept open
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if (backend() != before) == server else 2
                engine.dispose_engines()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert backend() == before
    finally:
        engine.dispose_engines()
        engine._keeps_connections = False


BACKEND = text("SELECT pg_backend_pid()")
