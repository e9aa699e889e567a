"""The example installed as a package would be, its service, and tasks of it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provider.hooks.remote_service import service_class
from tests.examples.http_jobs import service
from tests.examples.http_jobs.emulator import HttpJobs
from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.waits import SHORT_WAITS
from tests.provider.reconciler.conftest import airflow_database, empty_airflow_database

__all__ = ["airflow_database", "empty_airflow_database"]

ROOT = Path(__file__).parents[3]


def install(folder: Path) -> Path:
    """Write what an installer makes of the entry points in the example's docstring; return the folder for ``PYTHONPATH``."""
    text = (service.__doc__ or "").partition("::\n")[2]
    points = tomllib.loads(text)["project"]["entry-points"]
    lines = [
        line for group, of in points.items() for line in (f"[{group}]", *(f"{name} = {value}" for name, value in of.items()))
    ]
    installed = folder / "http_jobs-0.1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: http-jobs\nVersion: 0.1\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example, found by its entry points in this process and in those that it starts."""
    site = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))
    yield
    service_class.cache_clear()


@pytest.fixture
def jobs(installed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpJobs]:
    """The service, with a connection to it."""
    with HttpJobs() as running:
        monkeypatch.setenv("AIRFLOW_CONN_HTTP_JOBS_DEFAULT", running.connection)
        yield running


ARGUMENTS: dict[str, Any] = {"job_name": "load", "poll_interval": 0.05, "initial_wait": 0.0, "http_timeout": 5.0}


@pytest.fixture
def task(jobs: HttpJobs) -> Callable[..., TaskLife]:
    """Makes a task over all its tries."""

    def make(**changes: Any) -> TaskLife:
        arguments = {"task_id": "job", "budget": SHORT_WAITS, **ARGUMENTS, **changes}
        return TaskLife(lambda: service.HttpJobOperator(**arguments))

    return make
