"""Two thousand database URLs, right and wrong, with secrets in all places: none is ever printed."""

from __future__ import annotations

import logging
import os
import random
import string
import sys
import traceback
from collections.abc import Callable

import pytest
from sqlalchemy.exc import SQLAlchemyError

from provider.cli.errors import describe
from provider.exceptions import AcceleratorError
from provider.metadata import engine
from provider.metadata.database_url import without_passwords

VARIABLE = "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"
COUNT = 2000
#: What a person may forget to write as %….
UNQUOTED = "@:/?#[]%&= +,;$!'\""
HOSTS = ["127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "", "127.0.0.1:1,127.0.0.2:1", "127.0.0.1:"]


class Urls:
    """URLs that a person may have meant to write, with the parts of each secret that must not be seen."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def make(self) -> tuple[str, list[str]]:
        pieces = ["".join(self._chance.choices(string.ascii_letters + string.digits, k=9)) for _ in range(3)]
        if self._chance.random() < 0.2:
            pieces = ["".join(self._chance.choices(string.digits[1:], k=5)) for _ in range(3)]
        between = self._chance.choice([*UNQUOTED, "%40", "%2F", "", "", "", ""])
        secret = between.join(pieces)
        host = self._chance.choice(HOSTS)
        scheme = self._chance.choice(
            ["postgresql", "postgresql+psycopg", "postgres", "postgresql+pg8000", "mysql", "sqlite", "psql"]
        )
        slashes = self._chance.choice(["://", "://", "://", "://", ":/", ":///", ":", ""])
        name = self._chance.choice(["password", "sslpassword", "passfile", "options", "connect_timeout", "token", "sslmode"])
        forms: list[Callable[[], str]] = [
            lambda: f"{scheme}{slashes}user:{secret}@{host}/shop",
            lambda: f"postgresql://user:{secret}@{host}/shop",
            lambda: f"postgresql://user:{secret}/shop",
            lambda: f"postgresql://user:{secret}@/shop",
            lambda: f"postgresql://user@{host}/shop?{name}={secret}",
            lambda: f"postgresql://user:{secret}@{host}/shop?{name}={secret}&sslmode=disable",
            lambda: f"postgresql://{host}/shop?{name}={secret}",
            lambda: f"postgresql:///shop?host=127.0.0.1&port=1&{name}={secret}",
            lambda: f"postgresql://user:{secret}@{secret}@{host}/shop",
            lambda: f"postgresql://user:{secret}",
            lambda: f"{scheme}://{secret}",
        ]
        return self._chance.choice(forms)(), pieces


def everything_said(caplog: pytest.LogCaptureFixture) -> str:
    """Use the configured database as the parts of the package do, and return whatever that leaves in logs and errors."""
    caplog.clear()
    said: list[str] = []
    try:
        with engine.read_session() as session:
            said.append(repr(session.get_bind()))
    except (AcceleratorError, SQLAlchemyError) as error:
        logging.getLogger("provider.test").warning("It failed.", exc_info=True)
        said += [
            str(error),
            repr(error),
            *traceback.format_exception(error),
            describe(error) or "",
            without_passwords(str(error)),
        ]
    finally:
        engine.dispose_engines()
    return "\n".join([*said, caplog.text])


def test_two_thousand_urls_and_no_secret_in_any_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: object
) -> None:
    seed = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    sys.stdout.write(f"FUZZ_SEED={seed}\n")
    monkeypatch.chdir(str(tmp_path))
    urls, said_something = Urls(seed), 0
    for number in range(COUNT):
        url, pieces = urls.make()
        monkeypatch.setenv(VARIABLE, url)
        said = everything_said(caplog)
        said_something += bool(said)
        assert [piece for piece in pieces if piece in said] == [], f"FUZZ_SEED={seed}, URL {number}: {url!r}\n{said}"
    assert said_something > COUNT * 0.9


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://user:hunter2/db", "cannot be read"),
        ("postgresql://user:hunt@er2@host/db", "cannot be read"),
        ("postgresql://user:x@hunter2:5432,h2:5432/db", "cannot be read"),
        ("postgresql://user:x@hunter2:/db", "cannot be read"),
        ("postgresql://user:12/hunter2@host/db@x", "cannot be read"),
        ("postgresql://u@h/db?password=a&HUNTER2=b", "cannot be read"),
        ("postgresql://u@h/db?host=hunter2:a&host=b", "cannot be read"),
        ("sqlite://user:hunter2@host/db", "names more than a file"),
        ("sqlite:///a.db?timeout=hunter2", "names more than a file"),
        ("hunter2://x", "names another database"),
        ("postgresql+hunter2://u@h/x", "names another driver"),
    ],
)
def test_a_url_that_is_not_understood_is_not_quoted(url: str, says: str) -> None:
    with pytest.raises(AcceleratorError, match=says) as raised:
        engine.create_engine(url)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value)).lower()
