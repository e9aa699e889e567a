"""A virtual environment beside the project's own, for programs whose pins do not go together with Airflow's."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).parent.parent
INSTALL_SECONDS = 300


class PinnedEnvironment:
    """
    Made by uv when it is first needed, from a compiled list.

    :param name: of its folder in the repository, which git ignores.
    :param requirements: the compiled list.
    :param finish: what else to do before it is used; gets the environment.
    :param base: the Python to make it with.
    """

    def __init__(
        self,
        name: str,
        requirements: Path,
        finish: Callable[[PinnedEnvironment], None] | None = None,
        base: str = sys.executable,
    ) -> None:
        self.folder = REPOSITORY / name
        self.python = self.folder / "bin" / "python"
        self._requirements = requirements
        self._finish = finish
        self._base = base

    def ensure(self) -> Self:
        """
        Make the environment unless it is there and up to date; processes that want it at once take turns.

        :raises CalledProcessError: uv cannot install the list.
        """
        made_of = self._requirements.read_bytes() + sys.version.encode() + self._base.encode()
        wanted = hashlib.sha256(made_of).hexdigest()
        ready = self.folder / ".ready"
        with self.folder.with_name(f"{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
                shutil.rmtree(self.folder, ignore_errors=True)  # uv clears nothing but environments
                uv("venv", "--quiet", "--python", self._base, str(self.folder))
                uv("pip", "install", "--quiet", "--python", str(self.python), "--requirements", str(self._requirements))
                if self._finish:
                    self._finish(self)
                ready.write_text(wanted, encoding="utf-8")
        return self

    def run(self, *arguments: str) -> str:
        """Run the environment's Python to its end, and return what it printed."""
        return subprocess.run([str(self.python), *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def uv(*arguments: str) -> None:
    """Run uv to its end, in no environment; it must succeed."""
    beside = Path(sys.executable).parent / "uv"
    command = str(beside) if beside.exists() else shutil.which("uv") or "uv"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([command, *arguments], check=True, timeout=INSTALL_SECONDS, env=environment)
