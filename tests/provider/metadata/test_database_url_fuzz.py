"""Two thousand database URLs, right and wrong, with secrets in all places: none is ever printed."""

from __future__ import annotations

import os
import random
import re
import sys
import traceback
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from dag_factory import source
from provider.cli.database_errors import describe_database_error
from provider.exceptions import AcceleratorError, ConfigurationError
from provider.metadata import engine
from provider.metadata.database_url import parse_database_url, without_passwords
from tests.storms import fuzz_urls

COUNT = 2000


def test_two_thousand_urls_and_no_secret_in_any_text(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}: python -m tests.storms.fuzz --only urls --seed {seed}\n")

    outcome = fuzz_urls.run(COUNT, seed, tmp_path)

    assert outcome.wrong == []
    assert outcome.figures["URLs"] == COUNT
    assert outcome.figures["URLs of which something was said"] > COUNT * 0.9


def test_a_secret_that_is_said_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is no judge otherwise."""
    monkeypatch.setattr(fuzz_urls, "everything_said", lambda log: os.environ[fuzz_urls.VARIABLE])

    assert fuzz_urls.run(5, 7, tmp_path).wrong


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
        ("sqlite:///user:hunter2?x@host/db", "names more than a file"),
        ("hunter2://x", "names another database"),
        ("postgresql+hunter2://u@h/x", "names another driver"),
    ],
)
def test_a_url_that_is_not_understood_is_not_quoted(url: str, says: str) -> None:
    with pytest.raises(AcceleratorError, match=says) as raised:
        engine.create_engine(url)
    assert "hunter2" not in "".join(traceback.format_exception(raised.value)).lower()


@pytest.mark.parametrize(
    ("driver", "package"), [("psycopg2", "airflow-provider-cloud-accelerator[postgres]"), ("psycopg", "psycopg[binary]")]
)
def test_a_missing_driver_is_named_with_its_package(driver: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=rf"needs the driver {driver}: pip install '?{re.escape(package)}"):
        parse_database_url(f"postgresql+{driver}://u@h/x")


def test_what_a_database_says_is_told_without_the_secrets_of_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of an error that no engine of ours has masked."""
    monkeypatch.setenv(fuzz_urls.VARIABLE, "postgresql://me:hunter2-p%40ss@db/x?sslpassword=key-secret")
    said = 'no route for "hunter2-p@ss", hunter2-p%40ss or key-secret'
    assert without_passwords(said) == 'no route for "***", *** or ***'
    error = OperationalError("SELECT 1", None, Exception(said))
    for told in (str(describe_database_error(error)), source._reason(Exception(said))):
        assert "no route for" in told
        assert "hunter2" not in told
        assert "key-secret" not in told
