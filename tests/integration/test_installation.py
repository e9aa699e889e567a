"""``pip install`` into an environment of its own, without this checkout: what a data engineer does on Monday."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import ROOT, copy_tracked_files, tracked_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAME = "airflow-provider-cloud-accelerator"


class Installation:
    """A virtual environment with the package from a wheel, and an Airflow home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        self.home = folder / "airflow"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))}
        self.environment = {
            **inherited,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }

    def run(self, *command: str) -> str:
        result = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}: {result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        return result.stdout


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installation")
    made = Installation(folder)
    source = folder / "source"
    copy_tracked_files(source)
    uv = str(Path(sys.executable).parent / "uv")
    made.run(uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    python = str(made.bin / "python")
    made.run(uv, "pip", "install", "--quiet", "--python", python, "--constraint", str(ROOT / "constraints.txt"), str(source))
    shutil.rmtree(source)
    return made


def test_the_wheel_has_what_it_needs_and_nothing_else(installation: Installation) -> None:
    code = "import importlib.metadata as m; print('\\n'.join(str(f) for f in m.files('airflow-provider-cloud-accelerator')))"
    files = installation.run("python", "-c", code).splitlines()
    tops = {Path(name).parts[0] for name in files if "dist-info" not in name and not name.startswith("..")}
    assert tops == {"provider", "dag_factory"}
    for needed in ("provider/py.typed", "provider/cli/templates/workflows.py", "provider/metadata/migrations/env.py"):
        assert needed in files


def test_the_examples_come_with_it(installation: Installation) -> None:
    said = installation.run("accelerator", "examples", "given")

    given = installation.folder / "given"
    written = {path.relative_to(given).as_posix() for path in given.rglob("*.*")}
    assert written == {name.removeprefix("examples/") for name in tracked_files("examples")}
    for name in written:
        assert (given / name).read_bytes() == (ROOT / "examples" / name).read_bytes()
    assert "accelerator import given/workflows.yaml" in said
    assert "3 workflows, 7 tasks: no problems." in installation.run("accelerator", "validate", "given/workflows.yaml")


def test_airflow_shows_provider_plugin_and_parts(installation: Installation) -> None:
    providers = json.loads(installation.run("airflow", "providers", "list", "--output", "json"))
    assert NAME in {row["package_name"] for row in providers}
    assert "cloud_accelerator" in installation.run("airflow", "plugins", "--output", "json")
    full = installation.run("airflow", "providers", "get", NAME, "--full", "--output", "json")
    for part in ("PowerBIHook", "powerbi", "DataformInvocationLink", "sql_alchemy_conn", "get_accelerator_cli_commands"):
        assert part in full
    assert "powerbi" in installation.run("airflow", "providers", "hooks", "--output", "json")
    links = installation.run("airflow", "providers", "links", "--output", "json")
    assert "provider.links.PowerBILink" in links
    assert "accelerator" in installation.run("airflow", "config", "list", "--section", "accelerator", "--include-descriptions")
