"""The way back of each migration, with rows in the tables, on both databases."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from provider.exceptions import SchemaOutOfDateError
from provider.metadata import downgrade, engine, schema
from provider.metadata.engine import create_engine

SCRIPTS = list(ScriptDirectory.from_config(schema.alembic_config()).walk_revisions())
EARLIER = [script.revision for script in SCRIPTS[1:]]
NOW = "2026-01-01 00:00:00"
#: Rows of each table that all schemas can hold.
ROWS: dict[str, list[dict[str, Any]]] = {
    "workflows": [{"workflow_id": "w", "description": "sales"}],
    "tasks": [{"task_id": task, "workflow_id": "w", "task_type": "dataform", "config": "{}"} for task in ("a", "b")],
    "task_dependencies": [{"parent_id": "a", "child_id": "b"}],
    "task_batches": [{"workflow_id": "w", "batch_id": "B1", "status": "SUCCESS", "created_at": NOW, "updated_at": NOW}],
    "task_logs": [
        {"workflow_id": "w", "batch_id": "B1", "task_id": task, "status": "SUCCESS", "row_source": "task", "updated_at": NOW}
        for task in ("a", "b")
    ],
    "workflow_versions": [{"workflow_id": "w", "created_at": NOW, "created_by": "ada", "action": "imported"}],
    "leader_leases": [{"name": "reconciler", "holder": "me", "seen_at": NOW}],
}


def request(message_id: str, **values: Any) -> dict[str, Any]:
    row = {"subscription": "s", "message_id": message_id, "kind": "start", "state": "dispatched", "payload": b"{}"}
    return row | {"workflow_id": "w", "batch_id": f"B{message_id}", "task_id": "a", "received_at": NOW} | values


REQUESTS = [
    request("1"),
    request("2", state="received", start_task_ids='["a"]'),
    request("3", kind="completion", state="recorded", status="ERROR", error="broken"),
    request("4", kind="file", part=0),
    request("4", kind="file", part=1, workflow_id="other"),
    request("4", kind="file", part=2, workflow_id="third"),
]


@pytest.fixture
def database(application_database: str) -> Iterator[Engine]:
    """A database of this version, with rows in every table."""
    created = create_engine(application_database)
    schema.upgrade(created)
    with writing(created) as connection:
        for table, rows in [*ROWS.items(), ("batch_requests", REQUESTS)]:
            for row in rows:
                insert(connection, table, row)
    yield created
    created.dispose()
    engine.dispose_engines()


@contextmanager
def writing(of: Engine) -> Iterator[Connection]:
    with of.execution_options(accelerator_write=True).begin() as connection:
        yield connection


def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row)


def rows_of(database: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables; of the inbox by message and part."""
    found = {}
    with database.connect() as connection:
        for table in [*ROWS, "batch_requests"]:
            rows = [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()]
            found[table] = sorted(rows, key=lambda row: (str(row.get("id")), str(row.get("task_id"))))
    return found


def shape(database: Engine) -> dict[str, Any]:
    """Return what there is in a database: columns, keys, indexes with their conditions, views."""
    found: dict[str, Any] = {}
    with database.connect() as connection:
        inspector = inspect(connection)
        for table in inspector.get_table_names():
            columns = {
                (column["name"], str(column["type"]), column["nullable"], str(column["default"]))
                for column in inspector.get_columns(table)
            }
            indexes = inspector.get_indexes(table)
            found[table] = (
                columns,
                inspector.get_pk_constraint(table),
                sorted(str(key) for key in inspector.get_unique_constraints(table)),
                sorted(f"{[str(value) for value in index.pop('dialect_options', {}).values()]} {index}" for index in indexes),
                sorted(str(check) for check in inspector.get_check_constraints(table)),
                sorted(str(key) for key in inspector.get_foreign_keys(table)),
            )
        found["views"] = sorted(inspector.get_view_names())
    return found


@pytest.mark.parametrize("wanted", EARLIER)
def test_the_schema_is_then_the_one_that_the_earlier_version_made(
    database: Engine, wanted: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    from alembic import command

    if database.dialect.name == "sqlite":
        earlier = create_engine(f"sqlite:///{tmp_path}/earlier.db")
    else:
        server = request.getfixturevalue("postgres_server")
        earlier = create_engine(server.create_database(f"earlier_{abs(hash(request.node.nodeid))}"))
    with writing(earlier) as connection:
        command.upgrade(schema.alembic_config(connection), wanted)
    downgrade.downgrade(database, wanted)
    assert schema.current_revision(database) == wanted
    assert shape(database) == shape(earlier)
    earlier.dispose()


@pytest.mark.parametrize("wanted", EARLIER)
def test_rows_are_what_they_were_but_for_what_is_told(database: Engine, wanted: str) -> None:
    before, before_shape = rows_of(database), shape(database)
    way = downgrade.downgrade(database, wanted)
    there = rows_of(database)
    for table in ROWS:
        lost = {column for column in before[table][0] if column not in there[table][0]}
        assert there[table] == [{name: value for name, value in row.items() if name not in lost} for row in before[table]]
        assert [column for column in lost if not re.search(rf"\b{column}\b", " ".join(way.losses))] == []
    kept = [row for row in before["batch_requests"] if wanted >= "0002" or row["part"] == 0]
    assert len(there["batch_requests"]) == len(kept)
    for old, new in zip(kept, there["batch_requests"], strict=True):
        assert new == {column: old[column] for column in new}
    lost = set(before["batch_requests"][0]) - set(there["batch_requests"][0])
    assert [column for column in lost if not re.search(rf"\b{column}\b", " ".join(way.losses))] == []

    schema.upgrade(database)
    again = rows_of(database)
    assert shape(database) == before_shape
    assert [row["message_id"] for row in again["batch_requests"]] == [row["message_id"] for row in kept]
    waiting = [row["start_task_ids"] for row in again["batch_requests"] if row["state"] == "received"]
    assert [json.loads(value) if isinstance(value, str) else value for value in waiting] == [["a"]]


def test_what_is_lost_is_told_with_numbers_before_anything_is_changed(database: Engine) -> None:
    before = rows_of(database)
    with database.connect() as connection:
        way = downgrade.plan(connection, "0001")
    told = "\n".join(way.losses)
    assert "v_batch_summary" in told
    assert "2 rows of batch_requests: the second and further workflows" in told
    assert "status and error of 1 rows of batch_requests" in told
    assert (schema.current_revision(database), rows_of(database)) == (schema.HEAD, before)
    assert downgrade.downgrade(database, "0001") == way


@pytest.mark.parametrize("kind", ["file", "completion"])
def test_what_waits_and_would_not_start_any_more_is_in_the_way(database: Engine, kind: str) -> None:
    with writing(database) as connection:
        insert(connection, "batch_requests", request("5", kind=kind, state="received"))
    before = rows_of(database)
    with pytest.raises(SchemaOutOfDateError, match="1 waiting rows of batch_requests are of files and completions"):
        downgrade.downgrade(database, "0001")
    assert (schema.current_revision(database), rows_of(database)) == (schema.HEAD, before)
    assert downgrade.downgrade(database, "0002").wanted == "0002"


def test_where_nothing_is_to_do_nothing_is_done(database: Engine) -> None:
    before = rows_of(database)
    assert downgrade.downgrade(database, schema.HEAD) == downgrade.Downgrade(schema.HEAD, schema.HEAD, ())
    assert rows_of(database) == before


@pytest.mark.parametrize("wanted", ["0000", "9999", "base", "-1", "0001; DROP TABLE tasks"])
def test_a_schema_that_there_is_not_is_refused_with_those_that_there_are(database: Engine, wanted: str) -> None:
    with pytest.raises(SchemaOutOfDateError, match="there is no schema .*; there are: 0001, 0002, "):
        downgrade.downgrade(database, wanted)


def test_forward_is_another_command(database: Engine) -> None:
    downgrade.downgrade(database, "0001")
    with pytest.raises(SchemaOutOfDateError, match="has schema 0001, and 0002 comes after it; `accelerator db upgrade`"):
        downgrade.downgrade(database, "0002")


def test_a_newer_schema_is_left_to_the_newer_version(database: Engine) -> None:
    with writing(database) as connection:
        connection.execute(text("UPDATE accelerator_alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutOfDateError, match=f"accelerator db downgrade --to {schema.HEAD}` with the newer one"):
        downgrade.downgrade(database, "0001")


def test_a_row_that_is_being_written_is_waited_for(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where that takes too long, nothing is lost."""
    monkeypatch.setattr(downgrade, "LOCK_SECONDS", 0.2)
    busy, other = create_engine(postgres_url), create_engine(postgres_url)
    with busy.connect() as writer:
        insert(writer, "batch_requests", request("9", kind="file", state="received", part=0))
        with pytest.raises(Exception, match="lock timeout"):
            downgrade.downgrade(other, "0001")
        writer.commit()
    with pytest.raises(SchemaOutOfDateError, match="1 waiting rows"):
        downgrade.downgrade(other, "0001")
    busy.dispose()
    other.dispose()


@pytest.mark.parametrize("script", SCRIPTS[:-1], ids=lambda script: script.revision)
def test_every_migration_knows_its_way_back(script: Any) -> None:
    assert callable(script.module.downgrade)
    assert callable(script.module.losses)
