from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest


def test_emulators_serve_until_they_are_interrupted(tmp_path: Path) -> None:
    env_file, root = tmp_path / "env", Path(__file__).parents[3]
    (tmp_path / "precious").write_text("precious")
    env_file.symlink_to(tmp_path / "precious")
    command = [sys.executable, "-c", "import sys; from provider.cli.main import console; sys.exit(console())", "emulators"]
    options = ["--scenario", str(root / "examples" / "emulators.yaml"), "--env-file", str(env_file), "--pubsub", "builtin"]
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
        exports = [line for line in printed if line.startswith("export ")]
        assert env_file.read_text() == "".join(exports)
        # There are secrets in it; and a link that somebody has put there is replaced.
        assert (stat.S_IMODE(env_file.lstat().st_mode), env_file.is_symlink()) == (0o600, False)
        assert (tmp_path / "precious").read_text() == "precious"
        assert any("PUBSUB_EMULATOR_HOST=" in line for line in exports)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
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
