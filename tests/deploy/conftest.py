"""Terraform, where it is, and what it makes of the module's own tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.kit import TERRAFORM
from tests.deploy.terraform_provider import google_provider

Terraform = Callable[..., "subprocess.CompletedProcess[str]"]
TerraformIn = Callable[[Path], Terraform]


@dataclass(frozen=True)
class Judged:
    """
    What came of `terraform test`.

    :param states: run → what it would have made: resources with their values, and outputs.
    """

    code: int
    told: str
    states: dict[str, Any]

    def resources(self, run: str, type_: str = "") -> list[dict[str, Any]]:
        """Return the resources of a run, or those of one type."""
        found: list[dict[str, Any]] = self.states[run]["root_module"]["resources"]
        return [resource for resource in found if resource["mode"] == "managed" and type_ in ("", resource["type"])]


@pytest.fixture(scope="session")
def terraform_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TerraformIn]:
    """Terraform, ready in a copy of the module."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("there is no terraform on this machine")
    config = tmp_path_factory.mktemp("terraform") / "config"
    config.write_text("")
    quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_CONFIG_FILE": str(config)}
    with google_provider() as provider:

        def ready(folder: Path) -> Terraform:
            def run(*arguments: str) -> subprocess.CompletedProcess[str]:
                return subprocess.run(
                    [program, *arguments, "-no-color"],
                    cwd=folder,
                    env={**os.environ, **provider, **quiet},
                    capture_output=True,
                    text=True,
                    check=False,
                )

            started = run("init", "-backend=false")
            assert started.returncode == 0, started.stderr
            return run

        yield ready


@pytest.fixture(scope="session")
def judged(terraform_in: TerraformIn, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = Path(shutil.copytree(TERRAFORM, tmp_path_factory.mktemp("judged") / "module"))
    done = terraform_in(folder)("test", "-json", "-verbose")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    states = {line["@testrun"]: line["test_state"] for line in lines if line["type"] == "test_state"}
    told = "\n".join(f"{line['@message']} {line.get('diagnostic', '')}".strip() for line in lines)
    return Judged(done.returncode, told + done.stderr, states)
