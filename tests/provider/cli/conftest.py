from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider.cli.main import console
from tests.provider.hooks.airflow_api_server import Server

ROOT = Path(__file__).parents[3]


@dataclass
class Result:
    code: int
    out: str
    err: str


Accelerator = Callable[..., Result]


@pytest.fixture
def accelerator(capsys: pytest.CaptureFixture[str]) -> Accelerator:
    """Run the console script in this process."""

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        try:
            code = console([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def workflows_file() -> Path:
    return ROOT / "examples" / "workflows.yaml"


@pytest.fixture
def write(tmp_path: Path):
    def write(*workflows: Any, name: str = "workflows.yaml") -> Path:
        path = tmp_path / name
        data = {"workflows": list(workflows)}
        path.write_text(json.dumps(data) if name.endswith(".json") else yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that the connection ``airflow_api`` names."""
    server = Server()
    connection = {"conn_type": "airflow_api", "host": server.address, "login": "reader", "password": "hunter2"}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    yield server
    server.close()
