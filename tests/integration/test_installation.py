"""``pip install`` into an environment of its own, without this checkout: what a data engineer does on Monday."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.airflow_services import AirflowServices, free_port

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
NAME = "airflow-provider-cloud-accelerator"


class Installation:
    """A virtual environment with the package from a wheel, and an Airflow home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        self.home = folder / "airflow"
        self.port = free_port()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))}
        self.environment = {
            **inherited,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self.port}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__WORKERS": "1",
            "SPT_NOENV": "1",
            "NO_PROXY": "127.0.0.1,localhost",
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
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():  # a link to a folder is no file
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name, follow_symlinks=False)
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
    tracked = subprocess.run(["git", "ls-files", "examples"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert written == {name.removeprefix("examples/") for name in tracked.split()}
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


@pytest.fixture
def standalone(installation: Installation) -> Iterator[httpx.Client]:
    """``airflow standalone`` after ``accelerator init`` and ``import``."""
    installation.run("accelerator", "init")
    assert (installation.home / "dags" / "workflows.py").is_file()
    installation.run("accelerator", "examples")
    installation.run("accelerator", "import", "examples/workflows.yaml")
    watcher = AirflowServices(installation.home, installation.home / "dags", components=())
    with (installation.folder / "standalone.log").open("wb") as log:
        process = subprocess.Popen(
            ["airflow", "standalone"],
            env=installation.environment,
            cwd=installation.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            watcher.url = f"http://127.0.0.1:{installation.port}"
            watcher.wait_for(lambda: answers(watcher.url), 240, "airflow standalone")
            yield watcher.client()
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            watcher.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/monitor/health", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_the_workflows_are_dags_and_unpaused(installation: Installation, standalone: httpx.Client) -> None:
    def dags() -> dict[str, bool]:
        found = standalone.get("/api/v2/dags", params={"limit": 100}).raise_for_status().json()["dags"]
        return {dag["dag_id"]: dag["is_paused"] for dag in found}

    watcher = AirflowServices(installation.home, installation.home / "dags", components=())
    watcher.wait_for(
        lambda: {"daily_sales", "stock_levels", "calendar"} <= set(dags()), 180, "the DAGs", explain=lambda: str(dags())
    )
    assert {dags()[name] for name in ("daily_sales", "stock_levels", "calendar")} == {False}
    assert standalone.get("/api/v2/importErrors").json()["import_errors"] == []
