from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from provider.exceptions import ConfigurationError, SchemaOutOfDateError
from provider.metadata import engine, schema
from provider.metadata.tables import Base, BatchRequest


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
        from sqlalchemy import text

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
        ("postgresql+pg8000://me:hunter2@db/x", "needs the driver pg8000"),
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
