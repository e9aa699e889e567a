"""The peers' Python environment: made by uv when it is first needed, from a pinned list."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
REPOSITORY = Path(__file__).parent.parent.parent
INSTALL_SECONDS = 300


class PeersEnvironment:
    """
    A virtual environment with the peers, and nothing of ours.

    :param folder: where it is, or will be made.
    """

    def __init__(self, folder: Path = REPOSITORY / ".venv-peers") -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"

    def ensure(self) -> PeersEnvironment:
        """
        Make the environment unless it is there and up to date; processes that want it at once take turns.

        :raises CalledProcessError: uv cannot install the list.
        """
        wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
        ready = self.folder / ".ready"
        with self.folder.with_name(f"{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
                _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(self.folder))
                _uv("pip", "install", "--quiet", "--python", str(self.python), "--requirements", str(REQUIREMENTS))
                ready.write_text(wanted, encoding="utf-8")
        return self

    def run(self, *arguments: str) -> str:
        """Run the environment's Python to its end, and return what it printed."""
        command = [str(self.python), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv") or "uv"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([uv, *arguments], check=True, timeout=INSTALL_SECONDS, env=environment)  # noqa: S603
