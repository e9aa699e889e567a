"""A checkout of this project that is measured: this one, or an earlier one beside it, each with an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).parent.parent
_INSTALL_SECONDS = 600


@dataclass(frozen=True)
class Checkout:
    """
    Where the code is, and the Python that has it installed.

    :param commit: what is checked out there.
    """

    folder: Path
    python: Path
    commit: str

    @classmethod
    def this(cls) -> Self:
        """Return the checkout that runs."""
        return cls(REPOSITORY, Path(sys.executable), git("rev-parse", "HEAD"))

    @classmethod
    def at(cls, folder: Path) -> Self:
        """
        Return a checkout with its environment in ``.venv``.

        :raises ValueError: there is none, or it has the code of another folder.
        """
        folder = folder.resolve()
        python = folder / ".venv" / "bin" / "python"
        if not python.exists():
            raise ValueError(f"{folder} has no environment: run `make .venv/.ready` there, or name a revision instead.")
        found = _run(str(python), "-P", "-c", "import provider; print(provider.__path__[0])")
        if Path(found).parent != folder:
            raise ValueError(f"The environment of {folder} has the code of {Path(found).parent}.")
        return cls(folder, python, git("rev-parse", "HEAD", folder=folder))

    def environment(self, folder: Path) -> dict[str, str]:
        """
        Return the variables with which its Python finds these benchmarks, and everything else in its own checkout.

        :param folder: for the way to them.
        """
        (folder / "path").mkdir(parents=True)
        (folder / "path" / "benchmarks").symlink_to(REPOSITORY / "benchmarks")
        # With -m Python would look into the current folder first, which may be another checkout.
        return {"PYTHONPATH": str(folder / "path"), "PYTHONSAFEPATH": "1"}


@contextmanager
def of_revision(revision: str, folder: Path) -> Iterator[Checkout]:
    """
    Yield a temporary checkout of a revision, with the packages that this one has been pinned to.

    :param folder: for the checkout; it must not exist.
    :raises CalledProcessError: Git does not know the revision, or uv cannot install what it needs.
    """
    git("worktree", "add", "--quiet", "--detach", str(folder), revision)
    try:
        uv = str(beside) if (beside := Path(sys.executable).with_name("uv")).exists() else shutil.which("uv") or "uv"
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder / ".venv"))
        constraints = ("--constraint", str(REPOSITORY / "constraints.txt"))
        _run(uv, "pip", "install", "--quiet", "--python", str(folder / ".venv"), *constraints, "--editable", f"{folder}[dev]")
        yield Checkout.at(folder)
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*arguments: str, folder: Path = REPOSITORY) -> str:
    """Return what a Git command of this or another checkout says."""
    return _run("git", "-C", str(folder), *arguments)


def _run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return subprocess.run(  # noqa: S603 - of this file's own making
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=_INSTALL_SECONDS, env=environment
    ).stdout.strip()
