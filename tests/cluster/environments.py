"""
The Python environments of a cluster's machines: one with everything but this package, and thin ones on top of it.

The thin ones hold nothing but the wheel, and see the rest by a ``.pth`` file: so there is one large environment, compiled once,
and a wheel that is as new as the checkout.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

from demo.pinned_environment import REPOSITORY, PinnedEnvironment, uv

#: The user and group ids of a cluster's machines begin here.
FIRST_UID = 61_001


def usable_by_everybody(path: str) -> bool:
    """Tell whether another user can execute a file; False where this is not root, and so has no other users to offer."""
    if os.geteuid() != 0:
        return False
    as_another = ("setpriv", f"--reuid={FIRST_UID}", f"--regid={FIRST_UID}", "--clear-groups")
    return subprocess.run([*as_another, "test", "-x", path], check=False).returncode == 0


def _base_python() -> str:
    """Return the Python to make environments with: one that every user can execute, if the machine has one."""
    own = os.path.realpath(sys.executable)
    debian = shutil.which("python3", path="/usr/bin")
    return next((python for python in (own, debian) if python and usable_by_everybody(python)), own)


def _compile(environment: PinnedEnvironment) -> None:
    """Compile now: the machines' users may not write here, and would compile all of Airflow at each start."""
    environment.run("-m", "compileall", "-q", "-j", "2", str(site_packages(environment.python)))


def site_packages(python: Path) -> Path:
    """Return where the packages of an environment are."""
    return next(python.parent.parent.glob("lib/python3.*/site-packages"))


BARE = PinnedEnvironment(".venv-cluster", Path(__file__).with_name("requirements.txt"), _compile, _base_python())
"""Airflow, Celery and what the package needs, without the package."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout and return its path."""
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder), str(REPOSITORY))
    return next(folder.glob("*.whl"))


def with_package(folder: Path, wheel: Path, *, plugin: bool = True) -> Path:
    """
    Make an environment with the package, and return its Python.

    :param folder: of the new environment.
    :param plugin: False for one in which Airflow finds no plugin, though the package can be imported.
    """
    bare = BARE.ensure()
    uv("venv", "--quiet", "--python", str(bare.python), str(folder))
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--no-deps", "--compile-bytecode", "--python", str(python), str(wheel))
    packages = site_packages(python)
    (packages / "bare.pth").write_text(f"{site_packages(bare.python)}\n")
    if not plugin:
        _without_plugin(next(packages.glob("airflow_provider_cloud_accelerator-*.dist-info/entry_points.txt")))
    return python


def _without_plugin(entry_points: Path) -> None:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(entry_points)
    assert parser.remove_section("airflow.plugins")
    entry_points.unlink()  # it may be one file with uv's cache
    with entry_points.open("w") as file:
        parser.write(file)
