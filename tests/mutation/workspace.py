"""
A copy of the tree in which mutmut works, one for each module: ``.mutate/<module>/``.

The copy keeps the results. A function that was changed is tried anew; when a test was changed or added, so is every mutant that
no test had noticed; and all of them where other settings, or another mutmut, make others of the same names.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.mutation.plan import ROOT, Module

FOLDER = ROOT / ".mutate"
#: Of the copy, what the tests need beside ``tests`` itself.
SOURCES = ("provider", "dag_factory")
BESIDE = ("demo", "dags", "examples", "docs")
#: mutmut's exit codes of tests, which are pytest's, or its own for a limit of time: the mutant was noticed.
KILLED = {1, 3}
TIMED_OUT = {24, 36, 152, 255, -24, -9}
#: The tests ran to their end and noticed nothing; no test reaches the function.
SURVIVED, UNREACHED = 0, 33


class Workspace:
    """
    The copy for one module.

    :param module: the part of the core.
    :param settings: of mutmut.
    """

    def __init__(self, module: Module, settings: dict[str, Any]) -> None:
        self.module = module
        self.settings = settings
        self.folder = FOLDER / module.name
        self.mutants = self.folder / "mutants"

    def update(self) -> None:
        """Bring the copy to the state of the tree; forget survivors where the tests have changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._changed("settings", f"{importlib.metadata.version('mutmut')} {json.dumps(self.settings)}"):
            shutil.rmtree(self.mutants, ignore_errors=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\0")
        for name in filter(None, listed):
            self._copy(name)
        self._write_settings()
        if self._changed("tests", self._tests()):
            self._forget_survivors()

    def run(self, names: Sequence[str], processes: int) -> None:
        """
        Try mutants by name.

        :param processes: how many at a time.
        :raises RuntimeError: mutmut could not; mostly since a test fails without any mutant.
        """
        self.mutants.mkdir(exist_ok=True)  # Python forgets a folder of PYTHONPATH that is not there when it starts
        surroundings = {**os.environ, "PYTHONPATH": str(self.mutants)}
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes), *names]
        log = self.folder / "mutmut.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=surroundings, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = process.wait()
            finally:  # also what the tests of a mutant that ran out of time have started
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if code:
            raise RuntimeError(f"mutmut ended with {code} on {self.module.name}: see {log.relative_to(ROOT)}")

    def results(self) -> dict[str, int]:
        """Return the exit codes of the mutants that were tried, by name."""
        found: dict[str, int] = {}
        for path in self._metas():
            codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
            found.update({name: code for name, code in codes.items() if code in KILLED | TIMED_OUT | {SURVIVED, UNREACHED}})
        return found

    def _tests(self) -> str:
        """Return the text of the module's tests, and of what lies beside them for them to share."""
        beside = {path for name in self.module.tests for path in (ROOT / name).parent.glob("*.py")}
        shared = {path for path in beside if not path.name.startswith("test_")}
        return "".join(
            path.read_text(encoding="utf-8") for path in sorted({*shared, *(ROOT / name for name in self.module.tests)})
        )

    def _metas(self) -> list[Path]:
        paths = [self.mutants / f"{file}.meta" for file in self.module.files]
        return [path for path in paths if path.exists()]

    def _forget_survivors(self) -> None:
        """Let mutmut look again which tests reach which function, and try what none of them noticed."""
        (self.mutants / "mutmut-stats.json").unlink(missing_ok=True)
        for path in self._metas():
            meta = json.loads(path.read_text(encoding="utf-8"))
            meta["exit_code_by_key"] = {name: code if code in KILLED else None for name, code in meta["exit_code_by_key"].items()}
            path.write_text(json.dumps(meta), encoding="utf-8")

    def _copy(self, name: str) -> None:
        """Copy a file if it has changed: its time tells mutmut whether it has."""
        source, target = ROOT / name, self.folder / name
        if not source.is_file():  # deleted, and not committed yet
            target.unlink(missing_ok=True)
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def _write_settings(self) -> None:
        """Add mutmut's settings to the copy of pyproject.toml."""
        everything = {
            **self.settings,
            "source_paths": list(SOURCES),
            "also_copy": list(BESIDE),
            "only_mutate": list(self.module.files),
            "pytest_add_cli_args": [
                "-p",
                "no:cacheprovider",
                "-p",
                "no:cov",
                "-m",
                "not (postgres or airflow_services or google_servers)",
            ],
            "pytest_add_cli_args_test_selection": list(self.module.tests),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in everything.items()]  # these values are written alike in TOML
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        (self.folder / "pyproject.toml").write_text("\n".join([text, "[tool.mutmut]", *lines, ""]), encoding="utf-8")

    def _changed(self, what: str, text: str) -> bool:
        """Tell whether something is other than at the last call, and keep its fingerprint for the next one."""
        marker, found = self.folder / f"{what}.sha256", hashlib.sha256(text.encode()).hexdigest()
        if marker.exists() and marker.read_text(encoding="utf-8") == found:
            return False
        marker.write_text(found, encoding="utf-8")
        return True
