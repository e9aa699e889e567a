"""The canaries are found where they are, and nowhere else."""

from __future__ import annotations

import base64
import gzip
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.canaries import Canaries, Leak, scan_folder

SECRET = 'Tr0ub4dor&3 "horse" ä/battery+staple'


@pytest.fixture
def canaries() -> Canaries:
    return Canaries({"password": SECRET})


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"login {SECRET} refused",
        json.dumps({"password": SECRET}),
        repr({"password": SECRET}),
        f"https://x/?p={quote(SECRET, safe='')}",
        f"cut: {SECRET[:20]}",
        f"cut: …{SECRET[-18:]}",
        base64.b64encode(f"app:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"ap:{SECRET}".encode()).decode(),
    ],
)
def test_every_spelling_is_found(canaries: Canaries, text: str) -> None:
    assert canaries.in_text(text, "log") == [Leak("password", "log")]


def test_what_is_no_secret_is_not_found(canaries: Canaries) -> None:
    assert canaries.in_text("Tr0ub4dor and a horse", "log") == []
    assert canaries.in_object({"password": "***"}, "conn") == []


def fail_quietly() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError:
        raise ValueError("no login") from None


def test_an_error_is_searched_to_its_end(canaries: Canaries) -> None:
    """Also where ``from None`` keeps a cause out of the traceback."""
    with pytest.raises(ValueError, match="no login") as caught:
        fail_quietly()
    assert {leak.where for leak in canaries.in_exception(caught.value, "task")} == {
        "task: KeyError",
        "task: arguments of KeyError",
    }


def test_folders_databases_and_archives_are_searched(canaries: Canaries, tmp_path: Path) -> None:
    (tmp_path / "logs" / "dag").mkdir(parents=True)
    (tmp_path / "logs" / "dag" / "try.log").write_text(f"x\n{SECRET}\n", encoding="utf-8")
    (tmp_path / "logs" / "clean.log").write_text("nothing", encoding="utf-8")
    (tmp_path / "old.log.gz").write_bytes(gzip.compress(SECRET.encode()))
    with sqlite3.connect(tmp_path / "airflow.db") as connection:
        connection.execute("CREATE TABLE xcom (value TEXT)")
        # So long that it is spread over several pages, none of which has the whole.
        connection.execute("INSERT INTO xcom VALUES (?)", ["y" * 4090 + SECRET + "z" * 9000])
    connection.close()

    found = scan_folder(tmp_path, canaries)

    assert {Path(leak.where.partition(": ")[0]).name for leak in found} == {"try.log", "old.log.gz", "airflow.db"}
    assert f"{tmp_path / 'airflow.db'}: xcom" in {leak.where for leak in found}
    assert canaries.in_database(f"sqlite:///{tmp_path / 'airflow.db'}") == [Leak("password", "xcom.value")]
    assert scan_folder(tmp_path, {"other": "correct horse battery"}) == []


def test_a_key_and_a_token_are_known_by_what_is_their_own() -> None:
    from tests import identities

    canaries = Canaries()
    key = identities.private_key()
    canaries.plant_key("key", identities.plain_pem(key))

    assert len(canaries.in_text(identities.plain_pem(key), "file")) == 2
    assert canaries.in_text(identities.plain_pem(identities.private_key()), "file") == []
