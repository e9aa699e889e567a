from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from provider.cli.main import console

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
