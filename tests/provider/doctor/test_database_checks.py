"""Each fault of the application database in turn, on both databases."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from provider.doctor import database
from provider.doctor.clocks import judged_skew
from provider.doctor.database import database_checks, judged_connections, look_for_token
from provider.doctor.examination import State, examine
from provider.metadata.engine import create_engine, dispose_engines, write_session
from provider.metadata.left_tokens import leave_token

AWAY = "postgresql://bob:s3cr-et@127.0.0.1:1/shop"
SETTING = "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"


def states() -> dict[str, State]:
    return {found.check: found.state for found in examine(database_checks())}


def test_all_well(application_database: str) -> None:
    with write_session():
        pass  # on SQLite the first session makes the tables
    well = {"database": State.OK, "database shared": State.OK, "schema": State.OK}
    if application_database.startswith("postgresql"):
        well |= {"database connections": State.OK, "clock of the database": State.OK}
    assert states() == well


def test_a_database_that_is_away_is_one_error_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, AWAY)
    found = {one.check: one for one in examine(database_checks())}
    assert {name: one.state for name, one in found.items()} == {
        "database": State.ERROR,
        "database shared": State.OK,
        "schema": State.UNKNOWN,
        "database connections": State.UNKNOWN,
        "clock of the database": State.UNKNOWN,
    }
    assert found["database"].remedy.startswith("Correct [accelerator] sql_alchemy_conn")
    assert "127.0.0.1" in found["database"].seen
    assert "s3cr-et" not in str(found)


def test_a_url_that_cannot_work_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "mysql://bob:s3cr-et@db/shop")
    found = {one.check: one for one in examine(database_checks())}
    assert [name for name, one in found.items() if one.state is State.ERROR] == ["database"]
    assert "names another database" in found["database"].seen
    assert "s3cr-et" not in str(found)


def test_a_file_of_one_machine_under_an_executor_of_several(embedded_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    found = {one.check: one for one in examine(database_checks())}
    assert [name for name, one in found.items() if one.state is State.ERROR] == ["database shared"]
    assert found["database shared"].seen == "an SQLite file, and CeleryExecutor runs tasks on several machines"


@pytest.mark.parametrize(("revision", "says"), [("0001", "accelerator db upgrade"), ("9999", "Install the newer")])
def test_a_schema_of_another_version(postgres_url: str, monkeypatch: pytest.MonkeyPatch, revision: str, says: str) -> None:
    monkeypatch.setenv(SETTING, postgres_url)
    with write_session() as session:
        session.execute(text(f"UPDATE accelerator_alembic_version SET version_num = '{revision}'"))
    dispose_engines()
    found = {one.check: one for one in examine(database_checks())}
    assert [name for name, one in found.items() if one.state is State.ERROR] == ["schema"]
    assert found["schema"].seen.startswith(f"{revision}; this version needs ")
    assert says in found["schema"].remedy


@pytest.fixture
def guest(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let the configured user of the database be one who is made by a statement."""
    user = f"guest_{uuid.uuid4().hex}"
    server = create_engine(postgres_url)

    def make(statement: str) -> None:
        with server.begin() as connection:
            connection.execute(text(statement.format(user)))
        monkeypatch.setenv(SETTING, postgres_url.replace("postgres@", f"{user}@"))

    yield make
    dispose_engines()
    with server.begin() as connection:
        connection.execute(text(f"DROP ROLE {user}"))
    server.dispose()


def test_a_server_that_takes_no_more_connections(guest: Callable[[str], None]) -> None:
    guest("CREATE ROLE {} LOGIN CONNECTION LIMIT 0")
    found = {one.check: one for one in examine(database_checks())}
    assert [name for name, one in found.items() if one.state is State.ERROR] == ["database connections"]
    assert (found["database connections"].seen[:13], "max_connections" in found["database connections"].remedy) == (
        "none is left:",
        True,
    )
    unseen = {found[name].remedy for name in ("database", "schema", "clock of the database")}
    assert unseen == {"See the check database connections."}


def test_a_user_who_may_read_nothing(guest: Callable[[str], None]) -> None:
    guest("CREATE ROLE {} LOGIN")
    found = {one.check: one for one in examine(database_checks())}
    assert [name for name, one in found.items() if one.state is State.ERROR] == ["schema"]
    assert "permission denied for table accelerator_alembic_version. Give the user of" in found["schema"].seen
    assert found["database connections"].state is State.UNKNOWN


@pytest.mark.parametrize(
    ("used", "state"), [(0, State.OK), (79, State.OK), (80, State.WARNING), (94, State.WARNING), (95, State.ERROR)]
)
def test_connections_in_use(used: int, state: State) -> None:
    verdict = judged_connections(used, 100)
    assert (verdict.state, verdict.seen, bool(verdict.remedy)) == (state, f"{used} of 100 in use", state is not State.OK)


@pytest.mark.parametrize(
    ("ahead", "state"),
    [
        (0.0, State.OK),
        (1.9, State.OK),
        (2.0, State.WARNING),
        (29.9, State.WARNING),
        (30.0, State.ERROR),
        # What the answer took and the cut of the other clock may account for 1.5 s.
        (-3.4, State.OK),
        (-3.5, State.WARNING),
        (-31.4, State.WARNING),
        (-31.5, State.ERROR),
    ],
)
def test_clocks(ahead: float, state: State) -> None:
    ours = datetime(2026, 3, 16, tzinfo=UTC)
    verdict = judged_skew(ours + timedelta(seconds=ahead), ours, 0.5, "the server", resolution=1.0)
    assert verdict.state is state
    assert bool(verdict.remedy) is (state is not State.OK)


def test_a_clock_that_is_behind_that_of_the_database(postgres_url: str, monkeypatch: pytest.MonkeyPatch, found) -> None:
    class Behind(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(seconds=60)

    monkeypatch.setenv(SETTING, postgres_url)
    monkeypatch.setattr(database, "datetime", Behind)
    assert found(database.look_at_clock).state is State.ERROR


def test_a_token_of_another_process_is_seen(application_database: str, elsewhere, found) -> None:
    elsewhere("from provider.cli.main import console; raise SystemExit(console(['doctor', '--leave', 'run 7']))")
    assert found(lambda: look_for_token("run 7")).state is State.OK
    other = found(lambda: look_for_token("run 8"))
    assert (other.state, other.seen) == (State.ERROR, "the token that another process has left is not there")


def test_a_token_of_this_process_says_nothing(application_database: str, found) -> None:
    missing = found(lambda: look_for_token("mine"))
    with write_session() as session:
        leave_token(session, "mine")
    assert (missing.state, found(lambda: look_for_token("mine")).state) == (State.ERROR, State.UNKNOWN)
