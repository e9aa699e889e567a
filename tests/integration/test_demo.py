"""Ctrl-C in the middle of the demo leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for

pytestmark = [pytest.mark.airflow_services, pytest.mark.timeout(600)]


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return what runs with the folder in its environment or on its command line."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join([*process.cmdline(), *process.environ().values()])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(folder) in told and process.pid != os.getpid():
            found.append(process)
    return found


@pytest.mark.parametrize(
    ("last_line", "signum", "code"),
    [("Airflow is up", signal.SIGINT, 130), ("emulators and Airflow", signal.SIGTERM, 143)],
    ids=["running", "starting"],
)
def test_no_process_and_no_file_is_left(tmp_path: Path, last_line: str, signum: signal.Signals, code: int) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if last_line in line:
                break
        assert wait_for(lambda: psutil.Process(process.pid).children(recursive=True), 120), "it starts nothing"
        assert processes_of(tmp_path), "the services are found by the folder"
        os.killpg(process.pid, signum)  # the terminal sends it to the whole foreground group
        process.stdout.read()
        assert process.wait(120) == code
    finally:
        process.kill()
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
