"""Random database URLs, right and wrong, with secrets in all places: none is ever printed."""

from __future__ import annotations

import io
import logging
import os
import string
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest import mock

from sqlalchemy.exc import SQLAlchemyError

from provider.cli.errors import describe
from provider.exceptions import AcceleratorError
from provider.metadata import engine
from provider.metadata.database_url import without_passwords
from tests.storms.outcome import Findings, Outcome

VARIABLE = "AIRFLOW__ACCELERATOR__SQL_ALCHEMY_CONN"
#: What a person may forget to write as %….
UNQUOTED = "@:/?#[]%&= +,;$!'\""
HOSTS = ["127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "", "127.0.0.1:1,127.0.0.2:1", "127.0.0.1:"]


class Urls:
    """URLs that a person may have meant to write, with the parts of each secret that must not be seen."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

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


def everything_said(log: io.StringIO) -> str:
    """Use the configured database as the parts of the package do, and return whatever that leaves in logs and errors."""
    log.seek(0)
    log.truncate()
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
    return "\n".join([*said, log.getvalue()])


@contextmanager
def _logged() -> Iterator[io.StringIO]:
    """All that is logged meanwhile."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.root.addHandler(handler)
    try:
        yield written
    finally:
        logging.root.removeHandler(handler)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder: some URLs name a file of SQLite beside it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(urls: int, seed: int, folder: Path) -> Outcome:
    """Use so many random URLs, one after another."""
    made, found = Urls(Random(seed)), Findings()
    with _inside(folder), _logged() as log, mock.patch.dict(os.environ):
        for _ in range(urls):
            url, pieces = made.make()
            os.environ[VARIABLE] = url
            try:
                said = everything_said(log)
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                found.wrong(f"raised {type(error).__name__}", repr(url))
                continue
            found.counts["URLs"] += 1
            found.counts["URLs of which something was said"] += bool(said)
            if shown := [piece for piece in pieces if piece in said]:
                found.wrong("secret", f"{shown} of {url!r} in {said}")
    return found.outcome(seed)
