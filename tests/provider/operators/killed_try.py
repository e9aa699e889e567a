"""A task instance whose tries can be killed by SIGKILL, each in a process of its own or in the test's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.provider.operators.conftest import TaskLife
from tests.provider.operators.one_try import FileStore

ROOT = Path(__file__).parents[3]


class KillableTask(TaskLife):
    """
    A task instance over all its tries.

    :param operator: class of the operator.
    :param arguments: its arguments, plain data.
    :param folder: keeps what Airflow keeps between tries.
    :param run_id: makes the task instance another one than that of another test.
    """

    def __init__(self, operator: Callable[..., Any], arguments: dict[str, Any], folder: Path, *, run_id: str) -> None:
        self._operator, self._arguments = operator, {"task_id": "job", **arguments}
        self._file = folder / f"{run_id}.json"
        super().__init__(lambda: operator(**self._arguments), store=FileStore(self._file))
        self.ti.run_id = run_id

    @contextmanager
    def killed_try(self) -> Iterator[subprocess.Popen[bytes]]:
        """Begin the next try in a process of its own, and kill that at the end of the block."""
        self.ti.try_number += 1
        spec = {
            "operator": f"{self._operator.__module__}.{self._operator.__qualname__}",
            "arguments": self._arguments,
            "store": str(self._file),
            "ti": asdict(self.ti),
        }
        command = [sys.executable, "-m", "tests.provider.operators.one_try", json.dumps(spec)]
        # Behind ours, what a test has installed.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        self.store = FileStore(self._file)
