"""
``make compat``: the tests that need no server, on the versions that ``setup.cfg`` promises, as a table: passed, failed.

Each environment is made by uv in ``.venv-compat/`` and kept until what it is made of changes. One that cannot be made because
something is missing on this machine, a Python or a list on the network, is named as skipped, with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-compat"
CONSTRAINTS = ROOT / "constraints.txt"
PUBLISHED = "https://raw.githubusercontent.com/apache/airflow/constraints-{airflow}/constraints-{python}.txt"
#: Seconds to wait for Airflow's list of constraints.
LIST_SECONDS = 10.0
#: The oldest Airflow, with the versions of its parts, which are numbered apart from it.
OLDEST_AIRFLOW = ("apache-airflow==3.3.0", "apache-airflow-core==3.3.0", "apache-airflow-task-sdk==1.3.0")
PYTHONS = ("3.11", "3.12", "3.13")
#: The tests that need nothing but Python, the long ones too.
SERVERLESS = "unit or slow and not (airflow_services or postgres or google_servers or peers)"
#: These tests are about the pinned versions or the tools of developers, and the same everywhere.
NOT_HERE = ("tests/test_dependencies.py", "tests/test_compat.py")


class Unavailable(Exception):
    """Something that an environment is made of cannot be had here; the text says what."""


@dataclass(frozen=True)
class Environment:
    """
    One row of the table.

    :param name: of the row, and of the folder.
    :param python: version of Python, such as ``3.12``.
    :param about: what is installed, in a few words.
    :param pins: text of a list of constraints; None for none.
    :param versions: other versions of some packages than that list has; what does not go together with them moves too.
    :param options: further options of ``uv pip install``.
    """

    name: str
    python: str
    about: str
    pins: str | None = None
    versions: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def interpreter(self) -> Path:
        return self.folder / "bin" / "python"

    def fingerprint(self, interpreter: str) -> str:
        """Return what changes when the environment has to be made anew."""
        parts = (interpreter, (ROOT / "setup.cfg").read_text(encoding="utf-8"), self.pins or "", *self.versions, *self.options)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass
class Outcome:
    """What came of an environment; ``note`` says why there are no numbers, or where the log is."""

    environment: Environment
    airflow: str = "-"
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ""
    skipped: bool = False

    @property
    def good(self) -> bool:
        return self.skipped or (bool(self.counts) and not self.counts["failed"])


def environments() -> Iterator[Environment | tuple[str, str]]:
    """Yield the rows; of one that cannot be made, its name and why."""
    pinned = CONSTRAINTS.read_text(encoding="utf-8")
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    yield Environment("lowest", oldest, "lowest versions that setup.cfg allows", options=("--resolution", "lowest-direct"))
    yield Environment("airflow-oldest", oldest, "oldest Airflow, else constraints.txt", pins=pinned, versions=OLDEST_AIRFLOW)
    airflow = pin_of(pinned, "apache-airflow")
    try:
        published = fetch(PUBLISHED.format(airflow=airflow, python=newest))
        yield Environment("airflow-constraints", newest, f"constraints published with Airflow {airflow}", pins=published)
    except Unavailable as missing:
        yield "airflow-constraints", f"{missing}; the rows of constraints.txt have the same Airflow {airflow}"
    for python in PYTHONS:
        yield Environment(f"python-{python}", python, "constraints.txt", pins=pinned)


def pin_of(constraints: str, package: str) -> str:
    """Return the version that a list pins."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", constraints, re.MULTILINE)
    assert found is not None, f"{package} is not pinned"
    return found[1]


def fetch(url: str) -> str:
    """
    Return a text of the network.

    :raises Unavailable: it does not come within :data:`LIST_SECONDS`.
    """
    try:
        with urllib.request.urlopen(url, timeout=LIST_SECONDS) as answer:  # an https address of our own
            text: str = answer.read().decode()
    except (urllib.error.URLError, OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"{url} cannot be had: {error}") from error
    return text


def find_python(version: str) -> str:
    """
    Return the path of an interpreter: one that uv finds, else one of pyenv.

    :raises Unavailable: there is none.
    """
    found = subprocess.run(
        [uv(), "python", "find", "--no-python-downloads", "--system", version],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if found.returncode == 0:
        return found.stdout.strip()
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if names := sorted(root.glob(f"{version}.*/bin/python{version}")):
        return str(names[-1])
    raise Unavailable(f"there is no Python {version} on this machine")


def uv() -> str:
    """Return the uv of this environment, else of the machine."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv") or "uv"


def make(environment: Environment) -> None:
    """
    Install an environment, unless it is there.

    :raises Unavailable: its Python is not there.
    :raises CalledProcessError: uv found no set of versions, or could not get it; what it wrote is in ``stderr``.
    """
    interpreter = find_python(environment.python)
    ready, wanted = environment.folder / ".ready", environment.fingerprint(interpreter)
    if environment.interpreter.exists() and ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(environment.folder, ignore_errors=True)
    run_uv("venv", "--quiet", "--python", interpreter, str(environment.folder))
    options = list(environment.options)
    if environment.pins is not None:
        options += ["--constraint", str(write_pins(environment, environment.pins))]
    run_uv("pip", "install", "--quiet", "--python", str(environment.interpreter), *options, "--editable", f"{ROOT}[dev]")
    ready.write_text(wanted, encoding="utf-8")


def write_pins(environment: Environment, text: str) -> Path:
    """Write the list of constraints of an environment; uv keeps of its lines what the other versions allow."""
    pins, versions = environment.folder / "constraints.txt", environment.folder / "versions.txt"
    pins.write_text(text, encoding="utf-8")
    if environment.versions:
        versions.write_text("\n".join(environment.versions), encoding="utf-8")
        options = ["--quiet", "--python", str(environment.interpreter), "--extra", "dev", "--constraint", str(versions)]
        run_uv("pip", "compile", *options, "--output-file", str(pins), str(ROOT / "setup.cfg"))
    return pins


def run_uv(*arguments: str) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([uv(), *arguments], check=True, stderr=subprocess.PIPE, text=True, env=surroundings, cwd=ROOT)


def run_tests(environment: Environment, arguments: Sequence[str]) -> Outcome:
    """Run the tests in an environment that is there; their output goes to ``<environment>/tests.log``."""
    report, log = environment.folder / "tests.xml", environment.folder / "tests.log"
    report.unlink(missing_ok=True)
    command = [str(environment.interpreter), "-m", "pytest", "-q", "-m", SERVERLESS, "--numprocesses", "4", "--dist", "worksteal"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", *(f"--ignore={name}" for name in NOT_HERE), *arguments]
    begun = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, check=False)
    outcome = Outcome(environment, airflow=installed(environment, "apache-airflow"), seconds=time.monotonic() - begun)
    if report.exists():
        outcome.counts = read_report(report.read_text(encoding="utf-8"))
    if not outcome.good:
        outcome.note = f"see {log.relative_to(ROOT)}"
    return outcome


def installed(environment: Environment, package: str) -> str:
    """Return the version of a package in an environment."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return subprocess.run([str(environment.interpreter), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def read_report(text: str) -> dict[str, int]:
    """Return how many tests passed, failed (also in their fixtures) and were skipped, from pytest's JUnit report."""
    (suite,) = ElementTree.fromstring(text).iter("testsuite")
    number = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    return {"passed": number["tests"] - failed - number["skipped"], "failed": failed, "skipped": number["skipped"]}


def examine(environment: Environment, arguments: Sequence[str]) -> Outcome:
    """Make an environment and run the tests in it, whatever comes of either."""
    try:
        make(environment)
    except Unavailable as missing:
        return Outcome(environment, note=str(missing), skipped=True)
    except subprocess.CalledProcessError as error:
        (FOLDER / f"{environment.name}.log").write_text(error.stderr, encoding="utf-8")
        return Outcome(environment, note=f"cannot be installed: see .venv-compat/{environment.name}.log")
    return run_tests(environment, arguments)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table."""
    rows: list[tuple[str, ...]] = [("environment", "Python", "Airflow", "passed", "failed", "skipped", "seconds", "")]
    for outcome in outcomes:
        numbers = [str(outcome.counts.get(name, "-")) for name in ("passed", "failed", "skipped")]
        about = (
            f"skipped: {outcome.note}" if outcome.skipped else "; ".join(filter(None, (outcome.environment.about, outcome.note)))
        )
        environment = outcome.environment
        rows.append((environment.name, environment.python, outcome.airflow, *numbers, f"{outcome.seconds:.0f}", about))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def main(arguments: Sequence[str]) -> int:
    """Print the table; the code is 1 where a test failed or an environment that could be made was not."""
    parser = argparse.ArgumentParser(prog="make compat", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="an environment of the table; may be repeated")
    parser.add_argument("pytest", nargs="*", help="further arguments of pytest, after --")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(exist_ok=True)
    outcomes = []
    for found in environments():
        missing = found if isinstance(found, tuple) else None
        environment = Environment(missing[0], PYTHONS[-1], "") if missing else found
        assert isinstance(environment, Environment)
        if options.only and environment.name not in options.only:
            continue
        outcome = Outcome(environment, note=missing[1], skipped=True) if missing else examine(environment, options.pytest)
        outcomes.append(outcome)
        sys.stderr.write(f"{table([outcome]).splitlines()[1]}\n")
    sys.stdout.write(f"{table(outcomes)}\n")
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
