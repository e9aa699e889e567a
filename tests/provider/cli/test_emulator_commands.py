from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from provider.cli.parser import build_parser


def test_emulators_serve_until_they_are_interrupted(tmp_path: Path) -> None:
    env_file, root = tmp_path / "env", Path(__file__).parents[3]
    (tmp_path / "precious").write_text("precious")
    env_file.symlink_to(tmp_path / "precious")
    command = [sys.executable, "-c", "import sys; from provider.cli.main import console; sys.exit(console())", "emulators"]
    options = ["--scenario", str(root / "examples" / "emulators.yaml"), "--env-file", str(env_file), "--pubsub", "builtin"]
    options += [part for name in ("dataform", "powerbi", "pubsub", "admin") for part in (f"--{name}-port", "0")]
    process = subprocess.Popen(
        [*command, *options, "--folder", str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root, umask=0o022
    )
    assert process.stdout is not None
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "Serving" in line:
                break
        assert printed[0].startswith("# Starting Dataform")
        exports = [line for line in printed if line.startswith("export ")]
        assert env_file.read_text() == "".join(exports)
        # There are secrets in it; and a link that somebody has put there is replaced.
        assert (stat.S_IMODE(env_file.lstat().st_mode), env_file.is_symlink()) == (0o600, False)
        assert (tmp_path / "precious").read_text() == "precious"
        assert any("PUBSUB_EMULATOR_HOST=" in line for line in exports)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == "# Stopped.\n"
    finally:
        process.kill()
        process.stdout.close()


def test_without_the_extra_it_is_named(accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "provider.emulators.main", None)
    result = accelerator("emulators")
    assert result.code == 1
    assert "pip install 'airflow-provider-cloud-accelerator[emulators]'" in result.err


def test_a_port_is_a_port(accelerator) -> None:
    assert accelerator("emulators", "--dataform-port", "65536").code == 2
    assert accelerator("emulators", "--dataform-port", "0x1").code == 2


def test_the_ports_are_the_same_each_time_and_one_that_is_taken_is_named(accelerator, tmp_path: Path) -> None:
    assert [
        getattr(build_parser().parse_args(["emulators"]), f"{name}_port") for name in ("dataform", "powerbi", "pubsub", "admin")
    ] == [
        9061,
        9062,
        8085,
        9063,
    ]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {**dict.fromkeys(("dataform", "pubsub", "admin"), 0), "powerbi": port}
        options = [part for name, number in ports.items() for part in (f"--{name}-port", str(number))]
        result = accelerator("emulators", "--pubsub", "builtin", "--folder", tmp_path, *options)
    assert result.code == 1
    assert result.err == (
        f"error: port {port} of 127.0.0.1 is taken, perhaps by `accelerator emulators` that run already. Choose another with "
        "--powerbi-port; 0 takes a free one.\n"
    )


def test_a_scenario_with_a_mistake_starts_nothing(accelerator, tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text("auto_create: true\nauto_create: false\n")
    result = accelerator("emulators", "--scenario", file)
    assert (result.code, result.out) == (1, "")
    assert f"{file}, line 2, column 1: " in result.err
