"""One machine of a cluster: a user and a home of its own, an ``airflow.cfg``, and one process of Airflow."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from demo.airflow_services import end_at_once, end_politely, processes_of

#: Settings by section and option, as ``airflow.cfg`` has them.
Settings = Mapping[str, Mapping[str, str]]


class Machine:
    """
    One process of Airflow, configured by a file alone.

    :param home: its ``AIRFLOW_HOME``, which nobody else may read; made here.
    :param python: of its environment.
    :param command: of ``airflow``.
    :param settings: its configuration.
    :param environment: what there is besides: only addresses of emulators.
    :param uid: id of its user and group; None to run as whoever runs this.
    :param network: what a command begins with that runs in its network; nothing for that of whoever runs this.
    """

    def __init__(
        self,
        home: Path,
        python: Path,
        command: Sequence[str],
        settings: Settings,
        environment: Mapping[str, str],
        uid: int | None,
        network: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.name = home.name
        self.dags = home / "dags"
        self.log_file = home.parent / f"{home.name}.log"
        self._python = python
        self._command = command
        self._uid = uid
        self._network = network
        self._process: subprocess.Popen[bytes] | None = None
        self.dags.mkdir(parents=True)
        self._configure(settings)
        self._environment = {
            "PATH": f"{python.parent}:/usr/bin:/bin",
            "HOME": str(home),
            "USER": self.name,
            "LANG": "C.UTF-8",
            "AIRFLOW_HOME": str(home),
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
            "SPT_NOENV": "1",  # so that the home stays in the environment, by which its processes are found
            **environment,
        }

    def _configure(self, settings: Settings) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        for section, options in settings.items():
            # Airflow's own parser interpolates.
            parser[section] = {name: value.replace("%", "%%") for name, value in options.items()}
        parser["core"]["dags_folder"] = str(self.dags)
        with (self.home / "airflow.cfg").open("w") as file:
            parser.write(file)
        self.own(self.home)
        self.home.chmod(0o700)

    def own(self, path: Path) -> None:
        """Give files to its user."""
        if self._uid is not None:
            for one in (path, *path.rglob("*")):
                os.chown(one, self._uid, self._uid)

    def run(self, *arguments: str) -> str:
        """Run Python on this machine to its end, and return what it printed."""
        command = [*self._network, *self._as_user(), str(self._python), *arguments]
        result = subprocess.run(command, env=self._environment, cwd=self.home, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command} on {self.name}: {result.stdout[-3000:]}\n{result.stderr[-3000:]}"
        return result.stdout

    def start(self) -> None:
        """Start its process; the output goes to a file beside the home."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._network, *self._as_user(), str(self._python), "-m", "airflow", *self._command],
                env=self._environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _as_user(self) -> list[str]:
        return [] if self._uid is None else ["setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups", "--"]

    def kill(self) -> None:
        """Let the machine's power fail."""
        end_at_once(self.processes())
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End its process, politely first, and whatever that leaves behind."""
        if self._process is not None:
            end_politely([self._process])
        end_at_once(self.processes())

    def replace(self) -> None:
        """Start anew with nothing of what the process before has written, as on another machine."""
        self.kill()
        for path in self.home.iterdir():
            if path.name not in ("airflow.cfg", "dags"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start()

    def processes(self) -> list[psutil.Process]:
        """Return every running process of this machine."""
        return processes_of(self.home)

    @property
    def gave_up(self) -> bool:
        """Whether its process has ended with an error by itself."""
        return self._process is not None and (self._process.poll() or 0) > 0

    @property
    def log(self) -> str:
        """What its process has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def says(self, text: str) -> bool:
        """Tell whether a text stands in what its process, or a task or trigger on it, has written."""
        return text in self.log or any(text in file.read_text(errors="replace") for file in self.home.glob("logs/**/*.log*"))

    def receive(self, files: Mapping[str, bytes]) -> None:
        """Make the DAG files the same as these, by their names, as a bucket's synchronisation does."""
        for name, content in files.items():
            path = self.dags / name
            if not path.exists() or path.read_bytes() != content:
                arriving = path.with_name(f".{name}.arriving")
                arriving.write_bytes(content)
                self.own(arriving)
                arriving.rename(path)
        for path in self.dags.glob("*.py"):
            if path.name not in files:
                path.unlink()
